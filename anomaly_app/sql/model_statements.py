"""Statements about models and connections as trees."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from anomaly_app.expressions.tokens import Span
from anomaly_app.sql.commands import RenameTo, ResetOptions, SetOptions
from anomaly_app.sql.statements import ColumnDefinition, Option


@dataclass(frozen=True, slots=True)
class CreateModel:
    """``CREATE MODEL [IF NOT EXISTS] path [INPUT (…)] [OUTPUT (…)] [COMMENT …] WITH (…)``.

    Args:
        span: its place.
        path: its name.
        place: of the name.
        inputs: columns that it is given.
        outputs: columns that it gives.
        comment: for people; "" without.
        options: of WITH.
        if_not_exists: nothing happens if there is one.
        text: the whole text that it stands in.
    """

    span: Span
    path: tuple[str, ...]
    place: Span
    inputs: tuple[ColumnDefinition, ...]
    outputs: tuple[ColumnDefinition, ...]
    comment: str
    options: tuple[Option, ...]
    if_not_exists: bool
    text: str


@dataclass(frozen=True, slots=True)
class CreateConnection:
    """``CREATE [OR REPLACE] CONNECTION [IF NOT EXISTS] path [COMMENT …] WITH (…)``; arguments as of a model."""

    span: Span
    path: tuple[str, ...]
    place: Span
    comment: str
    options: tuple[Option, ...]
    or_replace: bool
    if_not_exists: bool
    text: str


@dataclass(frozen=True, slots=True)
class AlterModel:
    """``ALTER MODEL | CONNECTION [IF EXISTS] path SET (…) | RESET (…) | RENAME TO path``.

    Args:
        span: its place.
        what: ``MODEL`` or ``CONNECTION``.
        path: of what is changed, of a model perhaps with a version.
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
    action: SetOptions | ResetOptions | RenameTo
    text: str


OfModels: TypeAlias = CreateModel | CreateConnection | AlterModel
OF_MODELS = (CreateModel, CreateConnection, AlterModel)
