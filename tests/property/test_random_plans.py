"""Random plans over disordered rows: any cut into batches, and any crash, gives the rows of a naive interpreter."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from hypothesis import HealthCheck, given, settings, strategies as st
from plan_oracle import CONDITIONS, Plan, Record, source

from anomaly_app.jobs.binder import BoundQuery, bind_text
from anomaly_app.jobs.task import PartitionTask, QuerySlot
from anomaly_app.operators import Row
from anomaly_app.schema import INT, STRING, TIMESTAMP_3, Column, Schema

TABLE = Plan("table")
RECORDS = st.lists(
    st.tuples(
        st.integers(1, 9), st.sampled_from(["a", "b", None]), st.one_of(st.none(), st.integers(0, 6)),
        st.integers(0, 24).map(lambda n: n * 500),
    ),
    max_size=14,
)  # fmt: skip


def _above(below: st.SearchStrategy[Plan]) -> st.SearchStrategy[Plan]:
    def one(kind: str, *args: object) -> st.SearchStrategy[Plan]:
        return below.map(lambda plan: Plan(kind, args, (plan,)))

    def two(kind: str, *args: object) -> st.SearchStrategy[Plan]:
        return st.tuples(below, below).map(lambda plans: Plan(kind, args, plans))

    return st.one_of(
        st.sampled_from(CONDITIONS).flatmap(lambda condition: one("filter", condition)),
        one("project"),
        two("union"),
        st.sampled_from(
            [("TUMBLE", 2000, 2000), ("HOP", 4000, 2000), ("CUMULATE", 4000, 1000), ("TUMBLE", 3500, 3500)]
        ).flatmap(lambda args: one("aggregate", *args)),
        st.sampled_from([1000, 2500]).flatmap(lambda gap: one("sessions", gap)),
        st.sampled_from([("ROWS", None), ("RANGE", None), ("ROWS", 1), ("RANGE", 2000)]).flatmap(
            lambda args: one("over", *args)
        ),
        one("first"),
        one("match"),
        two("join", 2000),
        st.sampled_from(
            [
                ("INNER", -1000, 1000),
                ("INNER", 500, 2000),
                ("LEFT", -2000, 500),
                ("LEFT", -3000, -1000),
                ("RIGHT", 0, 2000),
                ("RIGHT", -500, 1500),
                ("FULL", -1000, 2500),
                ("FULL", 0, 0),
                ("LEFT", 1000, -1000),
            ]
        ).flatmap(lambda args: two("near", *args)),
        st.sampled_from(["INNER", "LEFT"]).flatmap(lambda kind: two("as of", kind)),
    )


PLANS = st.recursive(st.just(TABLE), _above, max_leaves=3).filter(lambda plan: 2 <= plan.size <= 6)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(PLANS, RECORDS, st.sampled_from([0, 1000, 2500]), st.data())
def test_rows_of_a_naive_interpreter(plan: Plan, records: list[Record], delay: int, data: st.DataObject) -> None:
    expected = Counter(row for rows, _ in plan.run(source(records, delay)) for row in rows)
    schema = Schema((Column("id", INT), Column("k", STRING), Column("v", INT), Column("ts", TIMESTAMP_3)), "ts", delay)
    bound = bind_text(plan.sql(), {"t": schema})
    cuts = sorted(data.draw(st.sets(st.integers(0, len(records)), max_size=4)) | {0, len(records)})
    crashes = data.draw(st.sets(st.sampled_from(cuts), max_size=2))
    assert Counter(_run(bound, records, cuts, crashes)) == expected


def _run(bound: BoundQuery, records: Sequence[Record], cuts: Sequence[int], crashes: set[int]) -> list[Record]:
    """What comes of the rows, in batches between the cuts; behind some of them the task is lost and restored."""
    found: list[Record] = []
    entries: dict[bytes, bytes] = {}
    task = _task(bound)
    rows: list[Row] = [(record[3], position, *record) for position, record in enumerate(records)]
    fed = 0
    for cut in cuts[1:]:
        task.process(rows[fed:cut], end=cut)
        fed = cut
        output = task.take()
        assert not output.problems
        found += [finding.values for _, finding in output.findings]  # type: ignore[misc]
        checkpoint, changes = task.checkpoint()
        for key, value in changes:
            if value is None:
                del entries[key]
            else:
                entries[key] = value
        if cut in crashes:
            task = _task(bound)
            fed = task.restore(checkpoint, entries)
            if fed < cut:
                task.process(rows[fed:cut], end=cut)
                fed = cut
    task.finish()
    return found + [finding.values for _, finding in task.take().findings]  # type: ignore[misc]


def _task(bound: BoundQuery) -> PartitionTask:
    factory, layout = bound.factory, bound.layout
    slot = QuerySlot(
        "q", factory.create(layout), needs_order=factory.needs_order, order_key=factory.order_key(layout),
        sort_key=factory.sort_key(layout),
    )  # fmt: skip
    return PartitionTask([slot], delay_ms=bound.schema.watermark_delay_ms, mode=bound.tables[0].mode)
