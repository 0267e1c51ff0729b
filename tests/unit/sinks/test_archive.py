"""Archives of records, read back by DuckDB and pyarrow."""

from __future__ import annotations

import errno
import gzip
import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import pyarrow.dataset
import pytest
from archive_reading import archived, files_of, record

from anomaly_app.alerts import Alert, AlertSource, UsedRow
from anomaly_app.errors import SettingsError, SinkError
from anomaly_app.settings import load_settings
from anomaly_app.settings.delivery import Archive as ArchiveSettings
from anomaly_app.sinks.archive import Archive, check_archives, open_archives
from anomaly_app.sinks.archive_rows import Record
from anomaly_app.sinks.archive_storage import ASIDE, LocalStorage, open_storage

FORMATS = ("parquet", "json.gz")


def archive(root: Path, format_: Any = "json.gz", **settings: Any) -> Archive:
    given = ArchiveSettings(name="all", path=str(root), format=format_, **settings)
    return Archive(given, open_storage(given), ["anomaly.alerts"])


def alert_record(offset: int, **changes: Any) -> Record:
    alert = Alert(
        id=f"{offset:032x}", job="unusual_transactions", version="1", query="unusual", key={"userId": "user001"},
        type="window", severity="critical", score=0.5, event_time="2026-01-01T09:04:59.999Z",
        detected_at="2026-01-01T09:05:01.000Z", explanation="far above",
        rows=[UsedRow(variable="row", event_time="2026-01-01T09:00:00.000Z", partition=0, offset=1, values={})],
        rows_total=12, payload={"max_amount": 5000.25},
        source=AlertSource(topic="transactions", partition=1, offset=77),
    )  # fmt: skip
    value = changes.pop("value", msgspec.json.encode(alert))
    return record(offset, topic="anomaly.alerts", value=value)._replace(**changes)


@pytest.mark.parametrize("format_", FORMATS)
def test_files_lie_by_topic_and_hour_and_their_names_tell_partition_and_offsets(tmp_path: Path, format_: str) -> None:
    kept = archive(tmp_path, format_)
    kept.add([record(3), record(4, hour=10), record(5), record(9, partition=1), record(2, topic="a-b")], 0)
    assert files_of(tmp_path) == []
    kept.flush()
    hour = "topic=orders/year=2026/month=01/day=01/hour"
    assert [str(path.relative_to(tmp_path)) for path in files_of(tmp_path)] == [
        f"topic=a-b/year=2026/month=01/day=01/hour=09/a-b-0-{2:019}-{2:019}.{format_}",
        f"{hour}=09/orders-0-{3:019}-{5:019}.{format_}",
        f"{hour}=09/orders-1-{9:019}-{9:019}.{format_}",
        f"{hour}=10/orders-0-{4:019}-{4:019}.{format_}",
    ]
    assert archived(tmp_path, format_).total() == 5


def test_a_file_is_written_when_it_is_large_or_old(tmp_path: Path) -> None:
    kept = archive(tmp_path, roll_bytes=100, roll_after=300_000)
    kept.add([record(number, value=b"x" * 30) for number in range(7)], 0)
    assert archived(tmp_path, "json.gz") == {("orders", 0, number): 1 for number in range(4)}
    assert kept.positions() == {("orders", 0): 4}
    kept.tick(299_999)
    assert kept.due_ms() == 300_000 and len(files_of(tmp_path)) == 1
    kept.add([record(7, value=b"y")], 300_000)
    assert kept.positions() == {("orders", 0): 7} and kept.due_ms() == 600_000
    kept.tick(600_000)
    assert kept.positions() == {("orders", 0): 8} and kept.due_ms() is None
    assert [len(gzip.decompress(path.read_bytes()).splitlines()) for path in files_of(tmp_path)] == [4, 3, 1]


