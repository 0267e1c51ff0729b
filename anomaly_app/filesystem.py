"""Tables in local files that CREATE TABLE names with ``'connector' = 'filesystem'``: CSV, JSON lines, Parquet."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import msgspec

from anomaly_app.errors import DataError, DecodeError, IgnoredError
from anomaly_app.formats.csv import CsvDecoder
from anomaly_app.formats.json import JsonDecoder
from anomaly_app.formats.options import CsvOptions, JsonOptions
from anomaly_app.incoming import Chunk, Rejected
from anomaly_app.schema import STRING, Column

FILE_FORMATS = ("csv", "json", "parquet")

_SHOWN = 200
"""Characters of a line that cannot be read, for people."""


@dataclass(frozen=True, slots=True)
class FileTable:
    """A table in a file; an :class:`~anomaly_app.incoming.Table`. The file is read whenever rows are asked for.

    A CSV file whose first line names the columns is read by these names; any other one by position, as Flink does it.
    A JSON file has an object a line, or is one array of objects.

    Args:
        path: of the file.
        format: ``csv``, ``json`` or ``parquet``.
        columns: of the table, as it is declared.
        options: of the format, without prefix.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> from anomaly_app.schema import INT
        >>> with TemporaryDirectory() as folder:
        ...     path = Path(folder, "limits.csv")
        ...     with path.open("w") as file:
        ...         print("user,limit", "ann,3", "bob,many", sep=chr(10), file=file)
        ...     table = FileTable(path, "csv", (Column("limit", INT), Column("user", STRING)))
        ...     chunk = next(table.chunks(table.columns, 10))
        >>> chunk.columns, chunk.rejected[0].reason
        ([(3,), ('ann',)], "line 3: column limit: 'many' (str) is not an INT")
    """

    path: Path
    format: str
    columns: tuple[Column, ...]
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def absent_is_null(self) -> bool:
        """A field that no object has is NULL."""
        return self.format == "json"

    @property
    def names(self) -> list[str]:
        """Of its columns."""
        return [column.name for column in self.columns]

    @property
    def exists(self) -> bool:
        """Whether the file is there."""
        return self.path.exists()

    def signature(self) -> tuple[int, ...]:
        """Changes when the file does, or who may read it.

        Raises:
            DataError: there is no such file.
        """
        try:
            stat = self.path.stat()
        except OSError as error:
            raise _unreadable(self.path, error) from error
        return stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size, stat.st_ino

    def chunks(self, wanted: Sequence[Column], size: int) -> Iterator[Chunk]:
        """All rows; a line that is none costs only itself.

        Raises:
            DataError: the file cannot be read at all.
        """
        try:
            if self.format == "parquet":
                return self._parquet(wanted, size)
            data = self.path.read_bytes().removeprefix(b"\xef\xbb\xbf")
        except OSError as error:
            raise _unreadable(self.path, error) from error
        lines, decoder = self._csv(data, wanted) if self.format == "csv" else self._json(data, wanted)
        return _decoded(lines, decoder, len(wanted), size)

    def _csv(self, data: bytes, wanted: Sequence[Column]) -> tuple[list[tuple[int, bytes]], _Decoder]:
        options = CsvOptions.parse(self.options)
        lines = _records(data, options.quote.encode() if options.quote is not None else None)
        columns = list(self.columns)
        if lines:
            header = _fields(lines[0][1], options)
            found = [name for name in self.names if name in header]
            if len(found) == len(columns) or 2 * len(found) > len(header) or (found and not self._is_row(lines[0][1])):
                missing = [name for name in self.names if name not in header]
                if missing:
                    problem = f"its first line has no column {missing[0]!r}; it has {', '.join(header)}"
                    raise DataError(f"{self.path}: {problem}")
                by_name = {column.name: column for column in columns}
                columns = [by_name.get(name) or Column(name, STRING) for name in header]
                lines = lines[1:]
        places = {column.name: number for number, column in enumerate(columns)}
        return lines, CsvDecoder(columns, [places[column.name] for column in wanted], options)

    def _is_row(self, line: bytes) -> bool:
        """Whether a line can be read by position."""
        options = CsvOptions.parse({**self.options, "ignore-parse-errors": "false"})
        try:
            CsvDecoder(self.columns, range(len(self.columns)), options).decode_one(line)
        except DecodeError:
            return False
        return True

    def _json(self, data: bytes, wanted: Sequence[Column]) -> tuple[list[tuple[int, bytes]], _Decoder]:
        decoder = JsonDecoder([Column(column.name, column.type) for column in wanted], JsonOptions.parse(self.options))
        if not data.lstrip().startswith(b"["):
            return [(number, line) for number, line in enumerate(data.split(b"\n"), 1) if line.strip()], decoder
        try:
            items = msgspec.json.decode(data, type=list[msgspec.Raw])
        except msgspec.MsgspecError as error:
            raise DataError(f"{self.path} is no array of JSON objects: {error}") from error
        return [(number, bytes(item)) for number, item in enumerate(items, 1)], decoder

    def _parquet(self, wanted: Sequence[Column], size: int) -> Iterator[Chunk]:
        from anomaly_app.frames import as_table

        try:
            import pyarrow.parquet
        except ImportError as error:
            raise DataError("Parquet needs pyarrow: install anomaly-app[parquet]") from error
        try:
            frame = as_table(pyarrow.parquet.read_table(self.path))
        except ValueError as error:  # pyarrow's ArrowInvalid is one
            raise DataError(f"{self.path} is no Parquet file: {error}") from error
        assert frame is not None, "a table of pyarrow is a frame"
        for column in wanted:
            if column.name not in frame.names:
                problem = f"{self.path} has no column {column.name!r}; it has {', '.join(frame.names)}"
                raise DataError(problem)
        return frame.chunks(wanted, size)


def _unreadable(path: Path, error: OSError) -> DataError:
    return DataError(f"{path} cannot be read: {error.strerror or error}")


# --- lines ----------------------------------------------------------------------------------------------


class _Decoder(Protocol):
    """What CSV and JSON have in common."""

    @property
    def decode_all(self) -> Callable[[Sequence[bytes]], list[tuple[Any, ...]]]:
        """All lines, or an error if one of them is unusual."""

    @property
    def decode_one(self) -> Callable[[bytes], tuple[Any, ...] | None]:
        """One line; None if it is none, such as a comment."""


def _records(data: bytes, quote: bytes | None) -> list[tuple[int, bytes]]:
    """Lines of CSV with their numbers, from 1; one with a line end in quotes is all of its lines."""
    found: list[tuple[int, bytes]] = []
    lines = data.split(b"\n")
    number = 0
    while number < len(lines):
        end = number + 1
        if quote is not None and lines[number].count(quote) % 2:
            quotes = 1
            while end < len(lines) and quotes % 2:
                quotes += lines[end].count(quote)
                end += 1
            if quotes % 2:  # nobody closes it: it costs its own line, and not all others
                end = number + 1
        record = b"\n".join(lines[number:end]).removesuffix(b"\r")
        if record:
            found.append((number + 1, record))
        number = end
    return found


def _fields(line: bytes, options: CsvOptions) -> list[str]:
    """Values of the first line; none if it is not CSV."""
    dialect: dict[str, Any] = {
        "delimiter": options.delimiter,
        "quotechar": options.quote,
        "escapechar": options.escape,
        "quoting": csv.QUOTE_NONE if options.quote is None else csv.QUOTE_MINIMAL,
        "strict": True,
    }
    try:
        reader = csv.reader([line.decode()], **dialect)
        return [name.strip() for name in next(reader)]
    except (csv.Error, ValueError):
        return []


def _decoded(lines: Sequence[tuple[int, bytes]], decoder: _Decoder, width: int, size: int) -> Iterator[Chunk]:
    for start in range(0, len(lines), size):
        part = lines[start : start + size]
        positions: Sequence[int] = range(start, start + len(part))
        rejected: list[Rejected] = []
        try:
            rows = decoder.decode_all([line for _, line in part])
        except Exception:
            # Whatever it was, the lines are now read one by one, and there only bad data is caught.
            rows, kept = [], []
            for place, (number, line) in enumerate(part, start):
                try:
                    row = decoder.decode_one(line)
                except IgnoredError:
                    continue
                except DecodeError as error:
                    shown = line[:_SHOWN].decode("utf-8", "replace")
                    rejected.append(Rejected(number, f"line {number}: {error}", (shown,)))
                else:
                    if row is not None:
                        rows.append(row)
                        kept.append(place)
            positions = kept
        yield Chunk(positions, list(zip(*rows, strict=True)) or [()] * width, rejected)
