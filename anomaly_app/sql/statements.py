"""Statements of a job file as trees."""

from __future__ import annotations

from collections.abc import Mapping
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
        words: the expression as written.
    """

    name: str
    type: DataType | None
    metadata: str | None
    virtual: bool
    computed: Node | None
    span: Span
    words: str = ""


@dataclass(frozen=True, slots=True)
class WatermarkDefinition:
    """``WATERMARK FOR column AS strategy``; ``words`` is the strategy as written."""

    column: str
    strategy: Node
    span: Span
    words: str = ""


@dataclass(frozen=True, slots=True)
class Option:
    """A WITH option."""

    key: str
    value: str
    span: Span


@dataclass(frozen=True, slots=True)
class Like:
    """``LIKE path [(INCLUDING | EXCLUDING | OVERWRITING part …)]``.

    Args:
        span: its place.
        path: of the table whose parts are taken.
        wishes: ``INCLUDING``, ``EXCLUDING`` or ``OVERWRITING`` by part.
    """

    span: Span
    path: tuple[str, ...]
    wishes: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class CreateTable:
    """CREATE TABLE; ``text`` is the whole text that it stands in, ``query`` that of CREATE TABLE … AS."""

    span: Span
    path: tuple[str, ...]
    columns: tuple[ColumnDefinition, ...]
    watermark: WatermarkDefinition | None
    primary_key: tuple[str, ...]
    options: tuple[Option, ...]
    if_not_exists: bool
    like: Like | None = None
    temporary: bool = False
    text: str = ""
    query: QueryTree | None = None


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
    temporary: bool = False
