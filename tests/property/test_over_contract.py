"""Queries with detectors keep the operator contract: batches, restore after any row, ids, write volume, expiry."""

from __future__ import annotations

import pytest
from hypothesis import given, settings, strategies as st
from sample_detector import use_sample_functions

from anomaly_app.jobs.binder import bind_text
from anomaly_app.limits import Limits
from anomaly_app.operators import MIN_WATERMARK, Layout
from anomaly_app.schema import DOUBLE, INT, STRING, TIMESTAMP_3, Column, Schema
from anomaly_app.testing.contract import check_contract, merged, steps_of, told

COLUMNS = (Column("k", STRING), Column("c", INT), Column("v", DOUBLE), Column("ts", TIMESTAMP_3))
SCHEMA = Schema(COLUMNS, rowtime="ts")
OVER = "OVER (PARTITION BY k ORDER BY ts RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)"
CALL = f"ML_DETECT_ANOMALIES(v, ts, JSON_OBJECT('minTrainingSize' VALUE 2, 'width' VALUE 1)) {OVER}"
ROBUST = f"ML_DETECT_ANOMALIES_ROBUST(ROW(v, c), ts) {OVER}"
QUERIES = {
    "by key": f"SELECT k, v, {CALL} AS r FROM t",
    "all rows": f"SELECT k, v, {CALL} AS r FROM t".replace("PARTITION BY k ", ""),
    "two keys": f"SELECT k, v, {CALL} AS r FROM t".replace("BY k", "BY k, c"),
    "several": f"SELECT k, {CALL} AS r, {ROBUST} AS s FROM t WHERE c > 0",
    "around": f"SELECT key, r.seen FROM (SELECT k AS key, {CALL} AS r FROM (SELECT v, k, ts FROM t WHERE c < 3)) "
    "WHERE r.is_anomaly IS NOT NULL",
    "expires": f"SET 'table.exec.state.ttl' = '20 ms'; SELECT k, v, {CALL} AS r FROM t",
    "several expire": f"SET 'table.exec.state.ttl' = '9 ms'; SELECT k, {CALL} AS r, {ROBUST} AS s FROM t",
}

data = st.lists(
    st.tuples(
        st.integers(0, 15),
        st.sampled_from("xyz"),
        st.one_of(st.none(), st.integers(0, 3)),
        st.one_of(st.none(), st.floats(0, 10)),
    ),
    max_size=30,
)


@pytest.fixture(autouse=True)
def sample_functions(monkeypatch):
    use_sample_functions(monkeypatch)


def made(rows):
    """(gap in ms, key, category, value) to rows in event-time order."""
    time, out = 1_000, []
    for position, (gap, *values) in enumerate(rows):
        time += gap
        out.append((time, position, *values, time))
    return out


def bound(name, **limits):
    factory = bind_text(QUERIES[name], {"t": SCHEMA}, limits=Limits(**limits)).factory
    return lambda: factory.create(Layout(COLUMNS))


@pytest.mark.parametrize("name", QUERIES)
@settings(max_examples=25, deadline=None)
@given(rows=data, seed=st.integers(0, 1_000))
def test_the_contract(name, rows, seed):
    # The sample detector has up to three entries, and a key that expires a time: each is put once and deleted once.
    check_contract(bound(name), made(rows), seed=seed, per_row=8 if "several" in name else 4)


