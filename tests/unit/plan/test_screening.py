"""Rows that nobody makes use of stay where they are read."""

from __future__ import annotations

from typing import Any

import pytest

from anomaly_app.jobs.binder import bind_job
from anomaly_app.plan.screening import UNJUDGED, Screen

TABLE = """CREATE TABLE sales (id INT, shop STRING, kind STRING, amount DOUBLE, ts TIMESTAMP(3),
    WATERMARK FOR ts AS ts - INTERVAL '1' SECOND) WITH ('connector' = 'kafka', 'topic' = 'sales', 'format' = 'json');
CREATE VIEW big AS SELECT id, shop, UPPER(kind) AS kind, ts FROM sales WHERE amount / (id - 3) > 10;
"""
OVER = "SELECT shop, COUNT(*) OVER (PARTITION BY shop ORDER BY ts) AS n FROM "
BOTH = "SELECT shop, ts FROM {} UNION ALL SELECT shop, ts FROM {}"


def readers(*queries: str) -> Any:
    (plan,) = bind_job(TABLE + "; ".join(queries), name="job", partitions={"sales": 4}).plans
    found = plan.readers(0)
    return None if found is None else Screen(found, plan.inputs[0].layout)


def test_rows_that_no_condition_takes_stay() -> None:
    screen = readers(OVER + "(SELECT * FROM sales WHERE kind = 'y')")
    rows = [(n, n, "a", "x" if n % 9 else "y", n) for n in range(20)]
    assert [row[0] for row in screen.keep(rows)] == [0, 9, 18]


def test_conditions_over_projections_and_of_several_readers_count() -> None:
    (plan,) = bind_job(
        TABLE + OVER + "(" + BOTH.format("big WHERE kind = 'Y'", "(SELECT * FROM sales WHERE id = 1)") + ")",
        name="job",
        partitions={"sales": 4},
    ).plans
    layout = plan.inputs[0].layout
    values: Any = {"id": 0, "shop": "a", "kind": "y", "amount": 100.0, "ts": 0}
    found = plan.readers(0)
    assert found is not None and len(found) == 2

    def row(**given: Any) -> tuple[Any, ...]:
        return (0, 0, *({**values, **given}[column.name] for column in layout.columns))

    kept = Screen(found, layout).keep([row(id=1, amount=0.0), row(id=4), row(id=4, kind="x"), row(id=14), row(id=20)])
    assert kept == [row(id=1, amount=0.0), row(id=4)]


@pytest.mark.parametrize(
    "queries",
    [
        [OVER + "sales"],
        [OVER + "(SELECT * FROM sales WHERE kind = 'y')", OVER + "sales"],
        [OVER + "(" + BOTH.format("(SELECT * FROM sales WHERE id = 1)", "sales") + ")"],
        [OVER + "(SELECT * FROM sales WHERE CURRENT_WATERMARK(ts) IS NULL OR ts > CURRENT_WATERMARK(ts))"],
    ],
)
def test_who_takes_all_rows_gets_all(queries: list[str]) -> None:
    assert readers(*queries) is None


def test_a_row_on_which_a_condition_fails_goes_where_that_is_told() -> None:
    screen = readers(OVER + "(SELECT * FROM sales WHERE 10 / (id - 3) > 1 AND kind = 'y')")
    rows = [(0, 0, 3, "a", "y", 0), (0, 1, 4, "a", "x", 0)]
    assert screen.keep(rows[1:]) == []
    assert screen.keep(rows) == rows


def test_it_is_not_asked_where_nearly_all_rows_pass() -> None:
    screen = readers(OVER + "(SELECT * FROM sales WHERE kind = 'y')")
    yes, no = (0, 0, "a", "y", 0), (0, 0, "a", "x", 0)
    assert screen.keep([yes] * 9 + [no]) == [yes] * 9
    unjudged = [no] * (10 * UNJUDGED)
    assert screen.keep(unjudged) == unjudged
    assert screen.keep([no, yes]) == [yes], "but now and then it is"
