"""An archive is killed at any step that reaches the disk, and read on from what was committed: each record once."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from archive_reading import archived, files_of, record
from hypothesis import given, settings, strategies as st

from anomaly_app.settings.delivery import Archive as ArchiveSettings
from anomaly_app.sinks import archive_storage
from anomaly_app.sinks.archive import Archive
from anomaly_app.sinks.archive_rows import Record
from anomaly_app.sinks.archive_storage import open_storage


class Killed(BaseException):
    """What no handler of the code sees in earnest."""


class Disk:
    """Stands for ``os``: at the given step, before, after or in the middle of it, the process is dead.

    Once it is, nothing reaches the disk, whatever handlers the exception passes.
    """

    STEPS = frozenset({"makedirs", "listdir", "unlink", "open", "write", "fsync", "close", "replace"})

    def __init__(self, steps: int, when: str) -> None:
        self.left, self.when, self.dead = steps, when, False

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        return (lambda *arguments, **named: self._step(name, real, arguments, named)) if name in self.STEPS else real

    def _step(self, name: str, real: Callable[..., Any], arguments: Any, named: Any) -> Any:
        if self.dead:
            if name == "close":
                real(*arguments)  # the kernel does that for the dead
            raise Killed
        self.left -= 1
        if self.left >= 0:
            return real(*arguments, **named)
        self.dead = True
        if self.when == "after" or name == "close":
            real(*arguments, **named)
        elif self.when == "amid" and name == "write":
            handle, data = arguments
            real(handle, data[: len(data) // 2])
        raise Killed


def run(
    root: Path, format_: Any, records: list[Record], committed: int, batches: list[int], disk: Disk
) -> tuple[int, bool]:
    """One life of a process; the position that it committed, and whether it came to the end."""
    given_ = ArchiveSettings(name="all", path=str(root), format=format_, roll_bytes=150, roll_after=5)
    at, now = committed, 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(archive_storage, "os", disk)
        try:
            kept = Archive(given_, open_storage(given_))
            while at < len(records):
                size = batches[now % len(batches)]
                kept.add([item for item in records[at : at + size] if item.offset not in GAPS], now)
                at, now = at + size, now + 1
                position = kept.positions().get(("orders", 0), committed)
                assert position >= committed
                committed = position
            kept.flush()
        except Killed:
            return committed, False
    return committed, True


GAPS = frozenset({4, 5, 17})
"""Offsets that the partition does not have, as of transactions."""

lives = st.lists(
    st.tuples(
        st.integers(0, 60),
        st.sampled_from(["before", "after", "amid"]),
        st.lists(st.integers(1, 9), min_size=1, max_size=4),
    ),
    max_size=6,
)


@pytest.mark.parametrize("format_", ["json.gz", "parquet"])
@settings(deadline=None, max_examples=60)
@given(lives=lives, hours=st.lists(st.integers(0, 3), min_size=25, max_size=25))
def test_each_record_is_in_one_file(format_: str, lives: list[tuple[int, str, list[int]]], hours: list[int]) -> None:
    records = [record(number, hour=hour, value=b"x" * (10 + 3 * hour)) for number, hour in enumerate(hours)]
    with TemporaryDirectory() as folder:
        root, committed, done = Path(folder), 0, False
        for steps, when, batches in lives:
            committed, done = run(root, format_, records, committed, batches, Disk(steps, when))
            whole = {path for path in files_of(root) if archive_storage.ASIDE not in path.parts}
            assert all(path.name.endswith(format_) for path in whole)
        _, done = run(root, format_, records, committed, [7], Disk(1_000_000, "before"))
        assert done
        wanted = {("orders", 0, number): 1 for number in range(25) if number not in GAPS}
        assert archived(root, format_) == wanted


@settings(deadline=None, max_examples=100)
@given(
    cuts=st.lists(st.tuples(st.integers(0, 24), st.integers(1, 25)), max_size=8),
    hours=st.lists(st.integers(0, 2), min_size=25, max_size=25),
)
def test_pieces_that_overlap_in_any_way_are_archived_once(cuts: list[tuple[int, int]], hours: list[int]) -> None:
    records = [record(number, hour=hour) for number, hour in enumerate(hours)]
    with TemporaryDirectory() as folder:
        given_ = ArchiveSettings(name="all", path=folder, format="json.gz")
        for begin, end in [*cuts, (0, 25)]:
            kept = Archive(given_, open_storage(given_))
            kept.add(records[begin:end], 0)
            kept.flush()
        assert archived(Path(folder), "json.gz") == {("orders", 0, number): 1 for number in range(25)}
