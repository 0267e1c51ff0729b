"""Matching: one attempt at a time, from the earliest start that may still match.

The rows of a key wait in one buffer. An attempt begins at a start row and follows every way through the program at
once, as threads in order of preference; two threads in one state with equal registers have the same future, so the
less preferred one is dropped. When an attempt is resolved (it matched, died, or WITHIN has passed) the next one
begins, where the skip mode says, and takes the rows in the buffer again.

* Standard: the most preferred thread wins. A thread that may end drops all threads it is preferred to; the match is
  decided when no preferred thread is left.
* Flink: the thread that is complete at the earliest row wins, the most preferred one of those.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from anomaly_app.errors import LimitError
from anomaly_app.operators import MAX_WATERMARK, MIN_WATERMARK, POSITION, TIME, Row
from anomaly_app.patterns.define import Registers, Take
from anomaly_app.patterns.program import Program, State

Path: TypeAlias = "tuple[Any, int] | None"
"""(path before, state), the last row first; None for no rows."""

Thread: TypeAlias = tuple[int, Registers, Path]

Moment: TypeAlias = tuple[int, int, int]
"""When an attempt was resolved: event time, 0 by a row or 1 by time, position of that row (or of the start)."""

BEGINNING: Moment = (MIN_WATERMARK, 0, 0)


def seen_at(rows: Sequence[Row], place: int, look_ahead: int) -> Moment:
    """When a row and so many behind it were there; at the end of the input if they never come."""
    row = rows[min(place + look_ahead, len(rows) - 1)]
    return row[TIME] if place + look_ahead < len(rows) else MAX_WATERMARK, 0, row[POSITION]


@dataclass(slots=True)
class Attempt:
    """Where matching stands for one key.

    Args:
        start: place of the first row of the attempt in the buffer.
        next: place of the next row to take.
        threads: alive, the most preferred first.
        best: the match if no preferred thread makes another.
        complete: there is a ``best``.
        expired: WITHIN ran out.
        timed_out: ``best`` is no match, but the rows taken until then, which are shown.
    """

    start: int
    next: int
    threads: list[Thread]
    best: Path = None
    complete: bool = False
    expired: bool = False
    timed_out: bool = False


@dataclass(frozen=True, slots=True)
class Match:
    """A match.

    Args:
        start: place of its first row in the buffer.
        labels: variable of each row.
        excluded: whether each row is excluded from the output; empty if none is.
        by_time: it came about when WITHIN ended, and that is its time.
        timed_out: it is no match, but the rows that an attempt had taken when WITHIN ended it.
        way: the how-manieth match with the same first and last row this is.
    """

    start: int
    labels: tuple[int, ...]
    excluded: tuple[bool, ...] = ()
    by_time: bool = False
    timed_out: bool = False
    way: int = 0


class Matcher:
    """Runs attempts of one clause; knows no keys and no time but that of the rows.

    Args:
        program: the pattern.
        takes: functions of the conditions, by variable.
        initial: registers at a start.
        earliest: a thread that is complete wins at once (Flink).
        within_ms: a match is shorter than that; None for no bound.
        look_ahead: rows behind the present one that conditions or measures read.
        max_rows: that one attempt may take.
        max_threads: beyond it the attempt is given up with LimitError.
    """

    def __init__(
        self,
        program: Program,
        takes: Sequence[Take | None],
        initial: Registers,
        *,
        earliest: bool,
        within_ms: int | None = None,
        look_ahead: int = 0,
        max_rows: int = 100_000,
        max_threads: int = 10_000,
    ) -> None:
        self.program, self.takes, self.initial = program, list(takes), initial
        self.earliest, self.within_ms, self.look_ahead = earliest, within_ms, look_ahead
        self.max_rows, self.max_threads = max_rows, max_threads
        self._has_exclusions = any(state.excluded for state in program.states)

    def memo(self) -> None:
        """Nothing is kept beside the rows of a key."""

    def begin(self, start: int, first: bool, memo: None) -> Attempt:
        """An attempt at a start row; ``first`` if it is the first of its partition."""
        state = self.program.first if first else self.program.states[0]
        threads: list[Thread] = []
        if state.edges or state.accepts_at_end >= 0:
            threads.append((-1 if first else 0, self.initial, None))
        return Attempt(start, start, threads, None, state.accepts)

    def advance(self, attempt: Attempt, rows: Sequence[Row], limit: int, number: int, watermark: int) -> bool:
        """Take rows up to ``limit`` until the attempt is resolved, by a row or by time.

        Returns:
            Whether it is; then ``attempt.complete`` tells a match from a failure.

        Raises:
            EvaluationError, ArithmeticError: a condition fails on the row ``attempt.next``.
            LimitError: too many threads.
        """
        within, start_time = self.within_ms, rows[attempt.start][TIME]
        limit = min(limit, attempt.start + self.max_rows)
        while attempt.threads:
            index = attempt.next
            if index >= limit:
                if within is None or index - attempt.start >= self.max_rows:
                    return False  # an attempt with too many rows is given up, whatever the time
                now = rows[index][TIME] if index < len(rows) else watermark  # a row that waits for NEXT tells the time
                if now - start_time < within:
                    return False
                if now == MAX_WATERMARK and self.program.anchored_end:
                    return False  # the last row of the partition may make it
                self._expire(attempt)
                break
            row = rows[index]
            if within is not None and row[TIME] - start_time >= within:
                self._expire(attempt)
                break
            self._step(attempt, rows, index, row, number)
            attempt.next = index + 1
        return True

    def _expire(self, attempt: Attempt) -> None:
        """WITHIN has passed."""
        attempt.threads, attempt.expired = [], True

    def _step(self, attempt: Attempt, rows: Sequence[Row], index: int, row: Row, number: int) -> None:
        states, takes = self.program.states, self.takes
        alive: list[Thread] = []
        seen: set[tuple[int, Registers]] = set()
        for number_of_state, registers, path in attempt.threads:
            state = self._state(number_of_state)
            taken: dict[int, Registers | None] = {}
            for edge in state.edges:
                label = edge.label
                barred = False
                for guard in (*edge.guards, label):
                    if guard not in taken:
                        take = takes[guard]
                        taken[guard] = registers if take is None else take(rows, index, row, registers, number)
                    if guard is not label and taken[guard] is not None:
                        barred = True
                        break
                after = taken.get(label)
                if barred or after is None:
                    continue
                key = (edge.target, after)
                if key in seen:
                    continue
                seen.add(key)
                target = states[edge.target]
                if target.accepts:
                    attempt.best, attempt.complete = (path, edge.target), True
                    if self.earliest:
                        attempt.threads = []
                        return
                    if target.edges or target.accepts_at_end >= 0:
                        alive.append((edge.target, after, attempt.best))
                    attempt.threads = alive
                    return
                if target.edges or target.accepts_at_end >= 0:
                    alive.append((edge.target, after, (path, edge.target)))
        if len(alive) > self.max_threads:
            raise LimitError(f"one attempt has more than {self.max_threads} ways to go on")
        attempt.threads = alive

    def _state(self, number: int) -> State:
        return self.program.first if number < 0 else self.program.states[number]

    def moment(self, attempt: Attempt, rows: Sequence[Row]) -> Moment:
        """When a resolved attempt was."""
        taken = attempt.next > attempt.start  # else it needed no row to be a match, or to be none
        at = seen_at(rows, attempt.next - 1 if taken else attempt.start, self.look_ahead if taken else 0)
        if not attempt.expired:
            return at
        start = rows[attempt.start]
        return max(at, (start[TIME] + (self.within_ms or 0), 1, start[POSITION]))

    def rebase(self, attempt: Attempt, spare: int) -> None:
        """Threads hold places of rows, so that none is dropped during an attempt."""
        raise AssertionError("rows of an attempt were dropped")

    def end(self, attempt: Attempt) -> None:
        """No row follows in the partition: threads that may end there do; the others die."""
        for number, _, path in attempt.threads:
            if self._state(number).accepts_at_end >= 0:
                attempt.best, attempt.complete = path, True
                break
        attempt.threads = []

    def match(self, attempt: Attempt) -> Match:
        """The match of a resolved attempt that is complete."""
        states: list[int] = []
        path = attempt.best
        while path is not None:
            path, state = path
            states.append(state)
        states.reverse()
        program = self.program.states
        excluded = tuple(program[state].excluded for state in states) if self._has_exclusions else ()
        return Match(attempt.start, tuple(program[state].label for state in states), excluded)