def test_the_position_stays_below_what_is_in_memory(tmp_path: Path) -> None:
    kept = archive(tmp_path, roll_bytes=60)
    kept.add([record(1, hour=8, value=b"old"), *(record(number, value=b"x" * 40) for number in (2, 3, 4))], 0)
    assert kept.counts.files == 1  # offsets 2 and 3
    assert kept.positions() == {("orders", 0): 1}
    kept.flush()
    assert kept.positions() == {("orders", 0): 5}


@pytest.mark.parametrize("format_", FORMATS)
def test_what_is_read_again_is_not_written_again(tmp_path: Path, format_: str) -> None:
    records = [record(number) for number in range(20)]
    for begin, end in ((0, 8), (3, 11), (0, 20), (7, 9)):
        kept = archive(tmp_path, format_)
        kept.add(records[begin:end], 0)
        kept.flush()
    assert archived(tmp_path, format_) == {("orders", 0, number): 1 for number in range(20)}
    assert kept.counts.repeats == 2 and kept.counts.files == 0


def test_what_is_read_again_is_known_in_another_format_too(tmp_path: Path) -> None:
    for format_ in ("parquet", "json.gz", "parquet"):
        kept = archive(tmp_path, format_)
        kept.add([record(0), record(1)], 0)
        kept.flush()
    assert len(files_of(tmp_path)) == 1 and kept.counts.repeats == 2


