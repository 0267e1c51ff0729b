"""A rule compiled for rows of one layout: what its operators and strategies share."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any

from anomaly_app.expressions.typed import Dialect
from anomaly_app.operators import Layout, Row
from anomaly_app.patterns.clause import CheckedClause
from anomaly_app.patterns.define import Definitions
from anomaly_app.patterns.measures import Measures
from anomaly_app.patterns.program import Program
from anomaly_app.sql.row_pattern import RowsPerMatch, SkipTo


@dataclass(slots=True)
class CompiledRule:
    """A rule for rows of one layout.

    Args:
        checked: the clause.
        layout: of the rows.
        define: its conditions.
        measures: its output.
        project: of the query around it; None to take the output as it is.
        key_of: the key of a row: one value if ``single_key``, else a tuple.
        single_key: PARTITION BY has one column.
        sequence: orders the rows of a key as they are processed.
        reads_log: rows that WITHIN bounds may be read again from the source, and are not stored.
        matchers: strategies made so far, by what :mod:`.strategies` has made them for.
    """

    checked: CheckedClause
    layout: Layout
    define: Definitions
    measures: Measures
    project: Callable[[tuple[Any, ...]], tuple[Any, ...] | None] | None
    key_of: Callable[[Row], Any]
    single_key: bool
    sequence: Callable[[Row], Any]
    reads_log: bool = True
    # Derived, as attributes because the operator asks for them all the time.
    reads: frozenset[str] = field(init=False)
    program: Program = field(init=False)
    earliest: bool = field(init=False)
    within_ms: int | None = field(init=False)
    look_back: int = field(init=False)
    look_ahead: int = field(init=False)
    sees_number: bool = field(init=False)
    keeps_keys: bool = field(init=False)
    keeps_rows: bool = field(init=False)
    rows_per_match: RowsPerMatch = field(init=False)
    tells_unmatched: bool = field(init=False)
    skip_to: SkipTo = field(init=False)
    skip_set: frozenset[int] = field(init=False)
    in_time_order: bool = field(init=False)
    timed: bool = field(init=False)
    matchers: dict[Hashable, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        checked, define, measures = self.checked, self.define, self.measures
        further = [*checked.partition_by, *(order.column for order in checked.order_by)]
        self.reads = frozenset(define.reads | measures.reads | {column.name for column in further})
        self.program = checked.program
        self.earliest = checked.dialect is Dialect.FLINK
        self.within_ms = checked.clause.within_ms
        self.look_back = max(define.look_back, measures.look_back)
        self.look_ahead = max(define.look_ahead, measures.look_ahead)
        self.sees_number = define.sees_number or measures.sees_number
        # A key that has no rows left is forgotten, unless its past shows: in MATCH_NUMBER(), or in ^.
        self.keeps_keys = self.sees_number or self.program.anchored
        # The source is the log only if WITHIN bounds how far back it must be read.
        bounded = self.within_ms is not None and not self.look_back and not self.program.anchored
        self.keeps_rows = not (bounded and self.reads_log)
        self.rows_per_match = checked.rows_per_match
        self.tells_unmatched = self.rows_per_match is RowsPerMatch.ALL_UNMATCHED
        self.skip_to, self.skip_set = checked.skip_to, checked.skip_set
        if self.skip_to is SkipTo.NO_SKIP:  # a start gives several matches: rows tell again what came out already
            self.keeps_rows = True
        self.in_time_order = checked.in_time_order
        # What only the threads can do; with NO SKIP the operator has none of the strategies.
        self.timed = checked.timeouts or self.program.waiting >= 0 or self.skip_to is SkipTo.NO_SKIP

    @property
    def skip_name(self) -> str:
        """Variable of the skip target, as written."""
        skip = self.checked.clause.skip
        return skip.variable if skip is not None else ""
