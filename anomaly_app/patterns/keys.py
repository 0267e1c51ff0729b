"""What is held in memory for one key of a pattern operator."""

from __future__ import annotations

from anomaly_app.operators import Row
from anomaly_app.patterns.automaton import Attempt as AutomatonAttempt, Trail
from anomaly_app.patterns.matcher import Attempt
from anomaly_app.patterns.single_run import Run
from anomaly_app.patterns.specialise import RowValues


class KeyState:
    """The rows of a key that are still needed, and the attempt that is on.

    Attributes:
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
        "base",
        "covered",
        "dropped",
        "memo",
        "number",
        "rows",
        "start",
        "stored",
        "timer",
        "touched",
    )

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.base = self.start = self.covered = self.stored = self.dropped = 0
        self.attempt: Attempt | Run | AutomatonAttempt | None = None
        self.memo: RowValues | Trail | None = None
        self.number = 1
        self.timer = self.touched = False

    def prune(self, look_back: int) -> None:
        """Drop rows that neither an attempt nor PREV can reach; an attempt that is on holds places of rows."""
        spare = self.start - look_back
        if spare > 0:
            del self.rows[:spare]
            if not self.rows:
                self.memo = None
            elif self.memo is not None:
                self.memo.drop(spare)
            self.base += spare
            self.start -= spare
