"""Patterns whose conditions do not see which row carries which variable: a deterministic automaton, made as needed.

Each condition is tested once per row; the results are a bit mask, a bit for each variable. The threads of
:mod:`~anomaly_app.patterns.matcher` then have no registers: what a row does to an ordered list of states depends on
its mask alone, so it is worked out once (a :class:`Step`) and looked up from then on. The steps of an attempt are kept
beside the rows. As soon as a later attempt has the same states as an earlier one had at the same row, it has the same
future: it goes on where the earlier one ended. So a pattern costs about one step per row, however many starts fail.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from anomaly_app.errors import LimitError
from anomaly_app.operators import MAX_WATERMARK, POSITION, TIME, Row
from anomaly_app.patterns.compiled import CompiledRule
from anomaly_app.patterns.define import Definitions
from anomaly_app.patterns.matcher import Match, Moment, seen_at
from anomaly_app.patterns.program import State

MOST_WAYS = 10_000
"""Lists of states that are remembered."""

UNKNOWN = -1
"""Mask of a row on which a condition fails: only conditions that a thread asks for may be tested there."""


@dataclass(slots=True, eq=False)
class Ways:
    """The states of all threads, the most preferred first, and what rows do to them.

    Args:
        states: numbers; the one behind the last stands for the start at the first row of a partition.
        steps: by mask.
    """

    states: tuple[int, ...]
    steps: dict[int, Step] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """What a row does.

    Args:
        target: the states behind it.
        parents: for each of them the number of the thread that it comes from.
        accepted: state that the best match so far ends with; -1 if none ends here.
        parent: number of the thread that it comes from.
    """

    target: Ways
    parents: tuple[int, ...]
    accepted: int
    parent: int


class Trail:
    """What is kept beside the rows of one key; all lists and numbers are about places of rows.

    Attributes:
        masks: of the rows.
        steps: of the latest attempts.
        valid: from here on each step follows from the one before.
        accepted: behind the last valid step with a match.
        late: the first row that WITHIN keeps out of the present attempt.
    """

    __slots__ = ("accepted", "late", "masks", "steps", "valid")

    def __init__(self) -> None:
        self.masks: list[int] = []
        self.steps: list[Step | None] = []
        self.valid = self.accepted = self.late = 0

    def drop(self, spare: int) -> None:
        """The first rows are gone."""
        del self.masks[:spare], self.steps[:spare]
        self.valid, self.accepted, self.late = self.valid - spare, self.accepted - spare, self.late - spare

    def left(self, start: int, place: int, accepted: int) -> None:
        """An attempt came from ``start`` to ``place``; ``accepted`` is the place behind its match, 0 without."""
        if place - start < len(self.steps) - place:  # an earlier one, which it did not meet, went on for longer
            self.valid = max(self.valid, place)
        else:
            del self.steps[place:]
            self.valid, self.accepted = start, accepted


@dataclass(slots=True)
class Attempt:
    """Where matching stands for one key.

    Args:
        start: place of the first row of the attempt in the buffer.
        next: place of the next row to take.
        ways: states of the threads.
        trail: what is kept beside the rows.
        complete: there is a match.
        best: place behind it, its last state, and the thread that this comes from; None if it has no rows.
        expired: WITHIN ran out.
    """

    start: int
    next: int
    ways: Ways
    trail: Trail
    complete: bool = False
    best: tuple[int, int, int] | None = None
    expired: bool = False


Fill: TypeAlias = Callable[[Sequence[Row], int, int, list[int]], None]


class AutomatonMatcher:
    """The interface of :class:`~anomaly_app.patterns.matcher.Matcher`.

    Args:
        rule: compiled, and such that :func:`fits` holds.
        max_rows: that one attempt may take.
        max_threads: beyond it the attempt is given up with LimitError.
    """

    def __init__(self, rule: CompiledRule, max_rows: int, max_threads: int) -> None:
        self.program, self._takes = rule.program, rule.define.takes
        self._earliest, self._within, self._look_ahead = rule.earliest, rule.within_ms, rule.look_ahead
        self._max_rows, self._max_threads = max_rows, max_threads
        self._has_exclusions = any(state.excluded for state in rule.program.states)
        self._states: list[State] = [*rule.program.states, rule.program.first]
        self.source = _fill_source(rule.define)
        self._fill: Fill = rule.define.env.function("fill", self.source)
        self._known: dict[tuple[int, ...], Ways] = {}

    def memo(self) -> Trail:
        """What is to be kept beside the rows of a key."""
        return Trail()

    def begin(self, start: int, first: bool, memo: Trail) -> Attempt:
        """An attempt at a start row; ``first`` if it is the first of its partition."""
        number = len(self._states) - 1 if first else 0
        state = self._states[number]
        ways = self._ways((number,) if state.edges or state.accepts_at_end >= 0 else ())
        if len(memo.steps) <= start:
            memo.steps += [None] * (start - len(memo.steps))
            memo.valid = start
        return Attempt(start, start, ways, memo, state.accepts)

    def advance(self, attempt: Attempt, rows: Sequence[Row], limit: int, number: int, watermark: int) -> bool:
        """Take rows up to ``limit`` until the attempt is resolved, by a row or by time.

        Returns:
            Whether it is; then ``attempt.complete`` tells a match from a failure.

        Raises:
            EvaluationError, ArithmeticError: a condition fails on the row ``attempt.next``.
            LimitError: too many threads.
        """
        start, trail, within = attempt.start, attempt.trail, self._within
        masks = trail.masks
        if len(masks) < limit:
            masks += [0] * (start - len(masks))
            self._fill(rows, len(masks), limit, masks)
        room = start + self._max_rows
        stop = min(limit, room)
        if within is not None:
            deadline, late = rows[start][TIME] + within, max(trail.late, attempt.next)
            while late < limit and rows[late][TIME] < deadline:
                late += 1
            trail.late = late
            stop = min(stop, late)
        try:
            self._take(attempt, rows, stop, number)
        finally:
            trail.left(start, attempt.next, attempt.best[0] if attempt.best is not None else 0)
        if not attempt.ways.states:
            return True
        if within is None or attempt.next >= room:
            return False
        if stop == limit:
            now = rows[limit][TIME] if limit < len(rows) else watermark  # a row that waits for NEXT tells the time
            if now - rows[start][TIME] < within:
                return False
            if now == MAX_WATERMARK and self.program.anchored_end:
                return False  # the last row of the partition may make it
        attempt.ways, attempt.expired = self._ways(()), True
        return True

    def _take(self, attempt: Attempt, rows: Sequence[Row], stop: int, number: int) -> None:
        trail, place, ways = attempt.trail, attempt.next, attempt.ways
        masks, steps = trail.masks, trail.steps
        while place < stop and ways.states:
            step = ways.steps.get(masks[place])
            if step is None:
                attempt.next, attempt.ways = place, ways
                step = self._step(ways, masks[place], rows, place, number)
            ways = step.target
            met = False
            if place == len(steps):
                steps.append(step)
            else:
                earlier, steps[place] = steps[place], step
                met = place >= trail.valid and earlier is not None and earlier.target is ways
            place += 1
            if step.accepted >= 0:
                attempt.complete, attempt.best = True, (place, step.accepted, step.parent)
            if met:
                if trail.accepted > place:
                    last = steps[trail.accepted - 1]
                    assert last is not None
                    attempt.complete, attempt.best = True, (trail.accepted, last.accepted, last.parent)
                place = len(steps)
                final = steps[-1]
                assert final is not None
                ways = final.target
        attempt.next, attempt.ways = place, ways

    def _step(self, ways: Ways, mask: int, rows: Sequence[Row], place: int, number: int) -> Step:
        """Work out what a row does; the same as a step of the threads."""
        tested: dict[int, bool] = {}

        def holds(label: int) -> bool:
            if mask != UNKNOWN:
                return bool(mask >> label & 1)
            if label not in tested:
                take = self._takes[label]
                tested[label] = take is None or take(rows, place, rows[place], (), number) is not None
            return tested[label]

        alive: dict[int, int] = {}
        accepted = parent = -1
        for thread, edge in ((k, edge) for k, state in enumerate(ways.states) for edge in self._states[state].edges):
            if any(holds(guard) for guard in edge.guards) or not holds(edge.label) or edge.target in alive:
                continue
            target = self.program.states[edge.target]
            goes_on = bool(target.edges) or target.accepts_at_end >= 0
            if target.accepts:
                accepted, parent = edge.target, thread
                if self._earliest:
                    alive.clear()
                elif goes_on:
                    alive[edge.target] = thread
                break
            if goes_on:
                alive[edge.target] = thread
        if len(alive) > self._max_threads:
            raise LimitError(f"one attempt has more than {self._max_threads} ways to go on")
        step = Step(self._ways(tuple(alive)), tuple(alive.values()), accepted, parent)
        if mask != UNKNOWN:
            ways.steps[mask] = step
        return step

    def _ways(self, states: tuple[int, ...]) -> Ways:
        known = self._known.get(states)
        if known is None:
            if len(self._known) >= MOST_WAYS:
                self._known.clear()
            known = self._known[states] = Ways(states)
        return known

    def moment(self, attempt: Attempt, rows: Sequence[Row]) -> Moment:
        """When a resolved attempt was."""
        taken = attempt.next > attempt.start  # else it needed no row to be a match, or to be none
        at = seen_at(rows, attempt.next - 1 if taken else attempt.start, self._look_ahead if taken else 0)
        if not attempt.expired:
            return at
        start = rows[attempt.start]
        return max(at, (start[TIME] + (self._within or 0), 1, start[POSITION]))

    def end(self, attempt: Attempt) -> None:
        """No row follows in the partition: threads that may end there do; the others die."""
        for thread, number in enumerate(attempt.ways.states):
            if self._states[number].accepts_at_end >= 0:
                attempt.complete, attempt.best = True, None
                if attempt.next > attempt.start:
                    step = attempt.trail.steps[attempt.next - 1]
                    assert step is not None
                    attempt.best = attempt.next, number, step.parents[thread]
                break
        attempt.ways = self._ways(())

    def rebase(self, attempt: Attempt, spare: int) -> None:
        """The first rows of the buffer are gone."""
        attempt.start -= spare
        attempt.next -= spare
        if attempt.best is not None:
            attempt.best = attempt.best[0] - spare, *attempt.best[1:]

    def match(self, attempt: Attempt) -> Match:
        """The match of a resolved attempt that is complete."""
        if attempt.best is None:
            return Match(attempt.start, ())
        end, state, thread = attempt.best
        states = [state]
        for place in range(end - 2, attempt.start - 1, -1):
            step = attempt.trail.steps[place]
            assert step is not None
            states.append(step.target.states[thread])
            thread = step.parents[thread]
        states.reverse()
        program = self.program.states
        excluded = tuple(program[state].excluded for state in states) if self._has_exclusions else ()
        return Match(attempt.start, tuple(program[state].label for state in states), excluded)


def fits(rule: CompiledRule) -> bool:
    """Whether no condition sees the attempt that it is tested for."""
    return rule.define.path_independent and not rule.define.sees_number


def _fill_source(define: Definitions) -> str:
    """Source of ``fill(rows, start, limit, masks)``: it appends the masks of the rows from ``start`` to ``limit``."""
    always = sum(1 << label for label in range(len(define.takes)) if label not in define.conditions)
    bits = [f"({1 << label} if {condition} else 0)" for label, condition in define.conditions.items()]
    failures: Any = define.env.constant(Exception)  # whatever it is, the thread that asks for it meets it again
    lines = [
        "for i in range(start, limit):",
        "    row = rows[i]",
        "    try:",
        f"        mask = {' | '.join([str(always), *bits])}",
        f"    except {failures}:",
        f"        mask = {UNKNOWN}",
        "    masks.append(mask)",
    ]
    return "\n".join(["def fill(rows, start, limit, masks):", *(f"    {line}" for line in lines)])
