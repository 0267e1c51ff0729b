"""SQL data types, columns and how their values look in memory.

Inside the engine a row is a tuple (see :mod:`anomaly_app.operators`) of these Python values:

=====================================  ==========================================================
SQL type                               value
=====================================  ==========================================================
STRING, VARCHAR(n), CHAR(n)            ``str``
BOOLEAN                                ``bool``
TINYINT, SMALLINT, INT, BIGINT         ``int``
FLOAT, DOUBLE                          ``float``
DECIMAL(p, s)                          ``decimal.Decimal`` with exactly s digits behind the point
DATE                                   ``int``, days since 1970-01-01
TIME(p)                                ``int``, milliseconds since midnight
TIMESTAMP(p), TIMESTAMP_LTZ(p)         ``int``, since 1970: milliseconds for p <= 3, microseconds to 6, else nanoseconds
BYTES, BINARY(n), VARBINARY(n)         ``bytes``
ARRAY<t>                               ``list``
MAP<k, v>                              ``dict``
ROW<…>                                 ``tuple``
INTERVAL DAY TO SECOND / YEAR TO MONTH ``int``, milliseconds / months
NULL                                   ``None``
=====================================  ==========================================================
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from enum import Enum
from typing import Any, Protocol


class Kind(Enum):
    """Type roots; the value is the name in SQL."""

    STRING = "STRING"
    CHAR = "CHAR"
    VARCHAR = "VARCHAR"
    BOOLEAN = "BOOLEAN"
    TINYINT = "TINYINT"
    SMALLINT = "SMALLINT"
    INT = "INT"
    BIGINT = "BIGINT"
    FLOAT = "FLOAT"
    DOUBLE = "DOUBLE"
    DECIMAL = "DECIMAL"
    DATE = "DATE"
    TIME = "TIME"
    TIMESTAMP = "TIMESTAMP"
    TIMESTAMP_LTZ = "TIMESTAMP_LTZ"
    BYTES = "BYTES"
    ARRAY = "ARRAY"
    MAP = "MAP"
    ROW = "ROW"
    INTERVAL_DAY = "INTERVAL SECOND(3)"
    INTERVAL_YEAR = "INTERVAL MONTH"
    NULL = "NULL"


NAN = float("nan")
"""NaN as a key: it is equal to itself only as one object."""
WHOLE_NUMBERS = frozenset({Kind.TINYINT, Kind.SMALLINT, Kind.INT, Kind.BIGINT})
APPROXIMATE = frozenset({Kind.FLOAT, Kind.DOUBLE})
NUMBERS = WHOLE_NUMBERS | APPROXIMATE | {Kind.DECIMAL}
TEXTS = frozenset({Kind.STRING, Kind.CHAR, Kind.VARCHAR})
TIMESTAMPS = frozenset({Kind.TIMESTAMP, Kind.TIMESTAMP_LTZ})


@dataclass(frozen=True, slots=True)
class DataType:
    """A SQL type.

    Args:
        kind: the type root.
        precision: digits of a DECIMAL, fraction digits of a TIME or TIMESTAMP, length of a CHAR, VARCHAR, BINARY or
            VARBINARY.
        scale: digits of a DECIMAL behind the point.
        nullable: False for NOT NULL.
        element: type of the elements of an ARRAY, of the values of a MAP.
        key: type of the keys of a MAP.
        fields: names and types of a ROW.
        fixed: BYTES of exactly ``precision`` bytes: BINARY(n); with a precision and without this it is VARBINARY(n).

    Example:
        >>> print(DataType(Kind.DECIMAL, 10, 2, nullable=False), DataType(Kind.BYTES, 4, fixed=True))
        DECIMAL(10, 2) NOT NULL BINARY(4)
    """

    kind: Kind
    precision: int | None = None
    scale: int | None = None
    nullable: bool = True
    element: DataType | None = None
    key: DataType | None = None
    fields: tuple[tuple[str, DataType], ...] = ()
    fixed: bool = False

    def __str__(self) -> str:
        name = self.kind.value
        if self.kind is Kind.DECIMAL:
            name += f"({self.precision}, {self.scale})"
        elif self.kind is Kind.ARRAY:
            name += f"<{self.element}>"
        elif self.kind is Kind.MAP:
            name += f"<{self.key}, {self.element}>"
        elif self.kind is Kind.ROW:
            name += "<" + ", ".join(f"`{field}` {type_}" for field, type_ in self.fields) + ">"
        elif self.precision is not None:
            if self.kind is Kind.BYTES:
                name = "BINARY" if self.fixed else "VARBINARY"
            name += f"({self.precision})"
        return name if self.nullable else name + " NOT NULL"

    def with_nullable(self, nullable: bool) -> DataType:
        """The same type, nullable or not."""
        return self if self.nullable is nullable else replace(self, nullable=nullable)


STRING = DataType(Kind.STRING)
BOOLEAN = DataType(Kind.BOOLEAN)
INT = DataType(Kind.INT)
BIGINT = DataType(Kind.BIGINT)
DOUBLE = DataType(Kind.DOUBLE)
BYTES = DataType(Kind.BYTES)
TIMESTAMP_3 = DataType(Kind.TIMESTAMP, 3)


def units_per_second(type_: DataType) -> int:
    """Units of a second that a TIMESTAMP or TIMESTAMP_LTZ is held in.

    Example:
        >>> units_per_second(TIMESTAMP_3), units_per_second(DataType(Kind.TIMESTAMP, 9))
        (1000, 1000000000)
    """
    precision = type_.precision or 0
    return 1_000 if precision <= 3 else 1_000_000 if precision <= 6 else 1_000_000_000


def python_type(type_: DataType) -> Any:
    """The Python type of values in memory form, as msgspec needs it to read stored values back as they were.

    Example:
        >>> python_type(DataType(Kind.ARRAY, element=INT))
        list[int | None] | None
    """
    kind = type_.kind
    if kind in TEXTS:
        inner: Any = str
    elif kind is Kind.BOOLEAN:
        inner = bool
    elif kind in APPROXIMATE:
        inner = float
    elif kind is Kind.DECIMAL:
        inner = Decimal
    elif kind is Kind.BYTES:
        inner = bytes
    elif kind is Kind.ARRAY and type_.element is not None:
        inner = list[python_type(type_.element)]  # type: ignore[misc]  # a type made at run time
    elif kind is Kind.MAP and type_.element is not None and type_.key is not None:
        inner = dict[python_type(type_.key), python_type(type_.element)]  # type: ignore[misc]  # a type made at run time
    elif kind is Kind.ROW:
        inner = tuple[tuple(python_type(field) for _, field in type_.fields)]  # type: ignore[misc]  # a type made at run time
    else:
        inner = int
    return inner | None


class Origin(Enum):
    """Where a column's value comes from."""

    VALUE = "value"
    KEY = "key"
    METADATA = "metadata"
    PROCTIME = "proctime"
    COMPUTED = "computed"
    """From other columns of the row: see :class:`Computed`."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.

    Args:
        name: as written in the DDL.
        type: its SQL type.
        origin: in which part of a record it stands.
        field: its name there, if different: a metadata key such as ``timestamp``, or a key field
            without the ``key.fields-prefix``.
    """

    name: str
    type: DataType
    origin: Origin = Origin.VALUE
    field: str | None = None

    @property
    def source_name(self) -> str:
        """The name by which the record knows the column."""
        return self.field or self.name


