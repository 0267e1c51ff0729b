"""pandas and Polars frames and pyarrow tables, column by column; none of them is a dependency."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import compress
from typing import Any, TypeAlias

from anomaly_app.errors import DataError
from anomaly_app.incoming import Chunk, ColumnsConverter
from anomaly_app.schema import TIMESTAMPS, Column, units_per_second

_Read: TypeAlias = Callable[[int, int, int, int], Sequence[Any]]
"""Number of a column, from which row to which, and units a second if it is a timestamp that is wanted as a number."""

_PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}


class FrameTable:
    """A frame as a :class:`~anomaly_app.incoming.Table`.

    Each column becomes Python's own values by the frame's library; timestamps become the engine's numbers without a
    ``datetime`` for each.

    Args:
        columns: name and SQL type of each.
        rows: how many there are.
        read: values of a part of a column, None for NULL.
    """

    absent_is_null = False

    def __init__(self, columns: list[tuple[str, str]], rows: int, read: _Read) -> None:
        self.columns, self.names = columns, [name for name, _ in columns]
        self._rows, self._read = rows, read

    def __len__(self) -> int:
        return self._rows

    def chunks(self, wanted: Sequence[Column], size: int) -> Iterator[Chunk]:
        """See :class:`~anomaly_app.incoming.Table`."""
        places = [self.names.index(column.name) for column in wanted]
        units = [
            _units(column) if self.columns[place][1].startswith("TIMESTAMP") else 0
            for place, column in zip(places, wanted, strict=True)
        ]
        converter = ColumnsConverter(wanted, frozenset(number for number, unit in enumerate(units) if unit))
        for start in range(0, self._rows, size):
            stop = min(start + size, self._rows)
            given = [self._read(place, start, stop, unit) for place, unit in zip(places, units, strict=True)]
            yield converter.convert(range(start, stop), given)

    @property
    def rows(self) -> list[tuple[Any, ...]]:
        """All rows, with the values that the library gives."""
        return list(zip(*(self._read(place, 0, self._rows, 0) for place in range(len(self.columns))), strict=True))


def _units(column: Column) -> int:
    """Units of a timestamp's memory form a second; 0 if the column is none, or has digits that are to be cut off."""
    whole = column.type.kind in TIMESTAMPS and column.type.precision in (3, 6, 9)
    return units_per_second(column.type) if whole else 0


def as_table(frame: Any) -> FrameTable | None:
    """A ``pandas.DataFrame``, ``polars.DataFrame`` or ``pyarrow.Table`` (or record batch); None for anything else.

    Raises:
        DataError: it has a column that SQL has no type for.
    """
    make = _LIBRARIES.get(type(frame).__module__.partition(".")[0])
    return None if make is None else make(frame)


def _arrow(frame: Any) -> FrameTable:
    import pyarrow

    kinds = pyarrow.types

    def read(place: int, start: int, stop: int, unit: int) -> Sequence[Any]:
        values = frame.column(place).slice(start, stop - start)
        if unit:
            return _scaled(values.cast(pyarrow.int64()).to_pylist(), _PER_SECOND[values.type.unit], unit)
        if kinds.is_dictionary(values.type):
            values = values.cast(values.type.value_type)
        # Its argument costs a call for each value.
        nested = kinds.is_nested(values.type)
        found: list[Any] = values.to_pylist(maps_as_pydicts="lossy") if nested else values.to_pylist()
        return found

    def sql(type_: Any, name: str) -> str:
        if kinds.is_dictionary(type_):
            return sql(type_.value_type, name)
        if kinds.is_struct(type_):
            return _row_type([(field.name, sql(field.type, name)) for field in type_])
        if kinds.is_map(type_):
            return f"MAP<{sql(type_.key_type, name)}, {sql(type_.item_type, name)}>"
        if kinds.is_list(type_) or kinds.is_large_list(type_) or kinds.is_fixed_size_list(type_):
            return f"ARRAY<{sql(type_.value_type, name)}>"
        return _sql_type(str(type_), name)

    return FrameTable([(field.name, sql(field.type, field.name)) for field in frame.schema], frame.num_rows, read)


