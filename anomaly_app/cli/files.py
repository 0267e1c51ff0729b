"""Tables in files: CSV with a header, JSON lines, Parquet."""

from __future__ import annotations

import csv
import io
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from anomaly_app.cli.inference import infer
from anomaly_app.errors import DataError, DecodeError

if TYPE_CHECKING:
    from anomaly_app.frames import FrameTable
    from anomaly_app.incoming import Chunk
    from anomaly_app.schema import Column

SUFFIXES = (".csv", ".jsonl", ".parquet")

Columns = list[tuple[str, str]]


class Unreadable(NamedTuple):
    """A line of a file that is no row.

    Args:
        line: its number, from 1.
        reason: why.
        text: its beginning.
    """

    line: int
    reason: str
    text: str


SHOWN = 200


class FileTable(ABC):
    """A table in a file; an :class:`~anomaly_app.incoming.Table`.

    Types that the file does not tell are inferred from the values, once they are asked for.

    Args:
        names: of the columns.
        lines: number of the line where each row begins; () if the file has no lines.
        unreadable: lines that are no rows.
    """

    absent_is_null = False

    def __init__(self, names: Sequence[str], lines: Sequence[int], unreadable: list[Unreadable]) -> None:
        self.names, self.lines, self.unreadable = list(names), lines, unreadable
        self._types: dict[str, str] = {}
        self._reached: dict[str, list[Any]] = {}

    @abstractmethod
    def __len__(self) -> int:
        """Rows that it has."""

    @abstractmethod
    def own_rows(self) -> Sequence[Sequence[Any]]:
        """Values as the file has them."""

    @property
    def rows(self) -> Sequence[Sequence[Any]]:
        """Values as the file has them, and behind them what :meth:`reach` has made columns."""
        rows = self.own_rows()
        if not self._reached:
            return rows
        return [(*row, *more) for row, *more in zip(rows, *self._reached.values(), strict=True)]

    @abstractmethod
    def chunks(self, wanted: Sequence[Column], size: int) -> Iterator[Chunk]:
        """See :class:`~anomaly_app.incoming.Table`."""

    @property
    def columns(self) -> Columns:
        """Name and SQL type of each column."""
        return [(name, self.type_of(name)) for name in self.names]

    def values(self, name: str) -> list[Any]:
        """Values of a column; of a path such as ``meta.temp`` those inside of its objects.

        Raises:
            KeyError: there is no such column.
        """
        if name in self._reached:
            return self._reached[name]
        if name in self.names:
            place = self.names.index(name)
            return [row[place] for row in self.own_rows()]
        head, dot, field = name.rpartition(".")
        if not dot:
            raise KeyError(name)
        return [value.get(field) if isinstance(value, dict) else None for value in self.values(head)]

    def reach(self, path: str) -> None:
        """Make a path into objects, such as ``meta.temp``, a column; nothing else is changed."""
        if path not in self.names and path.partition(".")[0] in self.names:
            self._reached[path] = self.values(path)
            self.names.append(path)

    def type_of(self, name: str) -> str:
        """SQL type of a column; raises ``KeyError`` if there is no such."""
        if name not in self._types:
            self._types[name] = infer(self.values(name))
        return self._types[name]

    def place(self, number: int) -> str:
        """Where the row of a number, from 1, stands."""
        return f"line {self.lines[number - 1]}" if self.lines else f"row {number}"


def read_table(path: Path) -> FileTable:
    """Read a table. A line that is no row costs only itself. An empty field of a CSV file is NULL.

    Args:
        path: a file ending in ``.csv`` (with a header), ``.jsonl`` or ``.parquet``.

    Raises:
        DataError: the file cannot be read, is not what its ending says, or no line of it can be read.
    """
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise DataError(f"{path}: the name of a table's file should end in {', '.join(SUFFIXES)}")
    try:
        table = reader(path)
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    if table.unreadable and not len(table):
        first = table.unreadable[0]
        raise DataError(f"{path}: no row can be read; the first: line {first.line}: {first.reason}")
    return table


