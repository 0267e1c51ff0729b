"""What is held in memory for one key of a pattern operator."""

from __future__ import annotations

from typing import Any

from anomaly_app.operators import MAX_WATERMARK, MIN_WATERMARK, Row
from anomaly_app.patterns.automaton import Attempt as AutomatonAttempt
from anomaly_app.patterns.matcher import Attempt


class _Held:
    """Rows of a key from a start on, and what a strategy keeps beside them."""

    __slots__ = ("base", "memo", "rows", "start")
    rows: list[Row]
    base: int
    start: int
    memo: Any

    def prune(self, spare: int) -> None:
        """Drop the first rows, which neither an attempt nor PREV can reach; an attempt that is on knows already."""
        del self.rows[:spare]
        if not self.rows:
            self.memo = None
        elif self.memo is not None:
            self.memo.drop(spare)
        self.base += spare
        self.start -= spare


class KeyState(_Held):
    """The rows of a key that are still needed, and the attempt that is on.

    Attributes:
        key: as the operator knows it.
        rows: held rows, in order.
        base: number of rows of the key that were dropped before ``rows[0]``: a row's sequence is ``base`` + place.
        start: place of the next start, or of the present attempt's.
        attempt: the one that waits for rows.
        number: of the next match.
        memo: what the strategy keeps beside the rows; None without rows.
        covered: sequence behind the last row that a match covers.
        timer: a timer is set.
        stored: sequence behind the last row that is stored.
        dropped: sequence of the first row that is stored.
        touched: rows came in this call.
    """

    __slots__ = (
        "attempt",
        "covered",
        "dropped",
        "key",
        "number",
        "stored",
        "timer",
        "touched",
    )

    def __init__(self, key: Any) -> None:
        self.key = key
        self.rows = []
        self.base = self.start = self.covered = self.stored = self.dropped = 0
        self.attempt: Attempt | AutomatonAttempt | None = None
        self.memo = None
        self.number = 1
        self.timer = self.touched = False

    def begin(self, matcher: Any, first: bool) -> Any:
        """An attempt at the start row; ``first`` if it is the first of its partition."""
        if self.memo is None:
            self.memo = matcher.memo()
        attempt = self.attempt = matcher.begin(self.start, first, self.memo)
        return attempt


IDLE, DEAD, COMPLETE = -2, -1, -3
"""States of a run besides those of the program: no attempt is on; it failed; it is a match."""

CLOSED, PENDING, RESUMABLE = MIN_WATERMARK, MIN_WATERMARK - 1, MIN_WATERMARK - 2
"""Deadlines before every row: rows have to be looked at by ``advance``; some wait for it; some do, and no value that
the attempt has seen is NULL."""

NEVER = MAX_WATERMARK
"""A deadline without WITHIN."""


class RunState(_Held):
    """The state of a key under the strategy of a single run: its rows and, in the same object, where the run stands.

    Millions of keys may each wait with a row or two, and most rows do no more than add to registers, so a key is one
    small object. Registers are further slots, ``r0``, ``r1``, …, of a subclass made for the rule; they mean nothing
    before the first row of an attempt is taken.

    Attributes:
        key: as the operator knows it.
        rows: held rows, in order.
        base: number of rows of the key that were dropped before ``rows[0]``.
        start: place of the next start, or of the present attempt's.
        number: of the next match.
        next: place of the next row to take; while ``deadline`` is open, that is behind all rows.
        state: of the program, or one of those above.
        path: states entered, each with the place of its first row counted from the start; a row that stays in its
            state adds nothing. After a condition failed, the resolution of the attempts before.
        best: a match, if no preferred one comes: path and number of rows. Where the run is complete, the match.
        memo: values beside the rows; None where they are few.
        timer: a timer is set.
        deadline: rows before that event time may be taken one by one, as nothing else waits.
    """

    __slots__ = ("best", "deadline", "key", "next", "number", "path", "state", "timer")

    def __init__(self, key: Any) -> None:
        self.key = key
        self.rows = []
        self.base = self.start = self.next = 0
        self.number = 1
        self.state = IDLE
        self.path: tuple[tuple[int, int], ...] = ()
        self.best: tuple[tuple[tuple[int, int], ...], int] | None = None
        self.memo = None
        self.timer = False
        self.deadline = CLOSED

    @property
    def attempt(self) -> RunState | None:
        """The run itself while an attempt is on; None ends it."""
        return None if self.state == IDLE else self

    @attempt.setter
    def attempt(self, none: None) -> None:
        self.state, self.deadline, self.best = IDLE, CLOSED, None

    @property
    def complete(self) -> bool:
        """The run is a match."""
        return self.state == COMPLETE

    def begin(self, matcher: Any, first: bool) -> RunState:
        """An attempt at the start row; ``first`` if it is the first of its partition."""
        self.next, self.state, self.path = self.start, matcher.first_state if first else 0, ()
        return self


def run_state(registers: int, *, stored: bool) -> type[RunState]:
    """The class of the keys of a rule.

    Args:
        registers: how many its conditions have.
        stored: rows are stored, and how far is kept in ``stored`` and ``dropped``, as in :class:`KeyState`.
    """

    class Run(RunState):
        __slots__ = (*(f"r{k}" for k in range(registers)), *(("dropped", "stored") if stored else ()))

        def __init__(self, key: Any) -> None:
            super().__init__(key)
            if stored:
                self.stored = self.dropped = 0

    return Run
