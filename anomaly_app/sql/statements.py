"""Statements of a job file as trees."""

from __future__ import annotations

from dataclasses import dataclass

from anomaly_app.expressions.nodes import Node
from anomaly_app.expressions.tokens import Span
from anomaly_app.schema import DataType
from anomaly_app.sql.row_pattern import MatchRecognize
from anomaly_app.sql.windows import WindowFunction


@dataclass(frozen=True, slots=True)
class ColumnDefinition:
    """A column of CREATE TABLE.

    Args:
        name: as written.
        type: None for a computed column.
        metadata: key of a METADATA column; None for others.
        virtual: the metadata column is not written.
        computed: expression of a computed column.
        span: its place.
    """

    name: str
    type: DataType | None
    metadata: str | None
    virtual: bool
    computed: Node | None
    span: Span


@dataclass(frozen=True, slots=True)
class WatermarkDefinition:
    """``WATERMARK FOR column AS strategy``."""

    column: str
    strategy: Node
    span: Span


@dataclass(frozen=True, slots=True)
class Option:
    """A WITH option."""

    key: str
    value: str
    span: Span


@dataclass(frozen=True, slots=True)
class CreateTable:
    """CREATE TABLE."""

    span: Span
    path: tuple[str, ...]
    columns: tuple[ColumnDefinition, ...]
    watermark: WatermarkDefinition | None
    primary_key: tuple[str, ...]
    options: tuple[Option, ...]
    if_not_exists: bool


@dataclass(frozen=True, slots=True)
class TableRef:
    """A table in FROM."""

    span: Span
    path: tuple[str, ...]
    alias: str | None

    @property
    def name(self) -> str:
        """The path with dots."""
        return ".".join(self.path)


@dataclass(frozen=True, slots=True)
class SelectItem:
    """An item of a SELECT list; ``alias`` is None if not said."""

    expr: Node
    alias: str | None
    span: Span


@dataclass(frozen=True, slots=True)
class Select:
    """``SELECT items FROM table [MATCH_RECOGNIZE (…)] [WHERE condition] [GROUP BY … [HAVING condition]]``.

    ``window`` is the window table function around the table.
    """

    span: Span
    items: tuple[SelectItem, ...]
    table: TableRef | Subquery
    match: MatchRecognize | None
    where: Node | None
    window: WindowFunction | None = None
    group_by: tuple[Node, ...] = ()
    having: Node | None = None

    @property
    def levels(self) -> tuple[Select, ...]:
        """The queries from the innermost, which reads a table, to this one."""
        return (*self.table.query.levels, self) if isinstance(self.table, Subquery) else (self,)

    @property
    def source(self) -> TableRef:
        """The table that the innermost query reads."""
        return self.table.query.source if isinstance(self.table, Subquery) else self.table


@dataclass(frozen=True, slots=True)
class Subquery:
    """``(SELECT …) [AS alias]`` in FROM."""

    span: Span
    query: Select
    alias: str | None


@dataclass(frozen=True, slots=True)
class Insert:
    """``INSERT INTO path [(columns)] select``."""

    span: Span
    path: tuple[str, ...]
    target_span: Span
    columns: tuple[str, ...]
    query: Select


@dataclass(frozen=True, slots=True)
class SetOption:
    """``SET 'key' = 'value'``."""

    span: Span
    key: str
    value: str


Statement = CreateTable | Insert | Select | SetOption
