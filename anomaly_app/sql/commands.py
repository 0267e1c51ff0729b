"""Statements that tell about names or change what they mean: DROP, ALTER, USE, SHOW, DESCRIBE, EXPLAIN, RESET."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from anomaly_app.expressions.tokens import Span
from anomaly_app.sql.queries import QueryTree
from anomaly_app.sql.statements import ColumnDefinition, Insert, Option, WatermarkDefinition

NOWHERE = Span(0, 0)
"""Of what is not said."""


@dataclass(frozen=True, slots=True)
class Drop:
    """``DROP [TEMPORARY] what [IF EXISTS] path``.

    Args:
        span: its place.
        what: ``TABLE``, ``VIEW``, ``FUNCTION``, ``CATALOG``, ``DATABASE``, ``MODEL`` or ``CONNECTION``.
        path: of what is dropped.
        place: of the path.
        if_exists: it is no error if there is none.
        cascade: of a database: with all that is in it.
    """

    span: Span
    what: str
    path: tuple[str, ...]
    place: Span
    if_exists: bool
    cascade: bool = False


@dataclass(frozen=True, slots=True)
class CreateSpace:
    """``CREATE CATALOG | DATABASE [IF NOT EXISTS] path``; a name and nothing else."""

    span: Span
    what: str
    path: tuple[str, ...]
    place: Span
    if_not_exists: bool


@dataclass(frozen=True, slots=True)
class Use:
    """``USE path`` (a database) or ``USE CATALOG path``."""

    span: Span
    catalog: bool
    path: tuple[str, ...]
    place: Span


@dataclass(frozen=True, slots=True)
class CreateFunction:
    """``CREATE [TEMPORARY] [SYSTEM] FUNCTION [IF NOT EXISTS] path AS 'module.name' LANGUAGE PYTHON``.

    Args:
        span: its place.
        path: its name.
        target: the Python function, ``module.name``.
        target_span: its place.
        if_not_exists: it is no error if there is one.
    """

    span: Span
    path: tuple[str, ...]
    target: str
    target_span: Span
    if_not_exists: bool


# --- ALTER -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RenameTo:
    """``RENAME TO path``."""

    path: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RenameColumn:
    """``RENAME old TO new``."""

    old: str
    new: str
    span: Span


@dataclass(frozen=True, slots=True)
class SetOptions:
    """``SET ('key' = 'value', …)``."""

    options: tuple[Option, ...]


@dataclass(frozen=True, slots=True)
class ResetOptions:
    """``RESET ('key', …)``."""

    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PlacedColumn:
    """A column of ADD or MODIFY; ``after`` is "" for FIRST and None if nothing is said."""

    column: ColumnDefinition
    after: str | None


@dataclass(frozen=True, slots=True)
class Change:
    """``ADD …`` or ``MODIFY …``.

    Args:
        modify: what is there is replaced.
        columns: to add or to replace.
        watermark: None without.
        primary_key: () without.
        span: its place.
    """

    modify: bool
    columns: tuple[PlacedColumn, ...]
    watermark: WatermarkDefinition | None
    primary_key: tuple[str, ...]
    span: Span


@dataclass(frozen=True, slots=True)
class DropParts:
    """``DROP column``, ``DROP (columns)``, ``DROP WATERMARK``, ``DROP PRIMARY KEY``, ``DROP CONSTRAINT name``."""

    columns: tuple[str, ...]
    watermark: bool
    primary_key: bool
    span: Span


@dataclass(frozen=True, slots=True)
class NewQuery:
    """``AS query``, of a view."""

    query: QueryTree


Action: TypeAlias = RenameTo | RenameColumn | SetOptions | ResetOptions | Change | DropParts | NewQuery


@dataclass(frozen=True, slots=True)
class Alter:
    """``ALTER TABLE | VIEW [IF EXISTS] path action``.

    Args:
        span: its place.
        what: ``TABLE`` or ``VIEW``.
        path: of what is changed.
        place: of the path.
        if_exists: it is no error if there is none.
        action: what is done.
        text: the whole text that it stands in.
    """

    span: Span
    what: str
    path: tuple[str, ...]
    place: Span
    if_exists: bool
    action: Action
    text: str


# --- what only tells ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Show:
    """``SHOW what [FROM | IN path] [[NOT] LIKE | ILIKE 'pattern']``.

    Args:
        span: its place.
        what: such as ``TABLES`` or ``CREATE TABLE``.
        path: of a table, view or database; () without.
        place: of the path.
        like: the pattern; None without.
        negated: NOT was said.
        fold: ILIKE: upper and lower case are the same.
    """

    span: Span
    what: str
    path: tuple[str, ...] = ()
    place: Span = NOWHERE
    like: str | None = None
    negated: bool = False
    fold: bool = False


@dataclass(frozen=True, slots=True)
class Describe:
    """``DESCRIBE | DESC [MODEL | CONNECTION] [EXTENDED] path``; ``what`` is "" for a table or view."""

    span: Span
    path: tuple[str, ...]
    place: Span
    what: str = ""


@dataclass(frozen=True, slots=True)
class Explain:
    """``EXPLAIN [PLAN FOR] query``, of a query, an INSERT or a statement set."""

    span: Span
    statements: tuple[QueryTree | Insert, ...]


@dataclass(frozen=True, slots=True)
class Reset:
    """``RESET ['key']``; the key is None for all."""

    span: Span
    key: str | None


@dataclass(frozen=True, slots=True)
class ListOptions:
    """``SET`` alone."""

    span: Span


Command: TypeAlias = Alter | CreateFunction | CreateSpace | Describe | Drop | Explain | ListOptions | Reset | Show | Use
TELLS = (Describe, Explain, ListOptions, Show)
"""Statements that change nothing."""
