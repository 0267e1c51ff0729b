"""Patterns with one way to go on: one state and registers in place of threads, in generated functions.

In many patterns (``T+? U``, ``A B+ C``, ``A B C``) at most one of the ways that a row leaves open goes on to further
rows; the others end the match. Then an attempt needs no threads: its state and registers are local variables of a
loop over the rows, conditions stand in it as source, and when the attempt fails the next one begins without leaving
it. Where a batch brings a row or two of each key, even that loop is too much: most rows change nothing but registers,
and are taken one by one as they come.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from itertools import pairwise
from operator import itemgetter
from typing import Any, TypeAlias

from anomaly_app.operators import POSITION, TIME, Row
from anomaly_app.patterns.compiled import CompiledRule
from anomaly_app.patterns.keys import COMPLETE, DEAD, RunState, run_state
from anomaly_app.patterns.matcher import BEGINNING, Match, Moment, seen_at
from anomaly_app.patterns.program import Program, State
from anomaly_app.patterns.single_run_accept import AcceptSource
from anomaly_app.patterns.single_run_advance import AdvanceSource, ResumeSource
from anomaly_app.patterns.single_run_source import FEW_ROWS, goes_on
from anomaly_app.patterns.specialise import RowValues, Specialiser
from anomaly_app.sql.row_pattern import RowsPerMatch

Resolution: TypeAlias = tuple[int, int]
"""Of attempts resolved in one call: the last row that one failed on, and the start of the last one that WITHIN ended;
-1 if none."""

Advance: TypeAlias = Callable[[RunState, Sequence[Row], int, int, int, Sequence[list[Any]]], Resolution | None]
Accept: TypeAlias = Callable[[Sequence[Row], Any, dict[Any, Any], list[RunState], list[RunState], Any], None]
Resume: TypeAlias = Callable[[RunState, Sequence[Row], int, int], bool]
Fill: TypeAlias = Callable[[Sequence[Row], int, int, Sequence[list[Any]]], int]


MOST_STATES = 500
"""Each is a branch of the generated functions, and Python cannot compile some thousands of them in a row."""


class SingleRunMatcher:
    """The interface of :class:`~anomaly_app.patterns.matcher.Matcher` over generated functions.

    Attributes:
        new: makes the state of a key.
        accept: ``accept(rows, keys, states, touched, begun, touch)`` takes rows one by one, each with its key: what is
            left to look at is added to ``touched``, keys that wait with a first row to ``begun``.
        resume: ``resume(run, rows, len(rows), watermark)`` goes on with a run that has seen no NULL, short of a result;
            True if it waits for rows now, else nothing has changed.
        first_state: of an attempt at the first row of its partition.
        sources: generated source by name, for people.

    Args:
        rule: compiled, and such that :func:`fits` holds.
        max_rows: that one attempt may take.
    """

    def __init__(self, rule: CompiledRule, max_rows: int) -> None:
        self._program = rule.program
        self._places = rule.define.places
        self._within = rule.within_ms
        self._look_ahead = rule.look_ahead
        self._has_exclusions = any(state.excluded for state in rule.program.states)
        self._resolution: Resolution = (-1, -1)
        self.first_state = len(rule.program.states)
        self.new = run_state(len(rule.define.initial), stored=rule.keeps_rows)
        env = rule.define.env
        specialiser = Specialiser(rule.define)
        self._plain: Advance = env.function("advance", AdvanceSource(rule, max_rows, None).source())
        advance = AdvanceSource(rule, max_rows, specialiser).source()
        self._fast: Advance = env.function("advance", advance)
        self._count = len(specialiser.values)
        accept = AcceptSource(rule, max_rows, specialiser, self.new).source()
        self.accept: Accept = env.function("accept", accept)
        resume = ResumeSource(rule, max_rows, specialiser).source()
        self.resume: Resume = env.function("resume", resume)
        self.sources = {"accept": accept, "resume": resume, "advance": advance}
        self._fill: Fill | None = None
        if self._count:
            fill = specialiser.fill_source(env.constant(Exception))  # whatever it is, the plain loop meets it again
            self._fill = env.function("fill", fill)
            self.sources["fill"] = fill

    def advance(self, run: RunState, rows: Sequence[Row], limit: int, number: int, watermark: int) -> bool:
        """Take rows up to ``limit``.

        Returns:
            True if the attempt at ``run.start`` is resolved (``run.complete`` tells how); attempts that fail before
            the last row are followed by the next start without a word. False if the attempt waits for rows.

        Raises:
            EvaluationError, ArithmeticError: a condition fails on the row ``run.next``.
        """
        advance = self._fast
        columns: Sequence[list[Any]] = ()
        if self._fill is not None:
            memo = run.memo
            if memo is None:
                memo = RowValues(self._count)
                if limit - run.start > FEW_ROWS:
                    run.memo = memo
            columns = memo.columns
            filled = len(columns[0])
            if filled < limit:
                memo.bad = self._fill(rows, filled, limit, columns) or memo.bad
            if memo.bad > run.start:
                advance = self._plain
        resolution = advance(run, rows, limit, number, watermark, columns)
        if resolution is None:
            return False
        self._resolution = resolution
        return True

    def moment(self, run: RunState, rows: Sequence[Row]) -> Moment:
        """When the present attempt and those that failed before it in the last call were resolved."""
        failed, expired = self._resolution
        at = BEGINNING
        for place in (failed, run.next - 1 if run.complete else -1):
            if place >= 0:
                at = max(at, seen_at(rows, place, self._look_ahead))
        if expired >= 0:
            row = rows[expired]
            deadline = row[TIME] + (self._within or 0)
            at = max(at, (deadline, 1, row[POSITION]))
            if self._look_ahead:  # the last row that it took had to wait, too
                last = bisect_left(rows, deadline, expired, key=itemgetter(TIME)) - 1
                at = max(at, seen_at(rows, last, self._look_ahead))
        return at

    def moment_before(self, run: RunState, rows: Sequence[Row]) -> Moment:
        """When those were resolved that went before an attempt on which a condition failed."""
        (self._resolution,) = run.path
        return self.moment(run, rows)

    def end(self, run: RunState) -> None:
        """No row follows in the partition, or WITHIN has passed."""
        run.state = DEAD if run.best is None else COMPLETE

    def rebase(self, run: RunState, spare: int) -> None:
        """The first rows of the buffer are about to go."""
        run.next -= spare
        for number in self._places:
            place = getattr(run, f"r{number}", None)
            if place is not None:
                setattr(run, f"r{number}", place - spare)

    def match(self, run: RunState) -> Match:
        """The match of a resolved attempt that is complete."""
        states = self._program.states
        assert run.best is not None
        path, length = run.best
        labels: list[int] = []
        excluded: list[bool] = []
        for (state, place), (_, end) in pairwise((*path, (DEAD, length))):
            labels += [states[state].label] * (end - place)
            if self._has_exclusions:
                excluded += [states[state].excluded] * (end - place)
        return Match(run.start, tuple(labels), tuple(excluded))


def fits(rule: CompiledRule) -> bool:
    """Whether every row leaves at most one way to go on to further rows."""
    program = rule.program
    if program.anchored_end or program.matches_empty or rule.rows_per_match is RowsPerMatch.ALL_UNMATCHED:
        return False
    if len(program.states) > MOST_STATES:
        return False
    return all(_deterministic(state, program, rule.earliest) for state in (*program.states, program.first))


def _deterministic(state: State, program: Program, earliest: bool) -> bool:
    ways = [edge for edge in state.edges if goes_on(edge, program, earliest)]
    for number, edge in enumerate(ways):
        for other in ways[number + 1 :]:
            if edge.label not in other.guards and other.label not in edge.guards:
                return False
    return True
