"""The same rows give the same alerts, however they are cut into batches; different findings never share an id."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from hypothesis import given, strategies as st

from anomaly_app.alerts import Alert
from anomaly_app.alerts.builder import AlertBuilder
from anomaly_app.jobs.binder import bind_job

SQL = """
CREATE TABLE sales (user_id STRING, quantity INT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts - INTERVAL '1' SECOND)
WITH ('connector' = 'kafka', 'topic' = 'sales', 'value.format' = 'json');
SELECT * FROM sales MATCH_RECOGNIZE (
    PARTITION BY user_id ORDER BY ts
    MEASURES LAST(A.quantity) AS before, B.quantity AS quantity
    ONE ROW PER MATCH AFTER MATCH SKIP TO NEXT ROW
    PATTERN (A+? B) WITHIN INTERVAL '10' SECOND
    DEFINE B AS B.quantity > A.quantity * 2
);
"""
JOB = bind_job(SQL, name="job")
PLAN = JOB.plans[0]

sales = st.lists(
    st.tuples(st.sampled_from(["ann", "bob"]), st.integers(1, 9), st.integers(0, 8)), min_size=1, max_size=30
)


def run(rows: Sequence[tuple[str, int, int]], cuts: Sequence[int]) -> list[Alert]:
    task = PLAN.create_task()
    placed = []
    for offset, (user, quantity, second) in enumerate(rows):
        values = {"user_id": user, "quantity": quantity, "ts": 1_000 * second}
        placed.append((values["ts"], offset, *(values[column.name] for column in PLAN.layout.columns)))
    bounds = [0, *sorted({cut % len(rows) for cut in cuts} - {0}), len(rows)]
    for start, end in pairwise(bounds):
        task.process(placed[start:end], end=end)
    task.finish()
    builder = AlertBuilder(JOB, PLAN, PLAN.queries[0])
    return [
        builder.build(finding, partition=2, offset=finding.last[1], detected_ms=0)
        for _, finding in task.take().findings
    ]


@given(sales, st.lists(st.integers(0, 30), max_size=6))
def test_batches_do_not_show(rows: list[tuple[str, int, int]], cuts: list[int]) -> None:
    whole, cut = run(rows, []), run(rows, cuts)
    assert {alert.id: alert for alert in cut} == {alert.id: alert for alert in whole}
    assert len({alert.id for alert in whole}) == len(whole)
