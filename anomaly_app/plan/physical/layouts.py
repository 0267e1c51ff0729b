"""How rows of tables stand in memory."""

from __future__ import annotations

from collections.abc import Iterable

from anomaly_app.changes import with_change
from anomaly_app.operators import Layout
from anomaly_app.plan.nodes import Scan
from anomaly_app.schema import Changelog, Column, Schema


def scan_layout(scan: Scan, columns: Iterable[Column]) -> Layout:
    """Some columns of a scan as the layout of its rows."""
    return table_layout(scan.source, columns)


def table_layout(schema: Schema, columns: Iterable[Column]) -> Layout:
    """Some columns of a table as the layout of its rows; of one that changes, with the kind of change behind them."""
    return Layout(tuple(columns) if schema.changelog is Changelog.APPEND else with_change(tuple(columns)))
