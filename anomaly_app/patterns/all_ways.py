"""AFTER MATCH NO SKIP: every row is a start, and every way through the pattern from there is a match.

All starts are followed at once, so that a match comes with its last row, whatever other starts wait for (as the
``noSkip`` strategy of Flink CEP does). Ways are told apart by the variables of their rows: two with the same ones are
one match. Matches of one row come by start, the earliest first, and of one start in order of preference.

Rows are stored whatever WITHIN says: a start gives matches one after the other, so that what came out already is only
known by following the rows again from the oldest open start on.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from anomaly_app.errors import LimitError
from anomaly_app.expressions.typed import FAILURES
from anomaly_app.limits import Limits
from anomaly_app.operators import MAX_WATERMARK, MIN_WATERMARK, POSITION, TIME, Counters, Problem, Row
from anomaly_app.patterns.compiled import CompiledRule
from anomaly_app.patterns.define import Registers
from anomaly_app.patterns.keys import KeyState
from anomaly_app.patterns.matcher import Match, Moment, Path, Thread, seen_at
from anomaly_app.patterns.operator import SPARE_ROWS, PatternOperator, as_problem
from anomaly_app.patterns.program import Program, State
from anomaly_app.patterns.timed import tester


@dataclass(slots=True)
class OpenStart:
    """A start row from which ways go on.

    Args:
        start: its place in the buffer.
        threads: all ways, the preferred first.
        given: matches that ended with the latest row.
        matched: a match was given.
    """

    start: int
    threads: list[Thread]
    given: list[Path] = field(default_factory=list)
    matched: bool = False


@dataclass(slots=True)
class Starts:
    """Where matching stands for one key: the open starts, the oldest first, and the place of the next row to take."""

    next: int
    open: deque[OpenStart] = field(default_factory=deque)

    def rebase(self, spare: int, places: Sequence[int]) -> None:
        """The first rows of the buffer are gone; ``places`` are the registers that hold places of rows."""
        self.next -= spare
        for start in self.open:
            start.start -= spare
            if places:
                start.threads = [(state, _moved(held, spare, places), path) for state, held, path in start.threads]


class AllWaysOperator(PatternOperator):
    """One partition of a rule with NO SKIP.

    Args:
        rule: compiled.
        limits: on what it may hold; ``threads`` is about the ways of a key. Beyond it the oldest start is given up.
    """

    def __init__(self, rule: CompiledRule, limits: Limits) -> None:
        super().__init__(rule, limits, single_run=False, automaton=False)
        self._program: Program = rule.program

    def restore(self, state: Iterable[tuple[bytes, bytes]]) -> None:
        """Take back the entries that ``changes`` has given, and follow the rows again: their matches were written."""
        super().restore(state)
        for held in self.keys.values():
            number = held.number
            self._run(held, MIN_WATERMARK)
            held.number = number
        self._found.clear()
        self.problems.clear()
        self.counters = Counters()

    def _run(self, state: KeyState, watermark: int) -> None:
        rule, rows = self.rule, state.rows
        at_end = watermark == MAX_WATERMARK
        starts: Any = state.attempt or Starts(state.start)
        state.attempt = starts
        limit = len(rows) - (0 if at_end else rule.look_ahead)
        while starts.next < limit:
            self._follow(state, starts)
        if at_end and self._program.anchored_end:
            for start in starts.open:
                self._end(state, start)
        self._expire(state, starts, rows[starts.next][TIME] if starts.next < len(rows) else watermark)
        if at_end:
            starts.open.clear()
        self._settle(state, starts)

    def _settle(self, state: KeyState, starts: Starts) -> None:
        """Drop rows that no start needs."""
        before = state.base + state.start
        state.start = starts.open[0].start if starts.open else starts.next
        if self._program.anchored and not before and state.start:
            self._store.consumed(state)  # a later row must not be taken for the first one
        spare = state.start - self.rule.look_back
        if spare > 0 and (not starts.open or (spare > SPARE_ROWS and spare * 2 > len(state.rows))):
            starts.rebase(spare, self.rule.define.places)
            state.prune(spare)
        self._store.touch(state.key)
        self._set_timer(state)

    # --- rows -----------------------------------------------------------------------------------------

    def _follow(self, state: KeyState, starts: Starts) -> None:
        """The next row, for all starts and as one."""
        rows, index = state.rows, starts.next
        row = rows[index]
        self._expire(state, starts, row[TIME])
        first = self._program.anchored and state.base + index == 0
        starts.open.append(OpenStart(index, [(-1 if first else 0, self.rule.define.initial, None)]))
        starts.next += 1
        at = seen_at(rows, index, self.rule.look_ahead)
        for start in starts.open:
            if index - start.start >= self.limits.rows_per_key:
                problem = f"one attempt has taken {self.limits.rows_per_key} rows and is not decided: it is given up"
                self._drop(state, start, row, "pattern_row_limit", LimitError(problem))
                continue
            try:
                self._step(start, rows, index, row)
            except FAILURES as error:
                self._drop(state, start, row, "", error)
                continue
            for way, path in enumerate(start.given):
                self._give(state, start, path, way, at)
        starts.open = deque(start for start in starts.open if start.threads)
        ways = sum(len(start.threads) for start in starts.open)
        while ways > self.limits.threads:
            start = starts.open.popleft()
            ways -= len(start.threads)
            problem = f"there are more than {self.limits.threads} ways to go on: the oldest start is given up"
            self._drop(state, start, row, "pattern_thread_limit", LimitError(problem))

    def _drop(self, state: KeyState, start: OpenStart, row: Row, reason: str, error: Exception) -> None:
        if reason:
            self.counters.add(reason)
        self.problems.append(Problem(as_problem(error), [row], self._key_values(state.key)))
        start.threads, start.given = [], []

    def _step(self, start: OpenStart, rows: Sequence[Row], index: int, row: Row) -> None:
        takes, states, waiting = self.rule.define.takes, self._program.states, self._program.waiting
        alive: list[Thread] = []
        given: dict[int, Path] = {}
        nodes: dict[tuple[int, int], Path] = {}  # the way behind a way and a variable, so that equal ways are one
        seen: set[tuple[int, int]] = set()
        for number, registers, path in start.threads:
            test = tester(takes, rows, index, row, registers, 0)
            for edge in self._state(number).edges:
                if any(test(guard) is not None for guard in edge.guards):
                    continue
                after, way = test(edge.label), path
                if edge.target == waiting:  # the row passes by if it does not carry the variable
                    after = registers if after is None else None
                elif after is not None:
                    way = nodes.setdefault((id(path), edge.label), (path, edge.target))
                if after is None or (edge.target, id(way)) in seen:
                    continue
                seen.add((edge.target, id(way)))
                target = states[edge.target]
                if target.accepts:
                    given[id(way)] = way
                if target.edges or target.accepts_at_end >= 0:
                    alive.append((edge.target, after, way))
        start.threads, start.given = alive, list(given.values())

    def _state(self, number: int) -> State:
        return self._program.first if number < 0 else self._program.states[number]

    # --- time -----------------------------------------------------------------------------------------

    def _expire(self, state: KeyState, starts: Starts, time: int) -> None:
        """Starts whose time is over: ways that wait for it are matches; one without any is shown, if asked for."""
        within, rows = self.rule.within_ms, state.rows
        if within is None:
            return
        while starts.open and rows[starts.open[0].start][TIME] + within <= time:
            start = starts.open.popleft()
            row = rows[start.start]
            at = max(seen_at(rows, starts.next - 1, self.rule.look_ahead), (row[TIME] + within, 1, row[POSITION]))
            ready = {id(path): path for number, _, path in start.threads if self._program.waits(self._state(number))}
            lengths: Counter[int] = Counter()
            for path in ready.values():
                length = len(_states(path))
                self._give(state, start, path, lengths[length], at, by_time=True)
                lengths[length] += 1
            if not start.matched and start.threads and self.rule.checked.timeouts:
                self._give(state, start, start.threads[0][2], 0, at, by_time=True, timed_out=True)

    def _end(self, state: KeyState, start: OpenStart) -> None:
        """No row follows in the partition."""
        at = MAX_WATERMARK, 0, state.rows[start.start][POSITION]
        for number, _, path in start.threads:
            if self._state(number).accepts_at_end >= 0 and not any(path is known for known in start.given):
                start.given.append(path)
                self._give(state, start, path, len(start.given) - 1, at)

    # --- output ---------------------------------------------------------------------------------------

    def _give(
        self,
        state: KeyState,
        start: OpenStart,
        path: Path,
        way: int,
        at: Moment,
        *,
        by_time: bool = False,
        timed_out: bool = False,
    ) -> None:
        start.matched = start.matched or not timed_out
        program = self._program.states
        states = _states(path)
        excluded = tuple(program[number].excluded for number in states)
        labels = tuple(program[number].label for number in states)
        match = Match(start.start, labels, excluded if any(excluded) else (), by_time, timed_out, way)
        self._complete(state, match, at)


def _states(path: Path) -> list[int]:
    states: list[int] = []
    while path is not None:
        path, state = path
        states.append(state)
    states.reverse()
    return states


def _moved(registers: Registers, spare: int, places: Sequence[int]) -> Registers:
    values = list(registers)
    for number in places:
        if values[number] is not None:
            values[number] -= spare
    return tuple(values)
