"""Records of topics as files by hour: each record is in one file, whatever happened on the way.

A record's folder is told by its topic and the hour of its timestamp, both of which are the same whenever it is read::

    topic=anomaly.alerts/year=2026/month=01/day=31/hour=09/anomaly.alerts-0-00…0042-00…0107.parquet

A file holds records of one partition in the order of their offsets; its name has the first and the last of these. While
it grows it is in memory only. It is written when it has ``roll_bytes``, or ``roll_after`` after its first record; then
it is there as a whole or not at all (:mod:`anomaly_app.sinks.archive_storage`).

Why a record is in one file, and not in two or in none, when the process is killed at any point and its successor reads
again from the position that was committed, in batches cut elsewhere:

1. *What stands in a folder is whole*, since a file appears there by one step of the storage.
2. *None is lost.* ``positions`` gives for a partition the first offset that is in memory only, or the one behind all
   that were taken. So what is below it is in files, and what is not in files is read again by the successor. For the
   first process that begins at a position this holds at once; for each other it does by induction, as files are not
   taken away.
3. *None is there twice.* Immediately before a file is written its folder is listed, and every record that stands in a
   file of its partition there already is left out. A record can stand in no other folder (its topic and its timestamp
   do not change), and a file that has it has a name whose offsets enclose its offset. So only files whose names overlap
   what is to be written are read: those of a run that was killed before its position was committed. How files were cut
   does not matter, as records are compared and not names. Within one run a record is taken once: offsets below the last
   one taken are let go.
4. *Records of another topic of the same name are others.* If a topic was deleted and made anew its offsets begin again
   at 0. A record is the same if offset, timestamp and the checksum of key and value are; if the name of a file is taken
   by others it gets a number.

One process at a time writes to an archive (delivery's consumer group sees to that). One that was held up and goes on
after its successor began does no harm either, unless both write the same records between the listing and the end of the
write.

Nothing here reads a clock or knows Kafka. Calls block while files are written, so they belong into a thread, one call
at a time.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypeAlias

import msgspec

from anomaly_app.errors import SinkError
from anomaly_app.settings import LoadedSettings
from anomaly_app.settings.delivery import Archive as ArchiveSettings
from anomaly_app.sinks.archive_rows import SUFFIXES, Identity, Record, RowFormat, identities_of, row_format
from anomaly_app.sinks.archive_storage import Storage, check_path, open_storage

MOST_OPEN = 200
"""Files that grow at a time: timestamps may be of any hour."""
MOST_BYTES = 64_000_000
"""Of all records in memory; the file that was begun first is written when there are more."""

_NO_TIME = "__HIVE_DEFAULT_PARTITION__"
"""What readers of such folders take for NULL."""
_DIGITS = 19
"""Of an offset: names sort as offsets do."""

TopicPartition: TypeAlias = tuple[str, int]


@dataclass(slots=True)
class ArchiveCounts:
    """What an archive did since it was opened.

    Args:
        files: written.
        records: in these files.
        bytes: of these files.
        repeats: records that were read again and are in files of an earlier run.
    """

    files: int = 0
    records: int = 0
    bytes: int = 0
    repeats: int = 0


@dataclass(slots=True)
class _Growing:
    """A file that is not written yet."""

    topic: str
    partition: int
    folder: str
    opened_ms: int
    records: list[Record] = field(default_factory=list)
    bytes: int = 0


class Archive:
    """Takes the records of some topics and writes them as files.

    A reader that starts again, or that goes back to an earlier offset, makes a new one.

    Args:
        settings: of the archive.
        storage: where the files go.
        alert_topics: topics whose records are alerts, which get columns of their own.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> from anomaly_app.sinks.archive_rows import Record
        >>> with TemporaryDirectory() as folder:
        ...     settings = ArchiveSettings(name="all", path=folder, format="json.gz")
        ...     archive = Archive(settings, open_storage(settings))
        ...     archive.add([Record("orders", 0, 7, 1_767_258_000_000, b"ann", b"{}", ())], now_ms=0)
        ...     print(archive.positions(), archive.due_ms())
        ...     archive.tick(now_ms=300_000)
        ...     print(archive.positions(), archive.due_ms(), archive.counts.files)
        {('orders', 0): 7} 300000
        {('orders', 0): 8} None 1
    """

    def __init__(self, settings: ArchiveSettings, storage: Storage, alert_topics: Collection[str] = ()) -> None:
        self.settings = settings
        self.counts = ArchiveCounts()
        self._storage = storage
        self._alert_topics = frozenset(alert_topics)
        self._growing: dict[tuple[str, int, str], _Growing] = {}
        self._next: dict[TopicPartition, int] = {}
        self._bytes = 0

    @property
    def topics(self) -> tuple[str, ...]:
        """What it is to be given; none stands for the topic of the alerts."""
        return self.settings.topics

    def add(self, records: Sequence[Record], now_ms: int) -> None:
        """Take records, and write the files that are full or due.

        After an error the same records may be given again: those that were taken are let go.

        Args:
            records: of a partition in the order of their offsets.
            now_ms: now, in ms since 1970.

        Raises:
            SinkError: the storage does not take a file; it is tried again with the next call.
        """
        self.tick(now_ms)
        for record in records:
            place = (record.topic, record.partition)
            if record.offset < self._next.get(place, 0):
                continue
            folder = folder_of(record.topic, record.time_ms)
            key = (record.topic, record.partition, folder)
            file = self._growing.get(key)
            if file is None:
                file = self._growing[key] = _Growing(record.topic, record.partition, folder, now_ms)
            file.records.append(record)
            file.bytes += record.size
            self._bytes += record.size
            self._next[place] = record.offset + 1
            if file.bytes >= self.settings.roll_bytes or self._crowded:
                self.tick(now_ms)

    def tick(self, now_ms: int) -> None:
        """Write the files that are full or due.

        Args:
            now_ms: now, in ms since 1970.

        Raises:
            SinkError: the storage does not take a file; it is tried again with the next call.
        """
        for key, file in list(self._growing.items()):
            due = now_ms - file.opened_ms >= self.settings.roll_after
            if due or file.bytes >= self.settings.roll_bytes or self._crowded:
                self._write(key, file)

    def flush(self) -> None:
        """Write all that is in memory, before an orderly end.

        Raises:
            SinkError: the storage does not take a file; it stays in memory.
        """
        for key, file in list(self._growing.items()):
            self._write(key, file)

    def positions(self) -> dict[TopicPartition, int]:
        """The offset of each partition that may be committed: all below it are in files."""
        found = dict(self._next)
        for file in self._growing.values():
            place = (file.topic, file.partition)
            found[place] = min(found[place], file.records[0].offset)
        return found

    def due_ms(self) -> int | None:
        """When the next file is due, in ms since 1970; None if there is none."""
        return min((file.opened_ms + self.settings.roll_after for file in self._growing.values()), default=None)

    @property
    def pending_bytes(self) -> int:
        """Of the records that are in memory only."""
        return self._bytes

    @property
    def _crowded(self) -> bool:
        return len(self._growing) > MOST_OPEN or self._bytes > max(MOST_BYTES, self.settings.roll_bytes)

    def _write(self, key: tuple[str, int, str], file: _Growing) -> None:
        rows = row_format(self.settings.format, file.topic in self._alert_topics)
        names = set(self._storage.names(file.folder))
        known: set[Identity] = set()
        for name in _overlapping(names, file):
            path = f"{file.folder}/{name}"
            try:
                known.update(identities_of(name, self._storage.read(path)))
            except (msgspec.MsgspecError, ValueError, LookupError, EOFError, OSError, zlib.error) as error:
                # It is not one of ours; whoever put it there, what is in it can neither be taken nor be written again.
                raise SinkError(f"the archive has a file that cannot be read, {path}: {error}") from error
        records = [record for record in file.records if record.identity not in known]
        if records:
            data = rows.encode(records)
            self._storage.publish(f"{file.folder}/{_free_name(names, file, records, rows)}", data)
            self.counts.files += 1
            self.counts.records += len(records)
            self.counts.bytes += len(data)
        self.counts.repeats += len(file.records) - len(records)
        self._bytes -= file.bytes
        del self._growing[key]


def check_archives(loaded: LoadedSettings) -> None:
    """Find out before anything begins whether the archives of the settings can be as they are set; nothing is opened.

    Raises:
        SettingsError: a path is of a kind that is not known, a package that it needs is missing, or two archives have
            one name, or one path and topic.
    """
    names: set[str] = set()
    places: dict[tuple[str, str], str] = {}
    for number, archive in enumerate(loaded.settings.delivery.archive):
        if archive.name in names:
            raise loaded.error(
                f"delivery.archive[{number}].name", f"there are two archives that are named {archive.name}"
            )
        names.add(archive.name)
        for topic in archive.topics or (loaded.settings.alerts.topic,):
            other = places.setdefault((archive.path.rstrip("/"), topic), archive.name)
            if other != archive.name:
                problem = f"the archive {other} writes the topic {topic} to this path, too: one of them is enough"
                raise loaded.error(f"delivery.archive[{number}].path", problem)
        try:
            row_format(archive.format, alerts=False).check()
        except ImportError:
            key = f"delivery.archive[{number}].format"
            raise loaded.error(key, "parquet needs pyarrow: install anomaly-app[parquet]") from None
        try:
            check_path(archive)
        except (ImportError, ValueError) as error:
            raise loaded.error(f"delivery.archive[{number}].path", str(error)) from None


def open_archives(loaded: LoadedSettings) -> list[Archive]:
    """The archives of the settings, for the process that is the active one.

    Raises:
        SettingsError: a path is of a kind that is not known, or a package that it needs is missing.
        SinkError: a folder cannot be written.
    """
    check_archives(loaded)
    topic = loaded.settings.alerts.topic
    return [Archive(archive, open_storage(archive), [topic]) for archive in loaded.settings.delivery.archive]


def folder_of(topic: str, time_ms: int | None) -> str:
    """Where the records of a topic and an hour are, below the path of the archive.

    Args:
        topic: its name.
        time_ms: of a record, in ms since 1970; None if it has none.

    Example:
        >>> folder_of("orders", 1_767_258_000_000)
        'topic=orders/year=2026/month=01/day=01/hour=09'
        >>> folder_of("orders", None).partition("/year=")[2].partition("/")[0]
        '__HIVE_DEFAULT_PARTITION__'
    """
    if time_ms is None:
        return "/".join([f"topic={topic}", *(f"{part}={_NO_TIME}" for part in ("year", "month", "day", "hour"))])
    return f"topic={topic}/{datetime.fromtimestamp(time_ms // 1_000, UTC):year=%Y/month=%m/day=%d/hour=%H}"


def _overlapping(names: Collection[str], file: _Growing) -> Iterator[str]:
    """Files of the partition that may have records of a file; of any format, which may have been another one before."""
    begin = f"{file.topic}-{file.partition}-"
    for name in names:
        if not name.startswith(begin) or not name.endswith(SUFFIXES):
            continue
        first, _, last = name[len(begin) :].partition(".")[0].partition("-")
        if (
            first.isdigit()
            and last.isdigit()
            and int(first) <= file.records[-1].offset
            and file.records[0].offset <= int(last)
        ):
            yield name


def _free_name(names: Collection[str], file: _Growing, records: Sequence[Record], rows: RowFormat) -> str:
    first, last = (str(records[place].offset).zfill(_DIGITS) for place in (0, -1))
    name = f"{file.topic}-{file.partition}-{first}-{last}{rows.suffix}"
    number = 1
    while name in names:
        number += 1
        name = f"{file.topic}-{file.partition}-{first}-{last}.{number}{rows.suffix}"
    return name
