"""Groups of values of all types, restored behind every row: what is stored is what was held."""

from __future__ import annotations

import random
from decimal import Decimal
from typing import Any

import pytest

from anomaly_app.graph.vertices import Flow
from anomaly_app.jobs.binder import bind_text
from anomaly_app.schema import Changelog, Column, Schema
from anomaly_app.sql import parse_type

VALUES: dict[str, tuple[str, list[Any]]] = {
    "k": ("STRING", ["a", "b", None]),
    "r": ("ROW<x INT, y STRING>", [None, (1, "q"), (None, "z")]),
    "v": ("INT", [None, 1, 2]),
    "d": ("DECIMAL(6, 2)", [None, Decimal("1.50"), Decimal("-2.25")]),
    "f": ("DOUBLE", [None, float("nan"), float("inf"), -0.5, 0.1]),
    "b": ("BOOLEAN", [None, True, False]),
    "ts": ("TIMESTAMP(3)", [None, 1_000, 2_000]),
    "a": ("ARRAY<INT>", [None, [1, None], [2]]),
    "m": ("MAP<STRING, INT>", [None, {"a": 1}, {"a": None}]),
    "y": ("BYTES", [None, b"x", b"\xff"]),
}
COLUMNS = tuple(Column(name, parse_type(type_)) for name, (type_, _) in VALUES.items())
SQL = """SELECT r, k, FIRST_VALUE(a), LAST_VALUE(r), ARRAY_AGG(a), ARRAY_AGG(r), FIRST_VALUE(m), LAST_VALUE(m), MIN(ts),
    MAX(b), COUNT(DISTINCT d), SUM(d), AVG(d), MAX(d), STDDEV_POP(d), SUM(f), AVG(f), MIN(f), MAX(f), MAX(y), MEDIAN(d),
    AVG_WITHOUT_MAX(d), STDDEV_WITHOUT_MAX(v), SUM(DISTINCT f), COUNT(DISTINCT f), VAR_SAMP(f), MAD(v),
    LISTAGG(DISTINCT k), MIN(y) FILTER (WHERE b) FROM t GROUP BY r, k"""


@pytest.mark.parametrize("changelog", [Changelog.APPEND, Changelog.ALL])
def test_what_is_restored_goes_on_as_what_was_stored(changelog: Changelog) -> None:
    bound = bind_text(SQL, {"t": Schema(COLUMNS, changelog=changelog)})
    one, other = (bound.factory.create(bound.layout) for _ in range(2))
    draw, there, entries = random.Random(4), list[tuple[Any, ...]](), dict[bytes, bytes]()
    for position in range(150):
        kind = 3 if changelog is Changelog.ALL and there and draw.random() < 0.4 else 0
        if kind:
            row = there.pop(draw.randrange(len(there)))
        else:
            row = tuple(draw.choice(values) for _, values in VALUES.values())
            there.append(row)
        given = (0, position, *row, *([kind] if changelog is Changelog.ALL else []))
        told, again = (operator.step([Flow([given], 0)]) for operator in (one, other))
        assert not one.problems and not other.problems
        # As text: NaN is not equal to itself.
        assert repr([(f.change, f.values) for f in told]) == repr([(f.change, f.values) for f in again])
        for name, data in other.changes():
            if data is None:
                entries.pop(name, None)
            else:
                entries[name] = data
        other = bound.factory.create(bound.layout)
        other.restore(list(entries.items()))