class Computed(Protocol):
    """The expression of a computed column."""

    @property
    def reads(self) -> frozenset[str]:
        """Names of the columns that it reads; none of them is computed."""

    @property
    def words(self) -> str:
        """As written, in one line."""

    def source(self, places: Mapping[str, str], names: dict[str, Any]) -> str:
        """Python source of its value, in memory form.

        Args:
            places: source of each column that it reads, by name.
            names: takes what the source refers to besides.
        """


class Changelog(Enum):
    """How the rows of a table say what becomes of it."""

    APPEND = "append"
    """Each row is a new one."""
    UPSERT = "upsert"
    """A row takes the place of the one with the same primary key; or it says that there is none any more."""
    ALL = "all"
    """Rows come and go; each says what it does."""


CHANGE = "$change"
"""Name of the hidden column with the kind of change: see :mod:`anomaly_app.changes`."""


@dataclass(frozen=True, slots=True)
class Schema:
    """Columns of a table in order, with its time attribute.

    Args:
        columns: in the order of the DDL.
        rowtime: name of the event-time column, None without.
        watermark_delay_ms: bound on disorder, in milliseconds.
        proctime: name of the processing-time column, None without.
        primary_key: names of the key columns of an upsert table.
        computed: expressions of the computed columns, by name.
        changelog: how its rows say what becomes of it.
    """

    columns: tuple[Column, ...]
    rowtime: str | None = None
    watermark_delay_ms: int = 0
    proctime: str | None = None
    primary_key: tuple[str, ...] = ()
    computed: Mapping[str, Computed] = field(default_factory=dict, compare=False)
    changelog: Changelog = Changelog.APPEND

    def sources(self, columns: Iterable[Column]) -> tuple[Column, ...]:
        """The columns that must be read so that these can be had, in the order of the table."""
        wanted: set[str] = set()
        for column in columns:
            wanted |= self.computed[column.name].reads if column.origin is Origin.COMPUTED else {column.name}
        return tuple(column for column in self.columns if column.name in wanted)

    def told(self, column: Column) -> str:
        """A column for people: its name, and how it is computed if it is."""
        computed = self.computed.get(column.name)
        return column.name if computed is None else f"{column.name}, {computed.words},"

    def find(self, name: str) -> Column | None:
        """The column of that name: exact first, then without regard to case if only one fits."""
        for column in self.columns:
            if column.name == name:
                return column
        folded = [column for column in self.columns if column.name.lower() == name.lower()]
        return folded[0] if len(folded) == 1 else None