@settings(max_examples=25, deadline=None)
@given(rows=data, ttl=st.integers(1, 40), seed=st.integers(0, 100))
def test_a_key_that_was_silent_for_too_long_begins_again(rows, ttl, seed):
    """As if each stretch of a key without such a gap were a key of its own, and whatever the batches are."""
    rows = made(rows)
    last: dict[str, int] = {}
    stretch: dict[str, int] = {}
    renamed = []
    for time, position, key, *rest in rows:
        if time - last.get(key, time) > ttl:
            stretch[key] = stretch.get(key, 0) + 1
        last[key] = time
        renamed.append((time, position, f"{key}{stretch.get(key, 0)}", *rest))
    sql = f"SELECT v, {CALL} AS r FROM t"
    expiring = bind_text(f"SET 'table.exec.state.ttl' = '{ttl} ms'; {sql}", {"t": SCHEMA}).factory
    keeping = bind_text(sql, {"t": SCHEMA}).factory
    steps = steps_of(rows)
    cuts = [place for place in range(1, len(steps)) if (place * 7 + seed) % 3 == 0]
    operator = expiring.create(Layout(COLUMNS))
    found = [finding.values for part, mark in merged(steps, cuts) for finding in operator.process(part, mark)]
    expected = keeping.create(Layout(COLUMNS)).process(renamed, MIN_WATERMARK)
    assert found == [finding.values for finding in expected]


def test_entries_of_a_key_that_expired_are_deleted():
    operator = bound("several expire")()
    stored: dict[bytes, bytes] = {}

    def note():
        for entry, value in operator.changes():
            if value is None:
                stored.pop(entry, None)
            else:
                stored[entry] = value

    operator.process(made([(0, "x", 1, 1.0), (1, "y", 1, 1.0)] * 5), 1_005)
    note()
    assert len(stored) > 4
    operator.process([(1_012, 10, "y", 1, 2.0, 1_012)], 1_012)
    note()
    assert any(b"y" in entry for entry in stored) and any(b"x" in entry for entry in stored)
    operator.advance(1_014)
    note()
    assert not any(b"x" in entry for entry in stored)
    operator.advance(1_021)
    note()
    assert stored == {}
    assert operator.counters.counts == {"expired_keys": 2}


def test_expiry_may_be_asked_for_later_and_no_more():
    """State of one setting is read with the other: what was stored without a time is silent from then on."""
    rows = made([(1, "x", 1, float(value)) for value in (1, 2, 1, 2, 9)])
    layout, stored = Layout(COLUMNS), {}
    keeping, expiring = bound("by key"), bound("expires")
    for create, part, mark in ((keeping, rows[:2], 1_002), (expiring, rows[2:3], 1_003), (keeping, rows[3:4], 1_004)):
        operator = create()
        operator.restore(list(stored.items()))
        operator.process(part, mark)
        for entry, value in operator.changes():
            stored.pop(entry, None) if value is None else stored.update({entry: value})
    operator = keeping()
    operator.restore(list(stored.items()))
    expected = [told(finding) for finding in keeping().process(rows, 1_005)]
    assert [told(finding) for finding in operator.process(rows[4:], 1_005)] == expected[4:]
    assert not any(entry.startswith(b"s") for entry in stored)
    assert len(layout.columns) == len(rows[0]) - 2
    late = expiring()
    late.restore(list(stored.items()))
    late.advance(1_010)
    assert late.counters.counts == {}
    late.advance(1_030)
    assert late.counters.counts == {"expired_keys": 1}


@pytest.mark.parametrize("name", ["by key", "expires"])
@settings(max_examples=25, deadline=None)
@given(rows=data, seed=st.integers(0, 1_000))
def test_the_contract_at_the_limit_of_keys(name, rows, seed):
    # A key without any value has no state, and a restart forgets that it was there.
    rows = [(*row[:3], row[3] or 1.0) for row in rows]
    check_contract(bound(name, keys=2), made(rows), seed=seed)


def test_a_key_too_many_is_reported_and_not_judged():
    operator = bound("expires", keys=2)()
    rows = made([(1, key, 1, 1.0) for key in "xyzxyz"])
    assert [finding.key for finding in operator.process(rows, 1_006)] == [("x",), ("y",)] * 2
    assert [problem.rows for problem in operator.problems] == [[rows[2]], [rows[5]]]
    assert "models of 2 keys are held (limits.keys)" in str(operator.problems[0].error)
    assert operator.counters.counts == {"detector_key_limit": 2}
    assert not any(b"z" in entry for entry, _ in operator.changes())
    operator.advance(1_030)
    assert [finding.key for finding in operator.process([(1_031, 6, "z", 1, 1.0, 1_031)], 1_031)] == [("z",)]
