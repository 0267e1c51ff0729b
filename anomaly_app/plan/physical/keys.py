"""The key of a row, by which vertices with state hold it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any

from anomaly_app.expressions.typed import Code, Environment
from anomaly_app.operators import COLUMNS, Layout, Row
from anomaly_app.schema import APPROXIMATE, NAN, Column


def key_of(layout: Layout, names: Sequence[str]) -> Callable[[Row], Any]:
    """The key of a row: one value, or a tuple of several or none."""
    indexes = [layout.index(name) for name in names]
    return itemgetter(*indexes) if indexes else _no_key


def layout_column(layout: Layout, name: str) -> Column:
    """A column of a layout."""
    return layout.columns[layout.index(name) - COLUMNS]


def _no_key(row: Row) -> tuple[()]:
    return ()


def join_key(layout: Layout, names: Sequence[str]) -> Callable[[Row], Any]:
    """The key of a row; NaN is one value, as everywhere in Flink's keys."""
    columns = [layout_column(layout, name) for name in names]
    if not any(column.type.kind in APPROXIMATE for column in columns):
        return key_of(layout, names)
    env = Environment()
    parts = []
    for name, column in zip(names, columns, strict=True):
        source = f"row[{layout.index(name)}]"
        is_float = column.type.kind in APPROXIMATE
        parts.append(f"({source} if {source} == {source} else {env.constant(NAN)})" if is_float else source)
    key = parts[0] if len(parts) == 1 else f"({', '.join(parts)})"
    function: Callable[[Row], Any] = env.function("key", f"def key(row):\n    return {key}")
    return function


def value_of_key(code: Code, env: Environment) -> str:
    """Source of a value of a key: NaN is one value."""
    if code.type.kind not in APPROXIMATE:
        return code.source
    return f"({code.source} if {code.source} == {code.source} else {env.constant(NAN)})"
