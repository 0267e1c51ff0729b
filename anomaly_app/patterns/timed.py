"""Attempts whose end in time counts: ``NOT v`` at the end of a pattern, and SHOW TIMEOUT MATCHES.

A thread whose rows make a whole pattern in front of ``NOT v`` waits: rows on which the condition of ``v`` does not hold
pass by, unbound, and one on which it holds ends the thread. If one waits when WITHIN ends, it is the match. If none
does and time-outs are shown, the rows that the preferred thread has taken are given as a match that timed out. (All
threads of an attempt that do not wait have taken the same rows: they differ in the variables.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from anomaly_app.errors import LimitError
from anomaly_app.operators import Row
from anomaly_app.patterns.define import Registers, Take
from anomaly_app.patterns.matcher import Attempt, Match, Matcher, Thread


def tester(
    takes: Sequence[Take | None], rows: Sequence[Row], index: int, row: Row, registers: Registers, number: int
) -> Callable[[int], Registers | None]:
    """A function that tries a row as a variable, each once; it gives the registers behind it, or None."""
    known: dict[int, Registers | None] = {}

    def test(label: int) -> Registers | None:
        if label not in known:
            take = takes[label]
            known[label] = registers if take is None else take(rows, index, row, registers, number)
        return known[label]

    return test


class TimedMatcher(Matcher):
    """A :class:`~anomaly_app.patterns.matcher.Matcher` with threads that wait, and attempts that are shown.

    Args:
        shows: attempts that time out are shown.
        arguments: of the matcher.
    """

    def __init__(self, *arguments: Any, shows: bool, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.shows = shows

    def _expire(self, attempt: Attempt) -> None:
        if not attempt.complete:
            # In Flink waiting threads come first, in the order in which they were complete.
            ready = (path for number, _, path in attempt.threads if self.program.waits(self._state(number)))
            attempt.best = next(ready, None)
            attempt.complete = attempt.best is not None
            if not attempt.complete and self.shows:
                self._show(attempt, attempt.threads)
        super()._expire(attempt)

    def end(self, attempt: Attempt) -> None:
        """No row follows in the partition, so that WITHIN ends for those threads that ``$`` does not complete."""
        left = attempt.threads
        super().end(attempt)
        if not attempt.complete and self.shows:
            self._show(attempt, left)

    @staticmethod
    def _show(attempt: Attempt, threads: Sequence[Thread]) -> None:
        if threads:
            attempt.best = threads[0][2]
            attempt.complete = attempt.timed_out = True

    def _step(self, attempt: Attempt, rows: Sequence[Row], index: int, row: Row, number: int) -> None:
        waiting = self.program.waiting
        if waiting < 0:
            super()._step(attempt, rows, index, row, number)
            return
        waits: list[Thread] = []
        alive: list[Thread] = []
        seen: set[tuple[int, Registers]] = set()
        for number_of_state, registers, path in attempt.threads:
            test = tester(self.takes, rows, index, row, registers, number)
            for edge in self._state(number_of_state).edges:
                if any(test(guard) is not None for guard in edge.guards):
                    continue
                after, way = test(edge.label), path
                if edge.target == waiting:  # the row passes by if it does not carry the variable
                    after = registers if after is None else None
                else:
                    way = (path, edge.target)
                if after is not None and (edge.target, after) not in seen:
                    seen.add((edge.target, after))
                    (waits if self.earliest and edge.target == waiting else alive).append((edge.target, after, way))
        attempt.threads = waits + alive
        if len(attempt.threads) > self.max_threads:
            raise LimitError(f"one attempt has more than {self.max_threads} ways to go on")

    def match(self, attempt: Attempt) -> Match:
        """The match of a resolved attempt that is complete, or the rows of one that timed out."""
        by_time = attempt.timed_out or self.program.waiting >= 0
        return replace(super().match(attempt), by_time=by_time, timed_out=attempt.timed_out)
