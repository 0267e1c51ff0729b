"""Joins by time over two tables: any batches, and a crash behind any of them, give the rows of nested loops."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

from hypothesis import HealthCheck, given, settings, strategies as st

from anomaly_app.jobs.binder import BoundQuery, bind_text
from anomaly_app.jobs.checkpoint import Checkpoint
from anomaly_app.jobs.joint_task import JointSlot, JointTask
from anomaly_app.schema import INT, STRING, TIMESTAMP_3, Changelog, Column, Schema

MIN, MAX = -(1 << 63), (1 << 63) - 1
COLUMNS = (Column("id", INT), Column("k", STRING), Column("v", INT), Column("ts", TIMESTAMP_3))
Arrival = tuple[int, str | None, int | None, int, int]
"""Number of the table, key, value, time, kind of change."""

ARRIVALS = st.lists(
    st.tuples(
        st.integers(0, 1), st.sampled_from(["a", "b", None]), st.one_of(st.none(), st.integers(0, 3)),
        st.integers(0, 20).map(lambda n: n * 500), st.sampled_from([2, 2, 3]),
    ),
    max_size=16,
)  # fmt: skip
KINDS = ("INNER", "LEFT", "RIGHT", "FULL")
INTERVALS = ((-1_000, 1_000), (0, 2_500), (-3_000, -500), (1_000, 2_000), (0, 0), (500, -500))
DELAYS = st.sampled_from([0, 1_000, 2_500])


def _millis(by: int) -> str:
    return f"{'+' if by >= 0 else '-'} INTERVAL '{abs(by) / 1000}' SECOND"


def _fronts(arrivals: Sequence[Arrival], delays: Sequence[int]) -> Iterator[tuple[int, Arrival | None, int, int]]:
    """Number and row, and the watermark of the join before and behind it; at the end without a row."""
    own, reached = [MIN, MIN], MIN
    for number, arrival in enumerate(arrivals):
        own[arrival[0]] = max(own[arrival[0]], arrival[3] - delays[arrival[0]])
        yield number, arrival, reached, min(own)
        reached = min(own)
    yield len(arrivals), None, reached, MAX


def _near(
    kind: str, low: int, high: int, further: bool, arrivals: Sequence[Arrival], delays: Sequence[int]
) -> list[tuple[int | None, int | None]]:
    reach = (high, -low)
    outer = (kind in ("LEFT", "FULL"), kind in ("RIGHT", "FULL"))
    held: tuple[list[list[Any]], list[list[Any]]] = ([], [])
    found: list[tuple[int | None, int | None]] = []
    for number, arrival, reached, watermark in _fronts(arrivals, delays):
        if arrival is not None:
            place, key, value, time, _ = arrival
            entry = [number, key, value, time, False]
            for other in held[1 - place]:
                a, b = (entry, other) if place == 0 else (other, entry)
                fits = key is not None and key == other[1] and low <= b[3] - a[3] <= high
                if fits and (not further or (a[2] is not None and b[2] is not None and a[2] <= b[2])):
                    entry[4] = other[4] = True
                    found.append((a[0], b[0]))
            if reached < time + reach[place]:
                held[place].append(entry)
            elif outer[place] and not entry[4]:
                found.append((number, None) if place == 0 else (None, number))
        for place, entries in enumerate(held):
            for entry in [entry for entry in entries if watermark > entry[3] + reach[place]]:
                entries.remove(entry)
                if outer[place] and not entry[4]:
                    found.append((entry[0], None) if place == 0 else (None, entry[0]))
    return found


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from(KINDS), st.sampled_from(INTERVALS), st.booleans(), ARRIVALS, DELAYS, DELAYS, st.data(),
)  # fmt: skip
def test_interval_join(
    kind: str,
    bounds: tuple[int, int],
    further: bool,
    arrivals: list[Arrival],
    one: int,
    other: int,
    data: st.DataObject,
) -> None:
    sql = (
        f"SELECT a.id, b.id AS other FROM a {kind} JOIN b ON a.k = b.k AND b.ts BETWEEN a.ts {_millis(bounds[0])} "
        f"AND a.ts {_millis(bounds[1])}{' AND a.v <= b.v' * further}"
    )
    schemas = {"a": Schema(COLUMNS, "ts", one), "b": Schema(COLUMNS, "ts", other)}
    found = _run(bind_text(sql, schemas), [row[:4] for row in arrivals], data, most_left=0)
    assert Counter(found) == Counter(_near(kind, *bounds, further, arrivals, (one, other)))


def _as_of(
    kind: str, further: bool, arrivals: Sequence[Arrival], delays: Sequence[int]
) -> list[tuple[int | None, int | None]]:
    versions: dict[str | None, dict[int, tuple[int, int | None] | None]] = {}
    waiting: list[tuple[int, int, str | None, int | None]] = []
    found: list[tuple[int | None, int | None]] = []
    for number, arrival, reached, watermark in _fronts(arrivals, delays):
        if arrival is not None and arrival[0] == 0:
            waiting.append((arrival[3], number, arrival[1], arrival[2]))
        elif arrival is not None:
            _, key, value, time, kind_of_change = arrival
            own = versions.setdefault(key, {})
            if not any(time < at <= reached for at in own):
                own[time] = None if kind_of_change == 3 else (number, value)
        if watermark == reached:
            continue
        for time, probe, key, value in sorted(one for one in waiting if one[0] <= watermark):
            own = versions.get(key, {}) if key is not None else {}
            left = max((at for at in own if at <= reached), default=MIN)
            at = max((at for at in own if left <= at <= time), default=None)
            version = own[at] if at is not None else None
            if version is not None and further and (value is None or version[1] is None or value > version[1]):
                version = None
            if version is not None or kind == "LEFT":
                found.append((probe, version[0] if version is not None else None))
        waiting = [one for one in waiting if one[0] > watermark]
        for own in versions.values():  # of what the watermark has passed the last one stays, if it is no deletion
            passed = sorted(at for at in own if at <= watermark)
            for at in passed[:-1] if passed and own[passed[-1]] is not None else passed:
                del own[at]
    return found


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(["INNER", "LEFT"]), st.booleans(), st.booleans(), ARRIVALS, DELAYS, DELAYS, st.data())
def test_temporal_join(
    kind: str, upserts: bool, further: bool, arrivals: list[Arrival], one: int, other: int, data: st.DataObject
) -> None:
    sql = (
        f"SELECT a.id, b.id AS other FROM a {kind} JOIN {'b' if upserts else 'last'} FOR SYSTEM_TIME AS OF a.ts AS b "
        f"ON a.k = b.k{' AND a.v <= b.v' * further}"
    )
    if not upserts:
        arrivals = [(*arrival[:4], 2) for arrival in arrivals]
        numbered = "SELECT *, ROW_NUMBER() OVER (PARTITION BY k ORDER BY ts DESC) AS rn FROM b"
        sql = f"CREATE VIEW last AS SELECT id, k, v, ts FROM ({numbered}) WHERE rn = 1; {sql}"
    changes = {"primary_key": ("k",), "changelog": Changelog.UPSERT} if upserts else {}
    schemas = {"a": Schema(COLUMNS, "ts", one), "b": Schema(COLUMNS, "ts", other, **changes)}
    rows = [row if upserts and row[0] == 1 else row[:4] for row in arrivals]
    found = _run(bind_text(sql, schemas), rows, data, most_left=2)
    assert Counter(found) == Counter(_as_of(kind, further, arrivals, (one, other)))


def _run(
    bound: BoundQuery, arrivals: Sequence[Sequence[Any]], data: st.DataObject, most_left: int
) -> list[tuple[Any, ...]]:
    """What comes of the rows, in batches; behind some of them the task is lost and restored."""
    cuts = sorted(data.draw(st.sets(st.integers(0, len(arrivals)), max_size=4)) | {0, len(arrivals)})
    crashes = data.draw(st.sets(st.sampled_from(cuts), max_size=3))
    rows = [(row[0], (row[3], number, number, *row[1:])) for number, row in enumerate(arrivals)]
    tables = {"a": 0, "b": 1}
    found: list[tuple[Any, ...]] = []
    entries: dict[bytes, bytes] = {}
    numbers: set[tuple[Any, ...]] = set()

    def task() -> JointTask:
        operator, _ = bound.factory.create_over({table.name: table.layout for table in bound.tables})
        slot = JointSlot("q", operator, [tables[table.name] for table in bound.tables])
        schemas = {tables[table.name]: table.schema for table in bound.tables}
        return JointTask([slot], [schemas[0], schemas[1]])

    def take() -> None:
        output = running.take()
        assert not output.problems
        for _, finding in output.findings:
            found.append(finding.values)
            numbers.add((finding.last[1], finding.number))

    def store() -> Checkpoint:
        checkpoint, changes = running.checkpoint()
        for name, value in changes:
            if value is None:
                del entries[name]
            else:
                entries[name] = value
        return checkpoint

    running = task()
    for begin, end in pairwise(cuts):
        running.process(_picked(bound, rows[begin:end], tables))
        take()
        checkpoint = store()
        if end in crashes:
            running = task()
            running.restore(checkpoint, entries)
            assert not running.checkpoint()[1], "what has been restored is written again"
    running.finish()
    take()
    store()
    assert len(entries) <= most_left, "what nobody asks for any more is held"
    assert len(numbers) == len(found), "two rows have one id"
    return found


def _picked(bound: BoundQuery, rows: Sequence[Any], tables: dict[str, int]) -> list[Any]:
    """Rows with the columns that the query reads."""
    layouts = {tables[table.name]: table.layout for table in bound.tables}
    names = ("id", "k", "v", "ts", "$change")
    picked = []
    for number, row in rows:
        cells = dict(zip(names, row[2:], strict=False))
        picked.append((number, (*row[:2], *(cells[column.name] for column in layouts[number].columns))))
    return picked
