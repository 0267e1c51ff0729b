"""What a rule does and how it is run, as data: words, program, strategy, state, generated source."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from anomaly_app.operators import Layout
from anomaly_app.patterns.automaton import AutomatonMatcher
from anomaly_app.patterns.compiled import CompiledRule
from anomaly_app.patterns.describe import describe_clause, notes
from anomaly_app.patterns.program import Program, State
from anomaly_app.patterns.rule import Rule
from anomaly_app.patterns.single_run import MOST_STATES, SingleRunMatcher
from anomaly_app.sql.row_pattern import RowsPerMatch, SkipTo
from anomaly_app.words import duration


@dataclass(frozen=True, slots=True)
class Condition:
    """A pattern variable and when it takes a row.

    Args:
        variable: its name.
        text: of the condition; "" if it takes any row.
        path_independent: the condition does not see which rows carry which variable.
    """

    variable: str
    text: str
    path_independent: bool


@dataclass(frozen=True, slots=True)
class PlaceInProgram:
    """A state of the program.

    Args:
        state: its number; 0 is the start.
        variable: whose row was just taken; "" for the start.
        next: where the next row may lead, the preferred way first, such as ``2 (B)``.
        accepts: ``yes`` if the match may end here, ``at the end`` if only behind the last row, ``in time`` if only
            when WITHIN ends, ``no``.
    """

    state: str
    variable: str
    next: tuple[str, ...]
    accepts: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """Everything that can be told about a rule.

    Args:
        pattern: text of the pattern with WITHIN.
        words: phrases, in the order in which things happen.
        notes: what the author should know.
        conditions: of all variables.
        output: name and type of each column, and the text of those that are measures.
        program: its states.
        strategy: ``single run``, ``automaton``, ``threads`` or ``all ways``.
        why: the reason for it.
        path_independent: no condition sees which rows carry which variable.
        look_back: rows before the current one that are read.
        look_ahead: rows behind it; a row waits for so many.
        reads: columns that are read and kept.
        state: what is kept, and how it survives a crash.
        limits: name and value.
        source: generated Python by name.
    """

    pattern: str
    words: list[str]
    notes: list[str]
    conditions: list[Condition]
    output: list[tuple[str, str, str]]
    program: list[PlaceInProgram]
    strategy: str
    why: str
    path_independent: bool
    look_back: int
    look_ahead: int
    reads: list[str]
    state: str
    limits: dict[str, int]
    source: dict[str, str] = field(default_factory=dict)


def explain_rule(rule: Rule, layout: Layout) -> Explanation:
    """Explain a rule.

    Args:
        rule: bound.
        layout: of the rows that it would get.
    """
    compiled = rule.compile(layout)
    define, program = compiled.define, compiled.program
    matcher = rule.create(layout).matcher
    source = {"take": "\n\n".join(define.functions), "measure": compiled.measures.source}
    strategy, why = "threads", ""
    if isinstance(matcher, SingleRunMatcher):
        strategy, why = "single run", _one_way()
        source = {**matcher.sources, "measure": compiled.measures.source}
    elif isinstance(matcher, AutomatonMatcher):
        strategy, why = "automaton", _no_labels()
        source = {"fill": matcher.source, "measure": compiled.measures.source}
    elif compiled.skip_to is SkipTo.NO_SKIP:
        strategy, why = "all ways", "every way from every row is a match, so that all are followed at once"
    return Explanation(
        pattern=rule.pattern_text,
        words=describe_clause(rule.checked, rule.definitions, [column.name for column in rule.output]),
        notes=notes(rule.checked),
        conditions=[
            Condition(name, text, _path_independent(define.conditions.get(number, "None")))
            for number, (name, text) in enumerate(rule.definitions.items())
        ],
        output=[(column.name, str(column.type), rule.measures.get(column.name, "")) for column in rule.output],
        program=_places(program),
        strategy=strategy,
        why=why or _why_threads(compiled),
        path_independent=define.path_independent,
        look_back=compiled.look_back,
        look_ahead=compiled.look_ahead,
        reads=list(rule.reads),
        state=_state(compiled),
        limits={"rows_per_key": rule.limits.rows_per_key, "threads": rule.limits.threads},
        source=source,
    )


def _path_independent(source: str) -> bool:
    """Whether the source of a condition reads no register; those are ``r0``, ``n0``, ``r1`` and so on."""
    names = (node.id for node in ast.walk(ast.parse(source, mode="eval")) if isinstance(node, ast.Name))
    return not any(re.fullmatch(r"[rn]\d+", name) for name in names)


def _places(program: Program) -> list[PlaceInProgram]:
    places = [_place(str(number), state, program) for number, state in enumerate(program.states)]
    if program.anchored:
        places.insert(1, _place("0 at the first row", program.first, program))
    return places


def _place(number: str, state: State, program: Program) -> PlaceInProgram:
    following = []
    for edge in state.edges:
        barred = " or ".join(program.labels[guard] for guard in edge.guards)
        taken = f"{'not ' if edge.target == program.waiting else ''}{program.labels[edge.label]}"
        following.append(f"{edge.target} ({taken}{f' and not {barred}' if barred else ''})")
    accepts = "yes" if state.accepts else "at the end" if state.accepts_at_end >= 0 else "no"
    if program.waits(state):
        accepts = "in time"
    variable = program.labels[state.label] if state.label >= 0 else ""
    if program.waiting >= 0 and state is program.states[program.waiting]:
        variable = f"rows that are not {variable}"
    return PlaceInProgram(number, variable, tuple(following), accepts)


def _one_way() -> str:
    return "every row leaves at most one way to go on, so that an attempt is one loop over the rows"


def _no_labels() -> str:
    return "no condition sees which rows carry which variable, so that each is tested once per row"


def _why_threads(compiled: CompiledRule) -> str:
    program = compiled.program
    if program.waiting >= 0:
        return f"rows that are not {program.labels[program.states[program.waiting].label]} pass by, unbound"
    if compiled.checked.timeouts:
        return "attempts that time out are shown, so that each start is looked at by itself"
    if program.anchored_end:
        return "$ is known at the end of the input only, so that ways stay open until then"
    if len(program.states) > MOST_STATES:
        return f"the pattern has more than {MOST_STATES} places"
    if program.matches_empty:
        return "the pattern can match without a row"
    if compiled.rows_per_match is RowsPerMatch.ALL_UNMATCHED:
        return "rows without a match are shown too, so that each start is looked at by itself"
    for state in _in_reach(program):
        ways = _names([program.labels[edge.label] for edge in state.edges if program.states[edge.target].edges])
        if len(ways) > 1 or len(state.edges) > 1:
            behind = f"after {program.labels[state.label]}" if state.label >= 0 else "at the start"
            ways = ways if len(ways) > 1 else _names([program.labels[edge.label] for edge in state.edges])
            return f"{behind} a row may open several ways ({', '.join(ways)}), which are followed together"
    return "several ways may be open at once"


def _in_reach(program: Program) -> list[State]:
    """States in the order in which rows can reach them."""
    found, seen = [program.first], set[int]()
    for state in found:
        fresh = dict.fromkeys(edge.target for edge in state.edges if edge.target not in seen)
        seen.update(fresh)
        found += [program.states[number] for number in fresh]
    return found


def _names(names: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(names))


def _state(compiled: CompiledRule) -> str:
    if not compiled.keeps_rows:
        words = (
            f"the source is the log: after a crash the last {duration(compiled.within_ms or 0)} before the watermark "
            "are read again; stored is only how far the matches of a key have consumed its rows"
        )
    else:
        if compiled.skip_to is SkipTo.NO_SKIP:
            reason = "a start gives matches one after the other, and its rows tell which came out already"
        elif compiled.within_ms is None:
            reason = "there is no WITHIN, so that nothing bounds how far back the source had to be read"
        elif compiled.look_back:
            reason = "rows before the match are read"
        else:
            reason = "^ needs to know the first row"
        words = f"rows are stored, each once, from the start of the oldest open attempt of its key on: {reason}"
    if compiled.keeps_keys:
        words += "; each key is kept for ever, because its past shows in MATCH_NUMBER() or ^"
    return words
