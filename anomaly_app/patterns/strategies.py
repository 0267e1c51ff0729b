"""How the attempts of a rule are followed: which of the strategies fits it."""

from __future__ import annotations

from typing import Any, TypeAlias

from anomaly_app.limits import Limits
from anomaly_app.patterns.automaton import AutomatonMatcher, fits as has_no_labels
from anomaly_app.patterns.compiled import CompiledRule
from anomaly_app.patterns.matcher import Matcher
from anomaly_app.patterns.single_run import SingleRunMatcher, fits
from anomaly_app.patterns.timed import TimedMatcher

Strategy: TypeAlias = Matcher | SingleRunMatcher | AutomatonMatcher


def strategy_of(rule: CompiledRule, limits: Limits, single_run: bool, automaton: bool) -> Strategy:
    """The strategy for a rule; made once, as it keeps nothing of the rows.

    Args:
        rule: compiled.
        limits: on what one attempt may hold.
        single_run: patterns with one way to go on may have their own.
        automaton: conditions that see no labels may have their own.
    """
    known: Strategy | None = rule.matchers.get((limits, single_run, automaton))
    if known is None:
        if rule.timed:
            known = TimedMatcher(
                rule.program,
                rule.define.takes,
                rule.define.initial,
                shows=rule.checked.timeouts,
                **_options(rule, limits),
            )
        # Where a pattern loops, attempts are long, and taking a row twice costs more than looking up what it does.
        elif automaton and has_no_labels(rule) and (rule.program.loops or not single_run or not fits(rule)):
            known = AutomatonMatcher(rule, limits.rows_per_key, limits.threads)
        elif single_run and fits(rule):
            known = SingleRunMatcher(rule, limits.rows_per_key)
        else:
            known = Matcher(rule.program, rule.define.takes, rule.define.initial, **_options(rule, limits))
        rule.matchers[limits, single_run, automaton] = known
    return known


def _options(rule: CompiledRule, limits: Limits) -> dict[str, Any]:
    return {
        "earliest": rule.earliest,
        "within_ms": rule.within_ms,
        "look_ahead": rule.look_ahead,
        "max_rows": limits.rows_per_key,
        "max_threads": limits.threads,
    }
