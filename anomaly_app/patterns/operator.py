"""MATCH_RECOGNIZE as an operator: rows by key, time-outs, output, limits."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import itemgetter
from typing import Any

from anomaly_app.errors import AnomalyError, EvaluationError, LimitError, SkipTargetError
from anomaly_app.expressions.typed import FAILURES
from anomaly_app.limits import Limits
from anomaly_app.operators import (
    MAX_WATERMARK,
    MIN_WATERMARK,
    POSITION,
    TIME,
    Arrivals,
    Counters,
    Finding,
    Problem,
    Row,
)
from anomaly_app.patterns.compiled import CompiledRule
from anomaly_app.patterns.keys import CLOSED, RESUMABLE, KeyState, RunState
from anomaly_app.patterns.matcher import BEGINNING, Match, Moment
from anomaly_app.patterns.single_run import SingleRunMatcher
from anomaly_app.patterns.single_run_source import FEW_ROWS
from anomaly_app.patterns.stores import LogStore, RowStore
from anomaly_app.patterns.strategies import strategy_of
from anomaly_app.patterns.timers import Timers
from anomaly_app.sql.row_pattern import RowsPerMatch, SkipTo

SPARE_ROWS = 8
"""So many rows, or as many as are needed, may be held beyond those: then dropping them costs little per row."""

_moment = itemgetter(0)


class PatternOperator:
    """One partition of one rule.

    Findings of one call come in the order of the event times at which they were decided, whatever the batches are.

    Args:
        rule: compiled.
        limits: on what it may hold.
        single_run: use the strategy for patterns with one way to go on where it applies.
        automaton: use the strategy for conditions that see no labels where it applies.
    """

    def __init__(self, rule: CompiledRule, limits: Limits, *, single_run: bool = True, automaton: bool = True) -> None:
        self.rule, self.limits = rule, limits
        self.problems: list[Problem] = []
        self.late: list[Row] = []
        self.counters = Counters()
        self.keys: dict[Any, Any] = {}
        self.matcher: Any = strategy_of(rule, limits, single_run, automaton)
        single = self.matcher if isinstance(self.matcher, SingleRunMatcher) else None
        self._new: type[KeyState] | type[RunState] = KeyState if single is None else single.new
        self._accept = None if single is None else single.accept
        self._resume = None if single is None or rule.look_ahead else single.resume
        self._store: LogStore | RowStore = RowStore(rule, self._new) if rule.keeps_rows else LogStore(rule, self._new)
        self._timers = None if rule.within_ms is None else Timers(rule.within_ms)
        self._watermark = MIN_WATERMARK
        self._found: list[tuple[Moment, Finding]] = []

    # --- the operator contract ----------------------------------------------------------------------

    def process(self, rows: Sequence[Row], watermark: int, arrivals: Arrivals | None = None) -> list[Finding]:
        """Take rows in order and move time."""
        if self._store.replays:
            rows = self._store.replay(rows, self.keys)
        touched = self._take(rows) if self._accept is None else self._take_one_by_one(rows)
        self._run_all(touched, watermark)
        return self._move(watermark)

    def _take(self, rows: Sequence[Row]) -> Sequence[Any]:
        """Put rows to their keys."""
        keys, touched = self.keys, []
        known = keys.get
        for key, row in zip(map(self.rule.key_of, rows), rows, strict=True):
            state = known(key)
            if state is None:
                state = keys[key] = KeyState(key)
            state.rows.append(row)
            if not state.touched:
                state.touched = True
                touched.append(state)
        for state in touched:
            state.touched = False
        return touched

    def _take_one_by_one(self, rows: Sequence[Row]) -> Sequence[Any]:
        """Take rows with which an attempt only goes on, and put the others to their keys."""
        assert self._accept is not None
        touched: list[RunState] = []
        begun: list[RunState] = []
        self._accept(rows, map(self.rule.key_of, rows), self.keys, touched, begun, self._store.touch)
        if self._timers is not None:
            for state in begun:
                self._timers.set(state)
        return touched

    def advance(self, watermark: int) -> list[Finding]:
        """Move time: attempts time out; at the end all are resolved."""
        if self._store.replays:
            self._store.replay((), self.keys)
        return self._move(watermark)

    def due_ms(self) -> None:
        """By the clock nothing is complete: attempts time out with the rows."""

    def changes(self) -> Iterable[tuple[bytes, bytes | None]]:
        """State entries put or deleted since the last call."""
        if isinstance(self._store, RowStore):
            return self._store.changes(self.keys)
        oldest = self.oldest_time()
        return self._store.changes(self._watermark + 1 if oldest is None else oldest)

    def restore(self, state: Iterable[tuple[bytes, bytes]]) -> None:
        """Take back the entries that ``changes`` has given."""
        self._store.restore(state, self.keys)
        for held in self.keys.values():
            self._set_timer(held)

    @property
    def keeps_rows(self) -> bool:
        """Rows are state unless WITHIN bounds how far back the source must be read."""
        return self.rule.keeps_rows

    def oldest_time(self) -> int | None:
        """Event time of the oldest row that an attempt still needs; None if there is none."""
        if self._timers is not None:
            return self._timers.oldest()
        return min((state.rows[0][TIME] for state in self.keys.values() if state.rows), default=None)

    # --- time -----------------------------------------------------------------------------------------

    def _move(self, watermark: int) -> list[Finding]:
        if watermark > self._watermark:
            self._watermark = watermark
        if watermark == MAX_WATERMARK:
            for state in list(self.keys.values()):
                self._run(state, watermark)
        elif self._timers is not None:
            self._run_all(self._timers.due(watermark), watermark)
        found = self._found
        if not found:
            return []
        self._found = []
        if len(found) > 1 and self.rule.in_time_order:
            found.sort(key=_moment)
        return [finding for _, finding in found]

    def _set_timer(self, state: Any) -> None:
        if self._timers is not None and not state.timer and state.start < len(state.rows):
            self._timers.set(state)

    # --- attempts -------------------------------------------------------------------------------------

    def _run_all(self, states: Iterable[Any], watermark: int) -> None:
        if self._resume is not None and watermark != MAX_WATERMARK:
            states = self._resume_all(states, watermark)
        for state in states:
            self._run(state, watermark)

    def _resume_all(self, runs: Iterable[Any], watermark: int) -> list[Any]:
        """Go on with runs of a few rows; those that come to a result are left, as they were."""
        left: list[Any] = []
        resume, timers, look_back, keeps_rows = self._resume, self._timers, self.rule.look_back, self.rule.keeps_rows
        assert resume is not None
        for run in runs:
            rows, deadline = run.rows, run.deadline
            length = len(rows)
            if (
                (deadline <= CLOSED and deadline != RESUMABLE)
                or length - run.start > FEW_ROWS
                or not resume(run, rows, length, watermark)
            ):
                left.append(run)
                continue
            spare = run.start - look_back
            if spare > SPARE_ROWS and spare * 2 > length:
                self.matcher.rebase(run, spare)
                run.prune(spare)
            if keeps_rows:
                self._store.touch(run.key)
            if timers is not None and not run.timer:
                timers.set(run)
        return left

    def _run(self, state: Any, watermark: int) -> None:
        """Resolve what can be resolved."""
        rule, rows, matcher = self.rule, state.rows, self.matcher
        at_end = watermark == MAX_WATERMARK
        limit_behind = 0 if at_end else rule.look_ahead
        most = self.limits.rows_per_key
        at = BEGINNING
        while state.start < len(rows):
            attempt = state.attempt
            if attempt is None:
                spare = state.start - rule.look_back
                if spare > SPARE_ROWS and spare * 2 > len(rows):
                    state.prune(spare)
                attempt = state.begin(matcher, rule.program.anchored and state.base + state.start == 0)
            try:
                resolved = matcher.advance(attempt, rows, len(rows) - limit_behind, state.number, watermark)
            except FAILURES as error:
                if isinstance(error, LimitError):
                    self.counters.add("pattern_thread_limit")
                if self._accept is not None:
                    at = max(at, matcher.moment_before(attempt, rows))
                state.start = attempt.start
                self._give_up(state, attempt.next, error)
                continue
            state.start = attempt.start
            if resolved:
                at = max(at, matcher.moment(attempt, rows))
            elif attempt.next - attempt.start >= most:
                problem = f"one attempt has taken {most} rows and is not decided: it is given up"
                self.counters.add("pattern_row_limit")
                self._give_up(state, attempt.next - 1, LimitError(problem))
                state.start += most // 2  # or the next attempt would soon be here again, row after row
                self._store.consumed(state)
                continue
            elif at_end and (not rule.earliest or rule.program.anchored_end):
                matcher.end(attempt)
                at = max(at, (MAX_WATERMARK, 0, rows[attempt.start][POSITION]))
            else:
                break  # Flink never closes an attempt without WITHIN
            if attempt.complete:
                self._complete(state, matcher.match(attempt), at)
            else:
                self._unmatched(state, at)
                state.start += 1
            state.attempt = None
        spare = state.start - rule.look_back
        if spare > 0 and ((spare > SPARE_ROWS and spare * 2 > len(rows)) or state.attempt is None):
            if state.attempt is not None:
                self.matcher.rebase(state.attempt, spare)
            state.prune(spare)
        if rule.keeps_rows:
            self._store.touch(state.key)
        if self._timers is not None and not state.timer and state.start < len(rows):
            self._timers.set(state)
        if not rows and not rule.keeps_rows and not rule.keeps_keys:  # where rows are stored, that is written first
            self.keys.pop(state.key, None)

    def _give_up(self, state: Any, place: int, error: Exception) -> None:
        """An attempt failed on a row: report it and go on at the next start."""
        self.problems.append(Problem(as_problem(error), [state.rows[place]], self._key_values(state.key)))
        state.start += 1
        state.attempt = None

    def _key_values(self, key: Any) -> tuple[Any, ...]:
        return (key,) if self.rule.single_key else key

    # --- output ---------------------------------------------------------------------------------------

    def _complete(self, state: Any, match: Match, at: Moment) -> None:
        rule, rows = self.rule, state.rows
        length = len(match.labels)
        end = match.start + length
        values = self._key_values(state.key)
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
        ended = rows[match.start][TIME] + (rule.within_ms or 0) if match.by_time else last[TIME]
        # A match that an earlier attempt held back counts from its release on (MATCH_ROWTIME).
        time = max(ended, at[0]) if at[0] != MAX_WATERMARK else ended
        try:
            results = rule.measures.compute(rows, match.start, match.labels, number, shown, time, match.timed_out)
        except FAILURES as error:
            self.problems.append(Problem(as_problem(error), rows[match.start : end], values))
            results = []
        names = rule.program.labels
        bindings = [(names[label], row) for label, row in zip(match.labels, rows[match.start : end], strict=True)]
        for place, result in enumerate(results):
            # The length tells apart matches that end at one row, and needs no memory of earlier ones.
            how = (match.way << 48) + (length << 24) + place
            late = match.timed_out
            self._emit(Finding(values, ended, result, last, bindings, ~how if late else how, timed_out=late), at)
        if rule.tells_unmatched:
            state.covered = max(state.covered, state.base + max(end, match.start + 1))
        self._skip(values, state, match)
        self._store.consumed(state)

    def _emit(self, finding: Finding, at: Moment) -> None:
        """A row of the clause through the query around it."""
        project = self.rule.project
        if project is not None:
            try:
                projected = project(finding.values)
            except FAILURES as error:
                self.problems.append(Problem(as_problem(error), [finding.last], finding.key))
                return
            if projected is None:
                return
            finding.values = projected
        self._found.append((at, finding))

    def _skip(self, key: tuple[Any, ...], state: Any, match: Match) -> None:
        rule, length = self.rule, len(match.labels)
        if rule.skip_to is SkipTo.NO_SKIP:
            return  # all starts are followed anyway
        if not length or rule.skip_to is SkipTo.NEXT_ROW or match.timed_out:
            state.start = match.start + 1
            return
        if rule.skip_to is SkipTo.PAST_LAST_ROW:
            state.start = match.start + length
            return
        places = [place for place, label in enumerate(match.labels) if label in rule.skip_set]
        target = (places[0] if rule.skip_to is SkipTo.FIRST else places[-1]) if places else 0
        if not target:
            reason = (
                "is the first row of the match: matching would not move on" if places else "has no row in the match"
            )
            error = SkipTargetError(f"AFTER MATCH SKIP {rule.skip_to.value} {rule.skip_name}: the target {reason}")
            self.counters.add("skip_target")
            self.problems.append(Problem(error, state.rows[match.start : match.start + length], key))
            target = 1
        state.start = match.start + target

    def _unmatched(self, state: Any, at: Moment) -> None:
        rule = self.rule
        if not rule.tells_unmatched or state.base + state.start < state.covered:
            return
        assert rule.measures.unmatched is not None
        row = state.rows[state.start]
        self._emit(Finding(self._key_values(state.key), row[TIME], rule.measures.unmatched(row), row, (), -1), at)


def as_problem(error: Exception) -> Exception:
    """The error of a problem: one of ours."""
    return error if isinstance(error, AnomalyError) else EvaluationError(str(error))