def _polars(frame: Any) -> FrameTable:
    columns = frame.get_columns()

    def read(place: int, start: int, stop: int, unit: int) -> Sequence[Any]:
        values = columns[place].slice(start, stop - start)
        if unit:
            return _scaled(values.to_physical().to_list(), _PER_SECOND[values.dtype.time_unit], unit)
        found: list[Any] = values.to_list()
        return found

    def sql(dtype: Any, name: str) -> str:
        if hasattr(dtype, "fields"):
            return _row_type([(field.name, sql(field.dtype, name)) for field in dtype.fields])
        if hasattr(dtype, "inner"):
            return f"ARRAY<{sql(dtype.inner, name)}>"
        return _sql_type(str(dtype), name)

    return FrameTable([(name, sql(dtype, name)) for name, dtype in frame.schema.items()], frame.height, read)


def _pandas(frame: Any) -> FrameTable:
    names = [str(name) for name in frame.columns]
    columns = [frame.iloc[:, number] for number in range(len(names))]

    def read(place: int, start: int, stop: int, unit: int) -> Sequence[Any]:
        series = columns[place].iloc[start:stop]
        # A missing value is NaN, NaT or NA: NULL in SQL.
        missing = series.isna().to_numpy(dtype=bool)
        if unit:
            values = (series.to_numpy(dtype="datetime64[ns]").astype("int64") // (1_000_000_000 // unit)).tolist()
        elif str(series.dtype).startswith("datetime64"):
            values = list(series.dt.to_pydatetime())
        else:
            values = series.to_numpy(dtype=object).tolist()
        for place in compress(range(len(values)), missing.tolist()) if missing.any() else ():
            values[place] = None
        return list(values)

    types = [_pandas_type(series, name) for name, series in zip(names, columns, strict=True)]
    return FrameTable(list(zip(names, types, strict=True)), len(frame), read)


_LIBRARIES: dict[str, Callable[[Any], FrameTable]] = {"pyarrow": _arrow, "polars": _polars, "pandas": _pandas}


def _scaled(values: list[Any], given: int, wanted: int) -> list[Any]:
    """Numbers of one unit in another, rounded down."""
    if given == wanted:
        return values
    if given < wanted:
        return [None if value is None else value * (wanted // given) for value in values]
    factor = given // wanted
    return [None if value is None else value // factor for value in values]


def _row_type(fields: Sequence[tuple[str, str]]) -> str:
    return "ROW<" + ", ".join(f"`{name}` {type_}" for name, type_ in fields) + ">"


_TYPES = (
    (r"u?int(8|16)|[UI]nt(8|16)|UInt8", "INT"),
    (r"int32|Int32", "INT"),
    (r"u?int(32|64)|U?Int(32|64)", "BIGINT"),
    (r"float|Float32|float32|halffloat", "FLOAT"),
    (r"double|Float64|float64", "DOUBLE"),
    (r"bool|Boolean|boolean", "BOOLEAN"),
    (r"(large_)?string|String|Utf8|object|str|category|Categorical.*|Enum.*|string_view", "STRING"),
    (r"(large_|fixed_size_)?binary.*|Binary", "BYTES"),
    (r"date32.*|date64.*|Date", "DATE"),
    (r"time(32|64).*|Time", "TIME(3)"),
    (r"timestamp\[\w+, tz=.*\]|datetime64\[\w+, .*\]|Datetime\(.*time_zone='.*'\)", "TIMESTAMP_LTZ(3)"),
    (r"timestamp.*|datetime64.*|Datetime.*", "TIMESTAMP(3)"),
)


def _sql_type(name: str, column: str) -> str:
    decimal = re.fullmatch(r"(?:decimal128|decimal256|Decimal)\((?:precision=)?(\d+), *(?:scale=)?(\d+)\)", name)
    if decimal:
        return f"DECIMAL({decimal[1]}, {decimal[2]})"
    for pattern, sql in _TYPES:
        if re.fullmatch(pattern, name):
            return sql
    raise DataError(f"column {column!r} has the type {name}, for which there is no SQL type here")


def _pandas_type(series: Any, column: str) -> str:
    name = str(series.dtype)
    if name != "object":
        return _sql_type(name, column)
    present = series.dropna()
    value = present.iloc[0] if len(present) else ""
    by_value = {
        "str": "STRING",
        "bool": "BOOLEAN",
        "int": "BIGINT",
        "float": "DOUBLE",
        "date": "DATE",
        "bytes": "BYTES",
    }
    if type(value).__name__ == "Decimal":
        scale = max((max(0, -v.as_tuple().exponent) for v in present), default=0)
        return f"DECIMAL(38, {scale})"
    sql = by_value.get(type(value).__name__)
    if sql is None:
        raise DataError(f"column {column!r} holds {type(value).__name__}, for which there is no SQL type here")
    return sql
