"""Windowing of a table in FROM, as a tree: TUMBLE, HOP, CUMULATE, SESSION."""

from __future__ import annotations

from dataclasses import dataclass

from anomaly_app.expressions.nodes import ColumnRef, Literal
from anomaly_app.expressions.tokens import Span

KINDS = ("TUMBLE", "HOP", "CUMULATE", "SESSION")
"""Kinds of windows."""


@dataclass(frozen=True, slots=True)
class WindowFunction:
    """``TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '5' MINUTE))``, or the same in GROUP BY.

    Args:
        span: its place.
        kind: one of :data:`KINDS`.
        time: the column of DESCRIPTOR.
        size: length of a window; the gap of SESSION.
        step: slide of HOP, step of CUMULATE; None for the others.
        offset: moves the windows against the epoch; None for not at all.
        partition_by: keys of SESSION; () without.
        in_group_by: the older form, ``GROUP BY TUMBLE(ts, INTERVAL '5' MINUTE)``.
    """

    span: Span
    kind: str
    time: ColumnRef
    size: Literal
    step: Literal | None = None
    offset: Literal | None = None
    partition_by: tuple[ColumnRef, ...] = ()
    in_group_by: bool = False
