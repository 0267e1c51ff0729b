"""Archives in S3, as moto has it."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from archive_reading import record
from pyarrow import fs, parquet

from anomaly_app.errors import SinkError
from anomaly_app.settings.delivery import Archive as ArchiveSettings
from anomaly_app.sinks.archive import Archive
from anomaly_app.sinks.archive_storage import open_storage

moto = pytest.importorskip("moto.server", reason="scripts/lowest has no server of S3")


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


def files(endpoint: str) -> fs.S3FileSystem:
    return fs.S3FileSystem(
        access_key="testing", secret_key="testing", region="eu-central-1", endpoint_override=endpoint,
        allow_bucket_creation=True,
    )  # fmt: skip


def settings(endpoint: str, path: str, **given: Any) -> ArchiveSettings:
    return ArchiveSettings(
        name="all", path=path, access_key="testing", secret_key="testing", region="eu-central-1", endpoint=endpoint,
        **given,
    )  # fmt: skip


@pytest.mark.parametrize("prefix", ["", "/processed-data"])
@pytest.mark.parametrize("format_", ["parquet", "json.gz"])
def test_each_record_is_in_one_object(endpoint: str, prefix: str, format_: Any) -> None:
    bucket = f"archive-{format_.replace('.', '-')}{prefix.replace('/', '-')}"
    seen = files(endpoint)
    seen.create_dir(bucket)
    given = settings(endpoint, f"s3://{bucket}{prefix}", format=format_, roll_bytes=300)
    for begin, end in ((0, 30), (10, 45), (0, 60)):
        kept = Archive(given, open_storage(given))
        kept.add([record(number, hour=number % 2, value=b"x" * 50) for number in range(begin, end)], 0)
        if end < 60:
            continue  # killed: what is in memory is gone
        kept.flush()
    found = seen.get_file_info(fs.FileSelector(f"{bucket}{prefix}/topic=orders", recursive=True))
    objects = [info.path for info in found if info.is_file]
    assert all(path.startswith(f"{bucket}{prefix}/topic=orders/year=2026/month=01/day=01/hour=0") for path in objects)
    offsets = []
    for path in objects:
        data = seen.open_input_stream(path, compression=None).readall()
        if format_ == "parquet":
            offsets += parquet.read_table(io.BytesIO(data))["offset"].to_pylist()
        else:
            offsets += [identity[0] for identity in row_offsets(data)]
    assert sorted(offsets) == list(range(60)) and kept.counts.repeats > 20


def row_offsets(data: bytes) -> list[tuple[int, int | None, int]]:
    from anomaly_app.sinks.archive_rows import JsonRows

    return list(JsonRows(alerts=False).identities(data))


def test_a_bucket_that_is_not_there_is_said_and_no_key_is(endpoint: str, tmp_path: Path) -> None:
    given = settings(endpoint, "s3://nowhere/x")
    kept = Archive(given, open_storage(given))
    kept.add([record(0)], 0)
    with pytest.raises(SinkError, match="the archive cannot be used: ") as caught:
        kept.flush()
    assert "testing" not in str(caught.value)
    assert kept.positions() == {("orders", 0): 0}


def test_keys_are_needed_together() -> None:
    given = ArchiveSettings(name="all", path="s3://bucket", access_key="one")
    with pytest.raises(ValueError, match="access_key and secret_key are needed together"):
        open_storage(given)
