"""Frames of a repartition topic."""

from __future__ import annotations

import itertools
from decimal import Decimal

import msgspec
import pytest

from anomaly_app.errors import DecodeError
from anomaly_app.operators import Layout
from anomaly_app.runtime import frames
from anomaly_app.runtime.frames import (
    POSITION_BITS,
    FrameCodec,
    What,
    bundled,
    decode_head,
    decode_heads,
    partition_of,
    position_of,
)
from anomaly_app.schema import Column
from anomaly_app.sql import parse_type

TYPES = [
    ("STRING", "it's"),
    ("INT", -3),
    ("DOUBLE", 1.0),
    ("DOUBLE", float("inf")),
    ("BOOLEAN", True),
    ("DECIMAL(10, 2)", Decimal("12.30")),
    ("BYTES", b"\0\xff"),
    ("TIMESTAMP(3)", 1_760_000_000_000),
    ("ARRAY<DECIMAL(3, 1)>", [Decimal("1.5"), None]),
    ("MAP<STRING, BIGINT>", {"a": 1, "b": None}),
    ("ROW<x INT, y DECIMAL(3, 1)>", (1, Decimal("2.5"))),
    ("STRING", None),
]


def layout(*types: str) -> Layout:
    return Layout(tuple(Column(f"c{number}", parse_type(type_)) for number, type_ in enumerate(types)))


@pytest.mark.parametrize(("type_", "value"), TYPES)
def test_values_come_back_in_memory_form(type_: str, value: object) -> None:
    codec = FrameCodec(layout(type_))
    rows, offsets = codec.decode(decode_head(codec.encode(2, 900, [(1_000, 7, value)])), frame_offset=5)
    assert rows == [(1_000, 5 << POSITION_BITS, value, 2, 7)]
    assert type(rows[0][2]) is type(value)
    assert offsets == [7]


def test_a_frame_without_rows_tells_the_watermark() -> None:
    codec = FrameCodec(layout("INT"))
    frame = decode_head(codec.encode(1, -5, [], What.IDLE, "run"))
    assert (frame.upstream, frame.watermark, frame.what, frame.run) == (1, -5, What.IDLE, "run")
    assert codec.decode(frame, 0) == ([], [])


def test_rows_that_do_not_fit_one_record_are_split_and_only_the_last_frame_moves_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(frames, "MAX_BYTES", 300)
    rows = [(time, time, "x" * 50) for time in range(20)]
    decoder = FrameCodec(layout("STRING"))
    heads = [decode_head(data) for data in decoder.encode_all(0, 10, 99, rows)]
    assert len(heads) > 3
    assert [head.watermark for head in heads] == [10] * (len(heads) - 1) + [99]
    back = [row for number, head in enumerate(heads) for row in decoder.decode(head, number)[0]]
    assert [row[0] for row in back] == list(range(20))
    positions = [row[1] for row in back]
    assert positions == sorted(set(positions))


def test_frames_of_several_partitions_are_one_record(monkeypatch: pytest.MonkeyPatch) -> None:
    codec = FrameCodec(layout("STRING"))
    given = [codec.encode(n, 100 + n, [(n, 7, "a"), (n, 8, "b")] if n % 3 else []) for n in range(200)]
    records = bundled(given)
    assert [len(decode_heads(record)) for record in records] == [64, 64, 64, 8]
    heads = [(offset, *one) for offset, record in enumerate(records) for one in enumerate(decode_heads(record))]
    assert [frame.watermark for _, _, frame in heads] == [100 + n for n in range(200)]
    rows = [row for offset, place, frame in heads for row in codec.decode(frame, offset, place)[0]]
    assert [(row[0], row[3]) for row in rows] == [(n, n) for n in range(200) if n % 3 for _ in range(2)]
    assert [row[1] for row in rows] == sorted({row[1] for row in rows}), "each row has a position of its own"
    for (offset, place, frame), (_, following, _) in itertools.pairwise(heads):
        if following:  # it goes on in the same record
            assert all(row[1] < position_of(offset, following) for row in codec.decode(frame, offset, place)[0])
    monkeypatch.setattr(frames, "MAX_BYTES", 150)
    small = bundled(given[:20])
    assert [data for record in small for data in map(msgspec.msgpack.encode, decode_heads(record))] == given[:20]
    assert len(small) > 3 and max(map(len, small)) < 250


def test_a_full_frame_stays_below_the_next_one() -> None:
    codec = FrameCodec(layout("INT"))
    (full,) = codec.encode_all(0, 0, 1, [(0, n, 1) for n in range(frames.MAX_ROWS)])
    assert len(codec.encode_all(0, 0, 1, [(0, n, 1) for n in range(frames.MAX_ROWS + 1)])) > 1
    rows, _ = codec.decode(decode_head(full), 3, frames.MAX_FRAMES - 1)
    assert rows[-1][1] < position_of(4)


def test_partitions_of_keys_never_change() -> None:
    # A restarted worker, or another release, must send a key where its state is.
    place = partition_of(layout("STRING", "INT"), ["c0"], 8)
    assert [place((0, 0, key, 1)) for key in ("user-1", "user-2", "ann", "", None)] == [5, 7, 6, 5, 5]
    both = partition_of(layout("STRING", "INT"), ["c0", "c1"], 8)
    assert [both((0, 0, "user-1", 1)), both((0, 0, "user-1", 2)), both((0, 0, None, 1))] == [3, 1, 4]
    assert partition_of(layout("INT"), [], 8)((0, 0, 5)) == 0


def test_remembered_keys_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "MAX_KNOWN_KEYS", 10)
    place = partition_of(layout("INT"), ["c0"], 4)
    first = [place((0, 0, key)) for key in range(100)]
    assert [place((0, 0, key)) for key in range(100)] == first


def test_frames_of_an_earlier_version_of_the_job_are_read_by_name() -> None:
    def codec(*columns: tuple[str, str]) -> FrameCodec:
        return FrameCodec(Layout(tuple(Column(name, parse_type(type_)) for name, type_ in columns)))

    earlier = codec(("user", "STRING"), ("note", "STRING"), ("price", "DECIMAL(4, 2)"))
    frame = decode_head(earlier.encode(0, 5, [(1, 2, "ann", "x", Decimal("1.50"))]))
    fewer = codec(("price", "DECIMAL(4, 2)"), ("user", "STRING"))
    assert fewer.decode(frame, 0) == ([(1, 0, Decimal("1.50"), "ann", 0, 2)], [2])
    for more in (codec(("user", "STRING"), ("shop", "STRING")), codec(("user", "INT"))):
        with pytest.raises(DecodeError, match="earlier version of the job, without the column"):
            more.decode(frame, 0)