class _CsvFile(FileTable):
    def __init__(self, path: Path) -> None:
        lines, clean = _text_lines(path.read_bytes())
        records = _records(lines)
        first, header = next(records, (1, None))
        if header is None:
            raise DataError(f"{path} is empty: it should begin with a header, the names of its columns")
        if isinstance(header, str) or not (clean or _is_clean(header)):
            wrong = header if isinstance(header, str) else _NO_UTF_8
            raise DataError(f"{path} cannot be read: line {first}: {wrong}")
        self._rows: list[Sequence[Any]] = []
        numbers: list[int] = []
        unreadable: list[Unreadable] = []
        for line, record in records:
            problem = None
            if isinstance(record, str):
                problem = record
            elif record and len(record) != len(header):
                problem = f"{len(record)} values for {len(header)} columns"
            elif not (clean or _is_clean(record)):
                problem = _NO_UTF_8
            elif record:
                self._rows.append([value or None for value in record])
                numbers.append(line)
            if problem is not None:
                text = lines[line - 1].rstrip("\r\n")[:SHOWN]
                unreadable.append(Unreadable(line, problem, text.encode("utf-8", "replace").decode()))
        super().__init__(header, numbers, unreadable)

    def __len__(self) -> int:
        return len(self._rows)

    def own_rows(self) -> Sequence[Sequence[Any]]:
        return self._rows

    def chunks(self, wanted: Sequence[Column], size: int) -> Iterator[Chunk]:
        from anomaly_app.incoming import TupleTable

        return TupleTable(self.names, self._rows).chunks(wanted, size)


_NO_UTF_8 = "it is not UTF-8"


def _text_lines(data: bytes) -> tuple[list[str], bool]:
    """Lines of a text, with their ends; and whether all of it is UTF-8."""
    try:
        text, clean = data.decode("utf-8-sig"), True
    except UnicodeDecodeError:
        text, clean = data.decode("utf-8-sig", "surrogateescape"), False
    return list(io.StringIO(text, newline="")), clean


def _is_clean(record: Iterable[str]) -> bool:
    return not any("\udc80" <= character <= "\udcff" for value in record for character in value)


def _records(lines: Sequence[str]) -> Iterator[tuple[int, list[str] | str]]:
    """Number of the first line and values of each record; what is wrong in place of the values if they are not CSV."""
    start = 0
    while start < len(lines):
        reader = csv.reader(lines[start:], strict=True)
        begin = start
        try:
            for record in reader:
                yield begin + 1, record
                begin = start + reader.line_num
            return
        except csv.Error as error:
            end = start + reader.line_num
            # A quote that nobody closes would draw all other lines in.
            open_quote = end >= len(lines) and end > begin + 1
            yield begin + 1, "a quote is not closed" if open_quote else str(error)
            start = begin + 1 if open_quote else end


class JsonLines(FileTable):
    """JSON lines, decoded as the worker does it. A field that no record has is NULL, as in the worker.

    Args:
        lines: number and text of each.
        unreadable: of lines that are not among them; takes those that are no objects.
    """

    absent_is_null = True

    def __init__(self, lines: Iterable[tuple[int, bytes]], unreadable: list[Unreadable]) -> None:
        import msgspec

        decode = msgspec.json.Decoder(dict[str, Any]).decode
        self._records: list[dict[str, Any]] = []
        self._raw: list[bytes] = []
        numbers: list[int] = []
        for number, line in lines:
            if line.strip():
                try:
                    self._records.append(decode(line))
                except (msgspec.MsgspecError, ValueError, RecursionError) as error:
                    text = line[:SHOWN].decode("utf-8", "replace").rstrip()
                    unreadable.append(Unreadable(number, f"expected a JSON object: {error}", text))
                    continue
                self._raw.append(line)
                numbers.append(number)
        names = dict.fromkeys(name for record in self._records for name in record)
        super().__init__(list(names), numbers, unreadable)

    def __len__(self) -> int:
        return len(self._raw)

    @property
    def raw(self) -> Sequence[bytes]:
        """The lines that are objects, as they stand in the file."""
        return self._raw

    def own_rows(self) -> Sequence[Sequence[Any]]:
        """See :class:`FileTable`."""
        names = [name for name in self.names if name not in self._reached]
        return [[record.get(name) for name in names] for record in self._records]

    def values(self, name: str) -> list[Any]:
        """See :class:`FileTable`."""
        if name in self.names and name not in self._reached:
            return [record.get(name) for record in self._records]
        return super().values(name)

    def chunks(self, wanted: Sequence[Column], size: int) -> Iterator[Chunk]:
        """See :class:`FileTable`."""
        from anomaly_app.formats.json import JsonDecoder
        from anomaly_app.formats.options import JsonOptions
        from anomaly_app.incoming import Chunk, Rejected
        from anomaly_app.schema import Column

        try:
            decoder = JsonDecoder([Column(column.name, column.type) for column in wanted], JsonOptions())
        except TypeError as error:
            raise DataError(str(error)) from error
        for start in range(0, len(self._raw), size):
            positions: Sequence[int] = range(start, min(start + size, len(self._raw)))
            rejected: list[Rejected] = []
            try:
                rows = decoder.decode_all(self._raw[start : start + size])
            except Exception:
                # Whatever it was, the lines are now read one by one, and there only bad data is caught.
                rows, kept = [], []
                for place in positions:
                    try:
                        rows.append(decoder.decode_one(self._raw[place]))
                        kept.append(place)
                    except DecodeError as error:
                        text = self._raw[place][:SHOWN].decode("utf-8", "replace").rstrip()
                        rejected.append(Rejected(place + 1, str(error), (text,)))
                positions = kept
            yield Chunk(positions, list(zip(*rows, strict=True)) or [()] * len(wanted), rejected)


