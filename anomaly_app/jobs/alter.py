"""CREATE TABLE statements changed by ALTER TABLE, or completed by LIKE."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol, TypeVar

from anomaly_app.errors import SqlValidationError
from anomaly_app.expressions import nodes as n
from anomaly_app.expressions.tokens import Span
from anomaly_app.sql.commands import Alter, Change, DropParts, RenameColumn, ResetOptions, SetOptions
from anomaly_app.sql.statements import ColumnDefinition, CreateTable
from anomaly_app.words import nearest


class _Placed(Protocol):
    span: Span


P = TypeVar("P")


def liked(create: CreateTable, other: CreateTable) -> CreateTable:
    """A CREATE TABLE … LIKE with the parts of the other table that it wishes for.

    Args:
        create: the statement.
        other: the table that it is like.

    Raises:
        SqlValidationError: something is in both, and OVERWRITING was not said.
    """
    like = create.like
    assert like is not None
    rest = like.wishes.get("ALL", "INCLUDING")

    def wish(part: str) -> str:
        default = "OVERWRITING" if part == "OPTIONS" and rest == "INCLUDING" else rest
        return like.wishes.get(part, default)

    def clash(what: str, part: str) -> SqlValidationError:
        way = f"EXCLUDING {part}" + ("" if part == "CONSTRAINTS" else f" or OVERWRITING {part}")
        problem = f"{what} is in both tables: LIKE {'.'.join(like.path)} ({way}) says which counts"
        return SqlValidationError(problem, create.text, *like.span)

    own = {column.name for column in create.columns}
    columns: list[ColumnDefinition] = []
    for column in other.columns:
        part = "GENERATED" if column.computed is not None else "METADATA" if column.metadata is not None else ""
        if part and wish(part) == "EXCLUDING":
            continue
        if column.name in own:
            if part and wish(part) == "OVERWRITING":
                continue
            raise (
                clash(f"column {column.name!r}", part)
                if part
                else SqlValidationError(f"column {column.name!r} is in both tables", create.text, *like.span)
            )
        columns.append(_at(column, like.span))
    watermark = create.watermark
    if other.watermark is not None and wish("WATERMARKS") != "EXCLUDING":
        if watermark is not None and wish("WATERMARKS") == "INCLUDING":
            raise clash("a watermark", "WATERMARKS")
        watermark = watermark or _at(other.watermark, like.span)
    primary_key = create.primary_key
    if other.primary_key and wish("CONSTRAINTS") != "EXCLUDING":
        if primary_key:
            raise clash("a primary key", "CONSTRAINTS")
        primary_key = other.primary_key
    keys = {option.key for option in create.options}
    options = []
    if wish("OPTIONS") != "EXCLUDING":
        for option in other.options:
            if option.key not in keys:
                options.append(_at(option, like.span))
            elif wish("OPTIONS") == "INCLUDING":
                raise clash(f"option '{option.key}'", "OPTIONS")
    return replace(
        create, columns=(*columns, *create.columns), watermark=watermark, primary_key=primary_key,
        options=(*options, *create.options), like=None,
    )  # fmt: skip


def altered(create: CreateTable, alter: Alter) -> CreateTable:
    """A CREATE TABLE as ALTER TABLE leaves it.

    Raises:
        SqlValidationError: what is to be changed is not there, or what is to be added is.
    """
    action = alter.action
    create = replace(
        create, span=alter.span, text=alter.text, columns=tuple(_at(column, alter.span) for column in create.columns),
        options=tuple(_at(option, alter.span) for option in create.options),
        watermark=None if create.watermark is None else _at(create.watermark, alter.span),
    )  # fmt: skip
    if isinstance(action, SetOptions):
        new = {option.key: option for option in action.options}
        kept = tuple(new.pop(option.key, option) for option in create.options)
        return replace(create, options=(*kept, *new.values()))
    if isinstance(action, ResetOptions):
        if "connector" in action.keys:
            raise _fail(alter, alter.span, "'connector' cannot be reset")
        return replace(create, options=tuple(one for one in create.options if one.key not in action.keys))
    if isinstance(action, RenameColumn):
        return _renamed(create, alter, action)
    if isinstance(action, DropParts):
        return _without(create, alter, action)
    assert isinstance(action, Change)
    return _changed(create, alter, action)


def _renamed(create: CreateTable, alter: Alter, action: RenameColumn) -> CreateTable:
    place = _place(create, alter, action.old, action.span)
    _in_use(create, alter, action.old, action.span, "renamed")
    if any(column.name == action.new for column in create.columns):
        raise _fail(alter, action.span, f"column {action.new!r} is there already")
    column = replace(create.columns[place], name=action.new)
    return replace(create, columns=(*create.columns[:place], column, *create.columns[place + 1 :]))


def _without(create: CreateTable, alter: Alter, action: DropParts) -> CreateTable:
    if action.watermark:
        if create.watermark is None:
            raise _fail(alter, action.span, "the table has no watermark")
        return replace(create, watermark=None)
    if action.primary_key:
        if not create.primary_key:
            raise _fail(alter, action.span, "the table has no primary key")
        return replace(create, primary_key=())
    for name in action.columns:
        _place(create, alter, name, action.span)
        _in_use(create, alter, name, action.span, "dropped")
    return replace(create, columns=tuple(one for one in create.columns if one.name not in action.columns))


def _changed(create: CreateTable, alter: Alter, action: Change) -> CreateTable:
    columns = list(create.columns)
    for placed in action.columns:
        column, names = placed.column, [one.name for one in columns]
        if not action.modify and column.name in names:
            raise _fail(alter, column.span, f"column {column.name!r} is there already: MODIFY changes it")
        at = len(columns)
        if action.modify:
            at = _place(create, alter, column.name, column.span)
            at = names.index(column.name)
            columns.pop(at)
        if placed.after is not None:
            names = [one.name for one in columns]
            if placed.after and placed.after not in names:
                raise _fail(alter, column.span, f"AFTER unknown column {placed.after!r}{nearest(placed.after, names)}")
            at = names.index(placed.after) + 1 if placed.after else 0
        columns.insert(at, column)
    watermark, primary_key = create.watermark, create.primary_key
    if action.watermark is not None:
        _there(alter, action, watermark is not None, "watermark")
        watermark = action.watermark
    if action.primary_key:
        _there(alter, action, bool(primary_key), "primary key")
        primary_key = action.primary_key
    return replace(create, columns=tuple(columns), watermark=watermark, primary_key=primary_key)


def _there(alter: Alter, action: Change, is_there: bool, what: str) -> None:
    if is_there and not action.modify:
        raise _fail(alter, action.span, f"the table has a {what} already: MODIFY changes it")
    if action.modify and not is_there:
        raise _fail(alter, action.span, f"the table has no {what}: ADD gives it one")


def _place(create: CreateTable, alter: Alter, name: str, span: Span) -> int:
    names = [column.name for column in create.columns]
    if name not in names:
        raise _fail(alter, span, f"unknown column {name!r}{nearest(name, names)}")
    return names.index(name)


def _in_use(create: CreateTable, alter: Alter, name: str, span: Span, what: str) -> None:
    uses: Sequence[tuple[bool, str]] = (
        (create.watermark is not None and create.watermark.column == name, "watermark"),
        (name in create.primary_key, "primary key"),
    )
    computed = [(name in _reads(column), f"computed column {column.name!r}") for column in create.columns]
    for used, where in (*uses, *computed):
        if used:
            raise _fail(alter, span, f"column {name!r} cannot be {what}: it is in the {where}")


def _reads(column: ColumnDefinition) -> set[str]:
    """Columns that a computed column is made of."""
    nodes = n.walk(column.computed) if column.computed is not None else ()
    return {node.parts[0] for node in nodes if isinstance(node, n.ColumnRef)}


def _fail(alter: Alter, span: Span, problem: str) -> SqlValidationError:
    return SqlValidationError(f"ALTER TABLE {'.'.join(alter.path)}: {problem}", alter.text, *span)


def _at(part: P, span: Span) -> P:
    """A part as if it stood at another place: its own is in another text."""
    return replace(part, span=span)  # type: ignore[type-var]  # every part is a dataclass with a place
