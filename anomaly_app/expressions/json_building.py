"""SQL values as JSON: JSON_STRING, JSON_OBJECT and JSON_ARRAY. What makes the text is chosen once for a type."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from anomaly_app.errors import EvaluationError
from anomaly_app.expressions.json_text import BLANKS, NoJsonError, quoted, read, write
from anomaly_app.floats import float_to_text, widened
from anomaly_app.formats.texts import to_text
from anomaly_app.schema import TEXTS, TIMESTAMPS, WHOLE_NUMBERS, DataType, Kind

Writer = Callable[[Any], str]


def writer(type_: DataType) -> Writer:
    """From values of a type, not NULL, to JSON.

    Raises:
        ValueError: JSON has no form for the type.

    Example:
        >>> from anomaly_app.schema import DOUBLE, INT
        >>> writer(DOUBLE)(1e20), writer(DataType(Kind.ARRAY, element=INT))([1, None])
        ('1.0E+20', '[1,null]')
    """
    kind = type_.kind
    if kind in TEXTS:
        return quoted
    if kind is Kind.BOOLEAN:
        return lambda value: "true" if value else "false"
    if kind in WHOLE_NUMBERS or kind is Kind.DECIMAL:
        return str
    if kind is Kind.DOUBLE:
        return _double
    if kind is Kind.FLOAT:
        return lambda value: _double(widened(value))
    if kind in TIMESTAMPS:
        shown = to_text(type_, "T")
        return lambda value: f'"{shown(value)}"'
    if kind is Kind.BYTES:
        return lambda value: f'"{base64.b64encode(value).decode()}"'
    if kind is Kind.ARRAY and type_.element is not None:
        element = or_null(writer(type_.element))
        return lambda value: "[" + ",".join(map(element, value)) + "]"
    if kind is Kind.MAP and type_.element is not None and type_.key is not None and type_.key.kind in TEXTS:
        of_map = or_null(writer(type_.element))
        return lambda value: object_of([(key, of_map(value[key])) for key in value])
    if kind is Kind.ROW:
        fields = [(name, or_null(writer(field))) for name, field in type_.fields]
        return lambda value: object_of([(name, text(part)) for (name, text), part in zip(fields, value, strict=True)])
    raise ValueError(f"{type_.with_nullable(True)} has no form in JSON")


def or_null(text: Writer) -> Writer:
    """The same for values that may be NULL."""
    return lambda value: "null" if value is None else text(value)


def object_of(members: list[tuple[str, str | None]]) -> str:
    """A JSON object of names and JSON texts, sorted by name: the last of equal names, and none without a text."""
    kept = {name: text for name, text in members if text is not None}
    return "{" + ",".join(f"{quoted(name)}:{kept[name]}" for name in sorted(kept)) + "}"


def array_of(items: tuple[str | None, ...]) -> str:
    """A JSON array of JSON texts; None goes."""
    return "[" + ",".join(item for item in items if item is not None) + "]"


def _double(value: float) -> str:
    if not math.isfinite(value):
        return f'"{float_to_text(value)}"'
    return str(Decimal(float_to_text(value)) if value else Decimal("0.0"))


def embedded(text: str) -> str:
    """JSON(text) inside of JSON_OBJECT and JSON_ARRAY: the JSON itself, with sorted keys.

    Raises:
        EvaluationError: the text is no JSON.
    """
    if not text.strip(BLANKS):
        return "null"
    try:
        return write(read(text))
    except NoJsonError as error:
        raise EvaluationError(f"JSON(…) was given a text that is no JSON: {error}") from None
