"""MATCH_RECOGNIZE as an operator: rows by key, time-outs, output, and state that survives."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from anomaly_app.errors import AnomalyError, EvaluationError, LimitError, SkipTargetError
from anomaly_app.operators import MAX_WATERMARK, POSITION, TIME, Counters, Finding, Problem, Row
from anomaly_app.patterns.matcher import Attempt, Match, Matcher
from anomaly_app.patterns.rule import Rule
from anomaly_app.patterns.state import KeyMark, RowCodec, decode_key, encode_key
from anomaly_app.sql.row_pattern import RowsPerMatch, SkipTo


@dataclass(frozen=True, slots=True)
class Limits:
    """What one rule may hold.

    Args:
        rows_per_key: rows of open attempts; beyond it the oldest attempt is given up and counted.
        threads: ways one attempt may follow at once.
    """

    rows_per_key: int = 100_000
    threads: int = 10_000


class KeyState:
    """The rows of a key that are still needed, and the attempt that is on.

    ``base`` is the number of rows of the key that were dropped before ``rows[0]``.
    """

    __slots__ = ("attempt", "base", "covered", "mark", "number", "rows", "start", "stored", "timer")

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.base = 0
        self.start = 0
        self.attempt: Attempt | None = None
        self.number = 1
        self.covered = 0
        self.timer = False
        self.mark: KeyMark | None = None
        self.stored = 0


class PatternOperator:
    """One partition of one rule.

    Args:
        rule: compiled.
        limits: on what it may hold.
    """

    def __init__(self, rule: Rule, limits: Limits) -> None:
        self.rule, self.limits = rule, limits
        self.problems: list[Problem] = []
        self.counters = Counters()
        self.keys: dict[Any, KeyState] = {}
        self.matcher = Matcher(
            rule.program,
            rule.define.takes,
            rule.define.initial,
            earliest=rule.earliest,
            within_ms=rule.within_ms,
            max_threads=limits.threads,
        )
        self._timers: list[tuple[int, int, Any]] = []
        self._order = 0
        self._touched: set[Any] = set()
        self._codec = RowCodec(rule.layout)
        self._marks: dict[Any, KeyMark] = {}
        self._expiry: list[tuple[int, int, Any]] = []
        self._watermark = -(1 << 63)
        self._deleted: list[bytes] = []

    # --- rows -------------------------------------------------------------------------------------

    def process(self, rows: Sequence[Row], watermark: int) -> list[Finding]:
        """Take rows in order and move time."""
        keys, key_of, marks = self.keys, self.rule.key_of, self._marks
        touched: dict[Any, KeyState] = {}
        for row in rows:
            key = key_of(row)
            state = keys.get(key)
            if state is None:
                state = keys[key] = self._new_key(key)
            if marks and key in marks and (row[TIME], row[POSITION]) <= marks[key][:2]:
                continue  # consumed before a crash
            state.rows.append(row)
            touched[key] = state
        findings: list[Finding] = []
        for key, state in touched.items():
            self._run(key, state, watermark, findings)
        findings += self._move(watermark)
        return findings

    def advance(self, watermark: int) -> list[Finding]:
        """Move time: attempts time out; at the end all are resolved."""
        return self._move(watermark)

    def _new_key(self, key: Any) -> KeyState:
        state = KeyState()
        mark = self._marks.get(key)
        if mark is not None:
            state.number = mark.number
        return state

    def _move(self, watermark: int) -> list[Finding]:
        self._watermark = max(self._watermark, watermark)
        findings: list[Finding] = []
        if watermark == MAX_WATERMARK:
            for key, state in list(self.keys.items()):
                self._run(key, state, watermark, findings)
            return findings
        within = self.rule.within_ms
        if within is None:
            return findings
        timers = self._timers
        while timers and timers[0][0] <= watermark:
            _, _, key = heapq.heappop(timers)
            state = self.keys.get(key)
            if state is None:
                continue
            state.timer = False
            self._run(key, state, watermark, findings)
            if not state.rows and not self.rule.keeps_keys:
                del self.keys[key]
                self._touched.discard(key)
        while self._expiry and self._expiry[0][0] <= watermark - within:
            _, _, key = heapq.heappop(self._expiry)
            mark = self._marks.get(key)
            if mark is not None and mark.time <= watermark - within and not self.rule.sees_number:
                del self._marks[key]
                self._deleted.append(encode_key(self._key_values(key)))
        return findings

    def _key_values(self, key: Any) -> tuple[Any, ...]:
        return (key,) if self.rule.single_key else key

    # --- attempts -----------------------------------------------------------------------------------

    def _run(self, key: Any, state: KeyState, watermark: int, findings: list[Finding]) -> None:
        """Resolve what can be resolved."""
        rule, matcher, rows = self.rule, self.matcher, state.rows
        at_end = watermark == MAX_WATERMARK
        available = len(rows)
        limit = available if at_end else available - rule.look_ahead
        begin = state.start
        while state.start < available:
            attempt = state.attempt
            if attempt is None:
                attempt = matcher.begin(state.start, rule.program.anchored and state.base + state.start == 0)
            try:
                resolved = matcher.advance(attempt, rows, limit, state.number)
            except (AnomalyError, ArithmeticError) as error:
                self._give_up(key, state, attempt, error)
                continue
            if not resolved:
                if not self._resolve_waiting(state, attempt, watermark, available):
                    state.attempt = attempt
                    break
            if attempt.complete:
                self._complete(key, state, matcher.match(attempt), findings)
            else:
                self._unmatched(key, state, findings)
                state.start += 1
            state.attempt = None
        self._prune(key, state, begin)
        if rule.within_ms is not None and not state.timer and state.start < len(state.rows):
            self._order += 1
            heapq.heappush(self._timers, (state.rows[state.start][TIME] + rule.within_ms, self._order, key))
            state.timer = True

    def _resolve_waiting(self, state: KeyState, attempt: Attempt, watermark: int, available: int) -> bool:
        """Whether an attempt that waits for rows is over: by time, by the end, or by the limit on rows."""
        if watermark == MAX_WATERMARK:
            if self.rule.earliest and self.rule.within_ms is None:
                return False  # Flink never closes it
            self.matcher.end(attempt)
            return True
        within = self.rule.within_ms
        if within is not None and attempt.next >= available:
            if watermark >= state.rows[attempt.start][TIME] + within:
                attempt.threads = []
                return True
        if available - state.start > self.limits.rows_per_key:
            self.counters.add("pattern_row_limit")
            attempt.threads = []
            return True
        return False

    def _give_up(self, key: Any, state: KeyState, attempt: Attempt, error: Exception) -> None:
        """A condition failed on a row: report it and go on at the next start."""
        rows = state.rows[attempt.start : attempt.next + 1]
        if isinstance(error, LimitError):
            self.counters.add("pattern_thread_limit")
        elif not isinstance(error, AnomalyError):
            error = EvaluationError(str(error))
        self.problems.append(Problem(error, rows[-1:], self._key_values(key)))
        state.start += 1
        state.attempt = None

    def _complete(self, key: Any, state: KeyState, match: Match, findings: list[Finding]) -> None:
        rule, rows = self.rule, state.rows
        length = len(match.labels)
        end = match.start + length
        values = self._key_values(key)
        number = state.number
        state.number += 1
        shown: Sequence[int] = ()
        if rule.rows_per_match is not RowsPerMatch.ONE:
            shown = range(match.start, end)
            if match.excluded:
                shown = [place for place, hidden in zip(shown, match.excluded, strict=True) if not hidden]
            elif not length and rule.rows_per_match is not RowsPerMatch.ALL_OMIT_EMPTY:
                shown = [match.start]
        last = rows[end - 1] if length else rows[match.start]
        try:
            results = rule.measures.compute(rows, match.start, match.labels, number, shown, last[TIME])
        except (AnomalyError, ArithmeticError) as error:
            problem = error if isinstance(error, AnomalyError) else EvaluationError(str(error))
            self.problems.append(Problem(problem, rows[match.start : end], values))
            results = []
        names = rule.program.labels
        bindings = [(names[label], row) for label, row in zip(match.labels, rows[match.start : end], strict=True)]
        for place, result in enumerate(results):
            if rule.project is not None:
                projected = self._project(result, last, values)
                if projected is None:
                    continue
                result = projected
            # The length tells apart matches that end at one row, and needs no memory of earlier ones.
            findings.append(Finding(values, last[TIME], result, last, bindings, (length << 24) + place))
        state.covered = max(state.covered, state.base + max(end, match.start + 1))
        self._skip(values, state, match)
        self._note_match(key, state)

    def _project(self, result: tuple[Any, ...], last: Row, key: tuple[Any, ...]) -> tuple[Any, ...] | None:
        """The outer SELECT and WHERE on one output row; None if it is filtered out or fails."""
        assert self.rule.project is not None
        try:
            return self.rule.project(result)
        except (AnomalyError, ArithmeticError) as error:
            problem = error if isinstance(error, AnomalyError) else EvaluationError(str(error))
            self.problems.append(Problem(problem, [last], key))
            return None

    def _skip(self, key: tuple[Any, ...], state: KeyState, match: Match) -> None:
        rule, length = self.rule, len(match.labels)
        if not length or rule.skip_to is SkipTo.NEXT_ROW:
            state.start = match.start + 1
            return
        if rule.skip_to is SkipTo.PAST_LAST_ROW:
            state.start = match.start + length
            return
        places = [place for place, label in enumerate(match.labels) if label in rule.skip_set]
        target = (places[0] if rule.skip_to is SkipTo.FIRST else places[-1]) if places else 0
        if not target:
            reason = "is the first row of the match: matching would not move on" if places else "has no row in the match"
            error = SkipTargetError(f"AFTER MATCH SKIP {rule.skip_to.value} {rule.skip_name}: the target {reason}")
            self.counters.add("skip_target")
            self.problems.append(Problem(error, state.rows[match.start : match.start + length], key))
            target = 1
        state.start = match.start + target

    def _unmatched(self, key: Any, state: KeyState, findings: list[Finding]) -> None:
        rule = self.rule
        if rule.rows_per_match is not RowsPerMatch.ALL_UNMATCHED or state.base + state.start < state.covered:
            return
        assert rule.measures.unmatched is not None
        row = state.rows[state.start]
        result = rule.measures.unmatched(row)
        values = self._key_values(key)
        if rule.project is not None:
            projected = self._project(result, row, values)
            if projected is None:
                return
            result = projected
        findings.append(Finding(values, row[TIME], result, row, (), -1))

    def _prune(self, key: Any, state: KeyState, begin: int) -> None:
        """Drop rows that no attempt and no PREV can reach; seldom, so that it costs little per row."""
        self._touched.add(key)
        spare = state.start - self.rule.look_back
        if spare <= 0 or (spare < 64 and spare < len(state.rows)):
            return
        del state.rows[:spare]
        state.base += spare
        state.start -= spare
        attempt = state.attempt
        if attempt is not None and spare:
            raise AssertionError("rows of an attempt were dropped") if attempt.start < spare else None or SystemError