@pytest.mark.parametrize("format_", FORMATS)
def test_a_file_that_is_none_of_ours_is_named_and_nothing_is_lost(tmp_path: Path, format_: str) -> None:
    kept = archive(tmp_path, format_)
    kept.add([record(0), record(1)], 0)
    kept.flush()
    (file,) = files_of(tmp_path)
    whole = file.read_bytes()
    for broken in (b"no such thing", whole[: len(whole) // 2]):
        file.write_bytes(broken)
        again = archive(tmp_path, format_)
        again.add([record(0), record(1)], 0)
        with pytest.raises(SinkError, match=rf"a file that cannot be read, topic=orders/.*{file.name}"):
            again.flush()
        assert again.positions() == {("orders", 0): 0}
    file.unlink()
    again.flush()
    assert archived(tmp_path, format_) == {("orders", 0, 0): 1, ("orders", 0, 1): 1}


@pytest.mark.parametrize(
    ("second", "said"),
    [
        ('name = "a"\npath = "b"', "delivery.archive[1].name (from FILE, line 5): there are two archives that are"),
        ('name = "b"\npath = "a/"', "delivery.archive[1].path (from FILE, line 6): the archive a writes the topic "
         "anomaly.alerts to this path, too: one of them is enough"),
        ('name = "b"\npath = "a"\ntopics = ["x", "anomaly.alerts"]', "delivery.archive[1].path (from FILE, line 6): "),
    ],
)  # fmt: skip
def test_archives_do_not_write_the_same(tmp_path: Path, second: str, said: str) -> None:
    file = tmp_path / "anomaly.toml"
    file.write_text(f'[[delivery.archive]]\nname = "a"\npath = "a"\n[[delivery.archive]]\n{second}\n')
    with pytest.raises(SettingsError) as caught:
        check_archives(load_settings(config_file=file, environ={}))
    assert str(caught.value).replace(str(file), "FILE").startswith(said)


@pytest.mark.parametrize("format_", FORMATS)
def test_a_topic_that_was_made_anew_has_other_records(tmp_path: Path, format_: str) -> None:
    for value in (b"1", b"2", b"1", b"2"):
        kept = archive(tmp_path, format_)
        kept.add([record(0, value=value), record(1, value=value)], 0)
        kept.flush()
    assert archived(tmp_path, format_) == {("orders", 0, 0): 2, ("orders", 0, 1): 2}
    assert [path.name.split(".", 1)[1] for path in files_of(tmp_path)] == [f"2.{format_}", format_]


def test_many_hours_and_large_records_do_not_fill_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("anomaly_app.sinks.archive.MOST_OPEN", 5)
    monkeypatch.setattr("anomaly_app.sinks.archive.MOST_BYTES", 1_000)
    kept = archive(tmp_path, roll_bytes=900)
    kept.add([record(number, hour=number) for number in range(12)], 0)
    assert len(kept.positions()) == 1 and kept.positions()["orders", 0] >= 7
    kept.add([record(number, hour=number, value=b"x" * 400) for number in range(12, 20)], 0)
    assert kept.positions()["orders", 0] >= 17
    kept.flush()
    assert archived(tmp_path, "json.gz").total() == 20


def test_an_error_loses_nothing_and_memory_stays_flat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = archive(tmp_path, roll_bytes=100)
    records = [record(number, value=b"x" * 30) for number in range(50)]

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr("anomaly_app.sinks.archive_storage.os.write", full)
        for _ in range(10):
            with pytest.raises(SinkError, match="No space left on device") as caught:
                kept.add(records, 0)
            assert caught.value.retriable and kept.positions() == {("orders", 0): 0}
        assert sum(len(file.records) for file in kept._growing.values()) == 4
    kept.add(records, 0)
    kept.flush()
    assert archived(tmp_path, "json.gz") == {("orders", 0, number): 1 for number in range(50)}


ODD = [
    Record("odd", 0, 0, -1, None, None, ()),
    Record("odd", 0, 1, 1 << 62, b"", b"", (("empty", None),)),
    Record("odd", 0, 2, 1_767_258_000_000, b"\xff\x00", b"\x00\x01avro\xfe", (("trace", b"\xff"), ("tenant", b"eu"))),
    Record("odd", 0, 3, 1_767_258_000_001, "kéy".encode(), '{"a":\n"\x00ü"}'.encode(), (("tenant", b"eu"),)),
]


@pytest.mark.parametrize("format_", FORMATS)
def test_records_keep_their_bytes(tmp_path: Path, format_: str) -> None:
    for _ in range(2):  # read again: none of them is written twice
        kept = archive(tmp_path, format_)
        kept.add(ODD, 0)
        kept.flush()
    assert kept.counts.repeats == 4
    reader = "read_parquet" if format_ == "parquet" else "read_json"
    rows = duckdb.sql(
        f'SELECT "offset", key, key_bytes, value, value_bytes, headers, epoch_ms("timestamp"), checksum, year, hour'
        f" FROM {reader}('{tmp_path}/**/*.{format_}', union_by_name = true, hive_partitioning = true) ORDER BY 1"
    ).fetchall()
    binary = (b"\xff\x00", b"\x00\x01avro\xfe") if format_ == "parquet" else ("/wA=", "AAFhdnJv/g==")
    assert [row[:7] for row in rows] == [
        (0, None, None, None, None, "[]", None),
        (1, "", None, "", None, '[["empty",null]]', None),
        (2, None, binary[0], None, binary[1], '[["trace",{"base64":"/w=="}],["tenant","eu"]]', 1_767_258_000_000),
        (3, "kéy", None, '{"a":\n"\x00ü"}', None, '[["tenant","eu"]]', 1_767_258_000_001),
    ]
    assert [row[7] for row in rows] == [item.checksum for item in ODD]
    assert [str(hour) for *_, hour in rows] in (["None", "None", "9", "9"], ["None", "None", "09", "09"])


@pytest.mark.parametrize("format_", FORMATS)
def test_alerts_can_be_asked_by_sql(tmp_path: Path, format_: str) -> None:
    kept = archive(tmp_path, format_)
    kept.add([alert_record(0, headers=(("tenant", b"eu"),)), alert_record(1), alert_record(2, value=b"no alert")], 0)
    kept.flush()
    reader = "read_parquet" if format_ == "parquet" else "read_json"
    rows = duckdb.sql(
        f"SELECT id, job, query, type, severity, score, event_time, key->>'userId', payload->>'max_amount', rows_total,"
        f" source_topic, source_offset, tenant, value, hour"
        f" FROM {reader}('{tmp_path}/**/*.{format_}', hive_partitioning = true) WHERE severity = 'critical' ORDER BY id"
    ).fetchall()
    at = datetime(2026, 1, 1, 9, 4, 59, 999_000, UTC)
    assert [row[1:12] for row in rows] == [
        ("unusual_transactions", "unusual", "window", "critical", 0.5, at, "user001", "5000.25", 12, "transactions", 77)
    ] * 2
    assert [(row[0], row[12], row[13], int(row[14])) for row in rows] == [
        (f"{0:032x}", "eu", None, 9),
        (f"{1:032x}", None, None, 9),
    ]
    assert duckdb.sql(
        f"SELECT value, id FROM {reader}('{tmp_path}/**/*.{format_}') WHERE id IS NULL"
    ).fetchall() == [("no alert", None)]  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [
        {"rows_total": 1 << 70},
        {"event_time": "yesterday"},
        {"event_time": str(1 << 62)},
        {"source": {}},
        {"score": "x"},
    ],
    ids=str,
)
def test_what_is_no_alert_that_columns_can_hold_keeps_its_text(tmp_path: Path, change: dict[str, Any]) -> None:
    whole = json.loads(alert_record(0).value or b"") | change
    for format_ in FORMATS:
        kept = archive(tmp_path / format_, format_)
        kept.add([alert_record(0, value=json.dumps(whole).encode())], 0)
        kept.flush()
    (row,) = pyarrow.dataset.dataset(tmp_path / "parquet", partitioning="hive").to_table().to_pylist()
    assert json.loads(row["value"]) == whole and row["id"] is None
    assert row["topic"] == "anomaly.alerts"
    (line,) = gzip.decompress(files_of(tmp_path / "json.gz")[0].read_bytes()).splitlines()
    assert json.loads(json.loads(line)["value"]) == whole


def test_what_is_nested_beyond_all_measure_keeps_its_text(tmp_path: Path) -> None:
    whole = (alert_record(0).value or b"").replace(
        b'{"max_amount":5000.25}', b'{"a":' + b"[" * 9_999 + b"]" * 9_999 + b"}"
    )
    assert b"[[[" in whole
    kept = archive(tmp_path, "parquet")
    kept.add([alert_record(0, value=whole)], 0)
    kept.flush()
    (row,) = pyarrow.dataset.dataset(tmp_path).to_table().to_pylist()
    assert row["value"].encode() == whole and row["id"] is None


def test_pyarrow_reads_an_archive_as_a_data_set(tmp_path: Path) -> None:
    kept = archive(tmp_path, "parquet", roll_bytes=200)
    kept.add([record(number, hour=number % 3, value=b"x" * 50) for number in range(30)], 0)
    kept.flush()
    (tmp_path / ASIDE / "all" / "left.parquet.tmp").write_bytes(b"half")
    table = pyarrow.dataset.dataset(tmp_path, partitioning="hive").to_table(
        filter=(pyarrow.dataset.field("hour") == 1) & (pyarrow.dataset.field("topic") == "orders")
    )
    assert sorted(table["offset"].to_pylist()) == list(range(1, 30, 3))


def test_what_a_killed_process_had_begun_is_taken_away(tmp_path: Path) -> None:
    left = tmp_path / ASIDE / "all" / "orders.tmp"
    other = tmp_path / ASIDE / "other" / "orders.tmp"
    for path in (left, other):
        path.parent.mkdir(parents=True)
        path.write_bytes(b"half")
    LocalStorage(tmp_path, "all")
    assert not left.exists() and other.exists()


def test_the_settings_say_which_archives_there_are(tmp_path: Path) -> None:
    file = tmp_path / "anomaly.toml"
    file.write_text(
        f'[alerts]\ntopic = "found"\n'
        f'[[delivery.archive]]\nname = "a"\npath = "{tmp_path}/a"\n'
        f'[[delivery.archive]]\nname = "b"\npath = "{tmp_path}/b"\nformat = "json.gz"\n'
        'topics = ["orders", "orders.dlq"]\n'
    )
    one, two = open_archives(load_settings(config_file=file, environ={}))
    assert one.topics == () and two.topics == ("orders", "orders.dlq")
    one.add([alert_record(0, topic="found")], 0)
    one.flush()
    assert duckdb.sql(f"SELECT severity FROM '{tmp_path}/a/**/*.parquet'").fetchall() == [("critical",)]


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("gs://bucket/x", "gs:// is not known: a folder or s3://bucket/prefix"),
        ("s3:///x", "a bucket is needed: s3://bucket/prefix"),
    ],
)
def test_a_path_of_another_kind_is_named(tmp_path: Path, path: str, said: str) -> None:
    file = tmp_path / "anomaly.toml"
    file.write_text(f'[[delivery.archive]]\nname = "a"\npath = "{path}"\n')
    with pytest.raises(SettingsError) as caught:
        open_archives(load_settings(config_file=file, environ={}))
    assert str(caught.value) == f"delivery.archive[0].path (from {file}, line 3): {said}"


