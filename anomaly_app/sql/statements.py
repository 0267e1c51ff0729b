"""Statements of a job file as trees."""

from __future__ import annotations

from dataclasses import dataclass

from anomaly_app.expressions.nodes import Node
from anomaly_app.expressions.tokens import Span
from anomaly_app.schema import DataType
from anomaly_app.sql.queries import QueryTree


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
class Insert:
    """``INSERT INTO path [(columns)] query [ON CONFLICT DO DEDUPLICATE]``."""

    span: Span
    path: tuple[str, ...]
    target_span: Span
    columns: tuple[str, ...]
    query: QueryTree
    on_conflict: bool = False


@dataclass(frozen=True, slots=True)
class SetOption:
    """``SET 'key' = 'value'``."""

    span: Span
    key: str
    value: str


@dataclass(frozen=True, slots=True)
class CreateView:
    """``CREATE [TEMPORARY] VIEW path [(columns)] AS query``; ``text`` is the whole text that it stands in."""

    span: Span
    path: tuple[str, ...]
    columns: tuple[str, ...]
    query: QueryTree
    if_not_exists: bool
    text: str


Statement = CreateTable | CreateView | Insert | QueryTree | SetOption