def json_lines(path: Path) -> Iterable[tuple[int, bytes]]:
    """Number and text of each line of a file."""
    return enumerate(path.read_bytes().removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1)


class _ParquetFile(FileTable):
    def __init__(self, path: Path) -> None:
        from anomaly_app.frames import as_table

        _, parquet = _pyarrow()
        try:
            frame = as_table(parquet.read_table(path))
        except ValueError as error:  # pyarrow's ArrowInvalid is one
            raise DataError(f"{path} is no Parquet file: {error}") from error
        assert frame is not None, "a table of pyarrow is a frame"
        self._frame: FrameTable = frame
        super().__init__([name for name, _ in frame.columns], (), [])
        self._types = dict(frame.columns)
        self._rows: list[tuple[Any, ...]] | None = None

    def __len__(self) -> int:
        return len(self._frame)

    def own_rows(self) -> Sequence[Sequence[Any]]:
        if self._rows is None:
            self._rows = self._frame.rows
        return self._rows

    def chunks(self, wanted: Sequence[Column], size: int) -> Iterator[Chunk]:
        return self._frame.chunks(wanted, size)


_READERS: dict[str, Callable[[Path], FileTable]] = {
    ".csv": _CsvFile,
    ".jsonl": lambda path: JsonLines(json_lines(path), []),
    ".parquet": _ParquetFile,
}


def write_table(
    path: Path, columns: Mapping[str, str], time_column: str, rows: Iterator[tuple[list[Any], int]]
) -> None:
    """Write values with a timestamp each.

    Args:
        path: a file ending in ``.csv``, ``.jsonl`` or ``.parquet``.
        columns: names of the values, and the Avro type of each: ``string``, ``int``, ``long`` or ``double``.
        time_column: name of the timestamp, the last column.
        rows: values, and the timestamp in milliseconds since 1970.

    Raises:
        DataError: the file cannot be written, or has another ending.
    """
    writer = _WRITERS.get(path.suffix.lower())
    if writer is None:
        raise DataError(f"{path}: the name of a table's file should end in {', '.join(SUFFIXES)}")
    try:
        writer(path, {**columns, time_column: "timestamp"}, rows)
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error.strerror}") from error


def _write_csv(path: Path, columns: Mapping[str, str], rows: Iterator[tuple[list[Any], int]]) -> None:
    from anomaly_app.conversions import timestamp_to_text

    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows([*values, timestamp_to_text(time, 3)] for values, time in rows)


def _write_json_lines(path: Path, columns: Mapping[str, str], rows: Iterator[tuple[list[Any], int]]) -> None:
    import msgspec

    from anomaly_app.conversions import timestamp_to_text

    encode = msgspec.json.encode
    with path.open("wb") as file:
        for values, time in rows:
            file.write(encode(dict(zip(columns, [*values, timestamp_to_text(time, 3)], strict=True))) + b"\n")


def _write_parquet(path: Path, columns: Mapping[str, str], rows: Iterator[tuple[list[Any], int]]) -> None:
    pyarrow, parquet = _pyarrow()
    types = {
        "string": pyarrow.string(),
        "int": pyarrow.int32(),
        "long": pyarrow.int64(),
        "double": pyarrow.float64(),
        "timestamp": pyarrow.timestamp("ms"),
    }
    schema = pyarrow.schema([(name, types[type_]) for name, type_ in columns.items()])
    with parquet.ParquetWriter(path, schema) as writer:
        batch: list[list[Any]] = []
        for values, time in rows:
            batch.append([*values, time])
            if len(batch) == _ROW_GROUP:
                writer.write_batch(_record_batch(pyarrow, schema, batch))
                batch = []
        if batch:
            writer.write_batch(_record_batch(pyarrow, schema, batch))


_ROW_GROUP = 100_000

_WRITERS: dict[str, Callable[[Path, Mapping[str, str], Iterator[tuple[list[Any], int]]], None]] = {
    ".csv": _write_csv,
    ".jsonl": _write_json_lines,
    ".parquet": _write_parquet,
}


def _record_batch(pyarrow: Any, schema: Any, rows: list[list[Any]]) -> Any:
    columns = zip(*rows, strict=True)
    arrays = [pyarrow.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
    return pyarrow.record_batch(arrays, schema=schema)


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise DataError("Parquet needs pyarrow: install anomaly-app[parquet]") from error
    return pyarrow, pyarrow.parquet
