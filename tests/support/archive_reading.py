"""Archives as their readers see them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from anomaly_app.sinks.archive_rows import Record, row_format


def record(
    offset: int, *, partition: int = 0, topic: str = "orders", hour: int = 9, value: bytes = b"{}", key: bytes = b"ann"
) -> Record:
    """Of 2026-01-01, a second after the one before it."""
    timestamp = 1_767_225_600_000 + hour * 3_600_000 + offset % 3_600 * 1_000
    return Record(topic, partition, offset, timestamp, key, value, ())


def files_of(root: Path) -> list[Path]:
    """All files, also those that should not be there."""
    return sorted(path for path in root.rglob("*") if path.is_file())


def archived(root: Path, format_: str) -> Counter[tuple[str, int, int]]:
    """How often each topic, partition and offset is in the files."""
    rows = row_format(format_, alerts=False)
    found: Counter[tuple[str, int, int]] = Counter()
    for path in files_of(root):
        topic, partition, first, last = path.name.removesuffix(rows.suffix).partition(".")[0].rsplit("-", 3)
        offsets = [identity[0] for identity in rows.identities(path.read_bytes())]
        assert offsets == sorted(offsets) and (offsets[0], offsets[-1]) == (int(first), int(last))
        found.update((topic, int(partition), offset) for offset in offsets)
    return found
