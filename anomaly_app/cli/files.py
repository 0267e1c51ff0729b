"""Tables in files: CSV with a header, JSON lines, Parquet."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from anomaly_app.errors import DataError

SUFFIXES = (".csv", ".jsonl", ".parquet")

Columns = list[tuple[str, str]]


class FileTable(NamedTuple):
    """A table as it was read.

    Args:
        columns: name and SQL type.
        rows: values as the file has them; SQL casts them.
    """

    columns: Columns
    rows: list[Sequence[Any]]


def read_table(path: Path) -> FileTable:
    """Read a table; types that the file does not tell are inferred from the values.

    An empty field of a CSV file is NULL.

    Args:
        path: a file ending in ``.csv`` (with a header), ``.jsonl`` or ``.parquet``.

    Raises:
        DataError: the file cannot be read, or is not what its ending says.
    """
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise DataError(f"{path}: the name of a table's file should end in {', '.join(SUFFIXES)}")
    try:
        return reader(path)
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error


def _read_csv(path: Path) -> FileTable:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, strict=True)
        try:
            header = next(reader, None)
            if header is None:
                raise DataError(f"{path} is empty: it should begin with a header, the names of its columns")
            rows: list[Sequence[Any]] = [[value or None for value in row] for row in reader if row]
        except csv.Error as error:
            raise DataError(f"{path}, line {reader.line_num}: {error}") from error
    for number, row in enumerate(rows):
        if len(row) != len(header):
            raise DataError(f"{path}, record {number + 1}: {len(row)} values for {len(header)} columns")
    return FileTable([(name, infer(row[place] for row in rows)) for place, name in enumerate(header)], rows)


def _read_json_lines(path: Path) -> FileTable:
    import msgspec

    decode = msgspec.json.Decoder(dict[str, Any]).decode
    records = []
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                try:
                    records.append(decode(line))
                except msgspec.DecodeError as error:
                    raise DataError(f"{path}, line {number}: expected a JSON object: {error}") from error
    names = list(dict.fromkeys(name for record in records for name in record))
    columns = [(name, infer(record.get(name) for record in records)) for name in names]
    return FileTable(columns, [[record.get(name) for name in names] for record in records])


def _read_parquet(path: Path) -> FileTable:
    from anomaly_app.frames import columns_and_rows

    _, parquet = _pyarrow()
    try:
        columns, rows = columns_and_rows(parquet.read_table(path))
    except ValueError as error:  # pyarrow's ArrowInvalid is one
        raise DataError(f"{path} is no Parquet file: {error}") from error
    return FileTable(columns, list(rows))


_READERS: dict[str, Callable[[Path], FileTable]] = {
    ".csv": _read_csv,
    ".jsonl": _read_json_lines,
    ".parquet": _read_parquet,
}

_WHOLE = re.compile(r"-?(0|[1-9]\d{0,18})", re.ASCII)
_REAL = re.compile(r"-?\d+(\.\d+)?([eE][+-]?\d+)?", re.ASCII)
_TIME = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d(:\d\d(\.\d{1,9})?)?", re.ASCII)
_ZONED = re.compile(_TIME.pattern + r"(Z|[+-]\d\d:?\d\d)", re.ASCII)


def infer(values: Iterable[Any]) -> str:
    """The narrowest SQL type that holds all values, which are texts or what JSON has; NULLs say nothing.

    A number with zeros in front is a text: it is more likely a name than a count.

    Example:
        >>> infer(["1", "-2", None]), infer(["1", "2.5"]), infer(["007"]), infer(["2026-01-01 09:00:00.000"])
        ('BIGINT', 'DOUBLE', 'STRING', 'TIMESTAMP(3)')
    """
    kinds = {_kind(value) for value in values if value is not None}
    if len(kinds) == 1:
        return kinds.pop()
    return "DOUBLE" if kinds == {"BIGINT", "DOUBLE"} else "STRING"


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "BOOLEAN"
    if isinstance(value, int):
        return "BIGINT"
    if isinstance(value, float):
        return "DOUBLE"
    if not isinstance(value, str):
        raise DataError(f"the type of {type(value).__name__} values cannot be inferred: say the columns' types")
    if _WHOLE.fullmatch(value):
        return "BIGINT" if -(1 << 63) <= int(value) < 1 << 63 else "STRING"
    if _REAL.fullmatch(value) and not re.match(r"-?0\d", value):
        return "DOUBLE"
    return "TIMESTAMP(3)" if _TIME.fullmatch(value) else "TIMESTAMP_LTZ(3)" if _ZONED.fullmatch(value) else "STRING"


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