def test_a_package_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "anomaly.toml"
    file.write_text(f'[[delivery.archive]]\nname = "a"\npath = "{tmp_path}/a"\nformat = "json.gz"\n')
    for name in ("pyarrow", "pyarrow.parquet"):
        monkeypatch.setitem(sys.modules, name, None)
    (kept,) = open_archives(load_settings(config_file=file, environ={}))
    kept.add([record(0)], 0)
    kept.flush()
    assert archived(tmp_path / "a", "json.gz").total() == 1
    file.write_text(f'[[delivery.archive]]\nname = "a"\npath = "{tmp_path}/a"\n')
    with pytest.raises(SettingsError, match=r"delivery\.archive\[0\]\.format .*install anomaly-app\[parquet\]"):
        open_archives(load_settings(config_file=file, environ={}))


WRITER = """
import json, sys, time
from pathlib import Path
from archive_reading import record
from anomaly_app.settings.delivery import Archive as ArchiveSettings
from anomaly_app.sinks.archive import Archive
from anomaly_app.sinks.archive_storage import open_storage

root, position, batch = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
settings = ArchiveSettings(name="all", path=str(root), format="json.gz", roll_bytes=4_000)
archive = Archive(settings, open_storage(settings))
at = int(position.read_text()) if position.exists() else 0
while at < 6_000:
    archive.add([record(number, hour=number % 5, value=b"x" * 10) for number in range(at, at + batch)], 0)
    at += batch
    new = position.with_suffix(".new")
    new.write_text(str(archive.positions()["orders", 0]))
    new.replace(position)
archive.flush()
"""


@pytest.mark.timeout(120)
def test_kill_9_at_any_moment_leaves_whole_files(tmp_path: Path) -> None:
    root, position = tmp_path / "archive", tmp_path / "position"
    paths = os.pathsep.join([str(Path(__file__).parents[3]), str(Path(__file__).parents[2] / "support")])
    killed = 0
    for number in range(40):
        before = position.stat().st_mtime_ns if position.exists() else 0
        command = [sys.executable, "-c", WRITER, str(root), str(position), str(17 + 13 * (number % 7))]
        process = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": paths})
        # Killed a little after its first step, so that each gets on.
        while process.poll() is None and (not position.exists() or position.stat().st_mtime_ns == before):
            time.sleep(0.001)
        if number < 7:
            time.sleep(0.003 * number)
            process.send_signal(signal.SIGKILL)
        if process.wait(60) == 0:
            break
        killed += 1
    assert killed >= 5 and process.returncode == 0
    found = archived(root, "json.gz")
    assert set(found.values()) == {1} and {offset for _, _, offset in found} >= set(range(6_000))
