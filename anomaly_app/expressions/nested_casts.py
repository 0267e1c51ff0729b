"""Casts of ARRAY, MAP and ROW: to each other, part by part, and to text.

The conversion of a part is generated and compiled once, as a function of a value that may be NULL.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from anomaly_app.expressions.typed import Code, Environment
from anomaly_app.schema import DataType, Kind

NESTED = frozenset({Kind.ARRAY, Kind.MAP, Kind.ROW})

Caster = Callable[[Environment, Code, DataType], "Code | None"]
Convert = Callable[[Any], Any]

_TEXT = DataType(Kind.STRING)


def _same(value: Any) -> Any:
    return value


def _convert(env: Environment, cast: Caster, type_: DataType, target: DataType) -> Convert | None:
    """The cast of a part; None if there is no such cast, :func:`_same` if nothing is to do."""
    code = cast(env, Code("value", type_.with_nullable(True)), target.with_nullable(True))
    if code is None:
        return None
    if code.source == "value":
        return _same
    made: Convert = env.function("convert", f"def convert(value):\n    return {code.source}")
    return made


def nested_cast(env: Environment, cast: Caster, source: DataType, target: DataType) -> str | None:
    """Template of a cast between types of one kind: ``{}`` if nothing is to do; None if there is no such cast."""
    if source.kind is not target.kind:
        return None
    pairs = list(zip(_parts(source), _parts(target), strict=False))
    if len(_parts(source)) != len(_parts(target)):
        return None
    found = [_convert(env, cast, given, wanted) for given, wanted in pairs]
    converts = [convert for convert in found if convert is not None]
    if len(converts) < len(found):
        return None
    if all(convert is _same for convert in converts):
        return "{}"
    return f"{env.constant(_CASTS[source.kind](*converts))}({{}})"


def nested_text(env: Environment, cast: Caster, type_: DataType) -> str | None:
    """Template of the text of a value: ``[1, NULL]``, ``{a=1}`` or ``(1, x)``; None if a part has none."""
    found = [
        (lambda value: "TRUE" if value else "FALSE") if part.kind is Kind.BOOLEAN else _convert(env, cast, part, _TEXT)
        for part in _parts(type_)
    ]
    converts = [_or_null(convert) for convert in found if convert is not None]
    if len(converts) < len(found):
        return None
    return f"{env.constant(_TEXTS[type_.kind](*converts))}({{}})"


def _parts(type_: DataType) -> list[DataType]:
    parts = [type_.key, type_.element, *(field for _, field in type_.fields)]
    return [part for part in parts if part is not None]


def _or_null(convert: Convert) -> Convert:
    return lambda value: "NULL" if value is None else convert(value)


def _array_cast(element: Convert) -> Convert:
    return lambda items: [element(item) for item in items]


def _map_cast(key: Convert, element: Convert) -> Convert:
    return lambda entries: {key(name): element(value) for name, value in entries.items()}


def _row_cast(*fields: Convert) -> Convert:
    return lambda row: tuple([field(value) for field, value in zip(fields, row, strict=True)])


def _array_text(element: Convert) -> Convert:
    return lambda items: f"[{', '.join([element(item) for item in items])}]"


def _map_text(key: Convert, element: Convert) -> Convert:
    return lambda entries: "{" + ", ".join([f"{key(k)}={element(v)}" for k, v in entries.items()]) + "}"


def _row_text(*fields: Convert) -> Convert:
    return lambda row: f"({', '.join([field(value) for field, value in zip(fields, row, strict=True)])})"


_CASTS: dict[Kind, Callable[..., Convert]] = {Kind.ARRAY: _array_cast, Kind.MAP: _map_cast, Kind.ROW: _row_cast}
_TEXTS: dict[Kind, Callable[..., Convert]] = {Kind.ARRAY: _array_text, Kind.MAP: _map_text, Kind.ROW: _row_text}
