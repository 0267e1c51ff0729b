"""pandas and Polars frames and pyarrow tables as columns and rows; none of them is a dependency."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from anomaly_app.errors import DataError


def columns_and_rows(frame: Any) -> tuple[list[tuple[str, str]], Iterator[tuple[Any, ...]]]:
    """Columns (name and SQL type) and rows of a frame.

    Args:
        frame: a ``pandas.DataFrame``, ``polars.DataFrame`` or ``pyarrow.Table`` (or record batch).

    Raises:
        DataError: it is none of these, or has a column that SQL has no type for.
    """
    kind = type(frame).__module__.partition(".")[0]
    if kind == "pyarrow":
        columns = [(field.name, _sql_type(str(field.type), field.name)) for field in frame.schema]
        return columns, zip(*(column.to_pylist() for column in frame.columns), strict=True)
    if kind == "polars":
        columns = [(name, _sql_type(str(dtype), name)) for name, dtype in frame.schema.items()]
        return columns, iter(frame.iter_rows())
    if kind == "pandas":
        columns = [(str(name), _pandas_type(frame[name], str(name))) for name in frame.columns]
        return columns, _pandas_rows(frame)
    raise DataError(
        f"a table is given as {type(frame).__name__}: it must be Rows, a pandas or Polars frame, or a pyarrow table"
    )


_TYPES = (
    (r"u?int(8|16)|[UI]nt(8|16)|UInt8", "INT"),
    (r"int32|Int32", "INT"),
    (r"u?int(32|64)|U?Int(32|64)", "BIGINT"),
    (r"float|Float32|float32|halffloat", "FLOAT"),
    (r"double|Float64|float64", "DOUBLE"),
    (r"bool|Boolean|boolean", "BOOLEAN"),
    (r"(large_)?string|String|Utf8|object|str|category|dictionary.*|Categorical.*|Enum.*|string_view", "STRING"),
    (r"(large_|fixed_size_)?binary.*|Binary", "BYTES"),
    (r"date32.*|date64.*|Date", "DATE"),
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
    if name == "object":
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
        name = by_value.get(type(value).__name__, "")
        if not name:
            raise DataError(f"column {column!r} holds {type(value).__name__}, for which there is no SQL type here")
        return name
    return _sql_type(name, column)


def _pandas_rows(frame: Any) -> Iterator[tuple[Any, ...]]:
    columns = []
    for number in range(len(frame.columns)):
        series = frame.iloc[:, number]
        # A missing value is NaN, NaT or NA: NULL in SQL.
        missing = series.isna().to_numpy()
        values = (
            series.dt.to_pydatetime() if str(series.dtype).startswith("datetime64") else series.to_numpy(dtype=object)
        )
        columns.append([None if gone else value for value, gone in zip(values, missing, strict=True)])
    return zip(*columns, strict=True)
