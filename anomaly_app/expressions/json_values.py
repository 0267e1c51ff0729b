"""JSON_VALUE, JSON_QUERY and JSON_EXISTS on values that are not NULL.

What a path leads to is a value, nothing (EMPTY: only in lax mode) or a failure (FAILED: in strict mode all that is
missing or no JSON; a document that is ``null`` in both). The clauses ON EMPTY and ON ERROR say what becomes of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from anomaly_app.errors import EvaluationError
from anomaly_app.expressions.json_paths import MissingError, Path, PathError, parse_path
from anomaly_app.expressions.json_text import NoJsonError, read, scalar_text, write


class Fails:
    """The behaviour ERROR: what is found fails the row."""


FAILS = Fails()


@dataclass(frozen=True, slots=True)
class Outcome:
    """Why there is no value."""

    name: str


EMPTY, FAILED = Outcome("empty"), Outcome("an error")


def _find(text: str, path: str) -> tuple[Any, bool]:
    """What a path leads to in a text, and whether it is lax."""
    try:
        known: Path = parse_path(path)
    except PathError:
        return FAILED, False
    missing = EMPTY if known.lax else FAILED
    try:
        document = read(text)
    except NoJsonError:
        return missing, known.lax
    if document is None:
        return FAILED, known.lax
    try:
        value = known.follow(document)
    except MissingError:
        return missing, known.lax
    return missing if value is None else value, known.lax


def _behave(outcome: Outcome, function: str, on_empty: Any, on_error: Any) -> Any:
    behaviour = on_empty if outcome is EMPTY else on_error
    if behaviour is FAILS:
        raise EvaluationError(f"the result of {function} is {outcome.name}")
    return behaviour


def json_value(text: str, path: str, kind: str = "STRING", on_empty: Any = None, on_error: Any = None) -> Any:
    """A scalar in a JSON text.

    Args:
        text: the JSON.
        path: the path.
        kind: what it shall be: STRING, BOOLEAN, DOUBLE or another type of numbers.
        on_empty: what comes instead of nothing; :data:`FAILS` for an error.
        on_error: what comes instead of a failure.

    Example:
        >>> json_value('{"a": 1.50}', "$.a"), json_value('{"a": []}', "lax $.a", on_empty="none")
        ('1.50', 'none')
    """
    value, lax = _find(text, path)
    if isinstance(value, (list, dict)):
        value = EMPTY if lax else FAILED
    if isinstance(value, Outcome):
        return _behave(value, "JSON_VALUE", on_empty, on_error)
    if kind == "STRING":
        return scalar_text(value)
    return _typed(value, kind)


def _typed(value: Any, kind: str) -> Any:
    if kind == "DOUBLE" and isinstance(value, Decimal):
        return float(value)
    if kind == "BOOLEAN":
        return value if isinstance(value, bool) else {"true": True, "false": False}.get(str(value).lower())
    try:
        number = Decimal(value) if not isinstance(value, bool) else None
    except ArithmeticError:
        return None
    if number is None or not number.is_finite():
        return None
    if kind == "DOUBLE":
        return float(number)
    most = 1 << (31 if kind == "INT" else 63)
    return int(number) if -most <= number < most else None


def json_exists(text: str, path: str, on_error: Any = False) -> Any:
    """Whether a path leads to a value that is not null.

    Example:
        >>> json_exists('{"a": 1}', "$.a"), json_exists("{}", "$.a", on_error=True), json_exists("{}", "lax $.a", True)
        (True, True, False)
    """
    value, _ = _find(text, path)
    if isinstance(value, Outcome):
        return _behave(value, "JSON_EXISTS", False, on_error)
    return True


def json_query(
    text: str, path: str, wrapper: str = "WITHOUT", as_list: bool = False, on_empty: Any = None, on_error: Any = None
) -> Any:
    """An object or array in a JSON text.

    Args:
        text: the JSON.
        path: the path.
        wrapper: WITHOUT, CONDITIONAL (what is no array becomes one) or UNCONDITIONAL.
        as_list: the result is an ARRAY<STRING>.
        on_empty: what comes instead of nothing; :data:`FAILS` for an error.
        on_error: what comes instead of a failure.

    Example:
        >>> json_query('{"b": 1, "a": {}}', "$"), json_query('{"a": 1}', "$.a", "CONDITIONAL")
        ('{"a":{},"b":1}', '[1]')
    """
    value, lax = _find(text, path)
    if not isinstance(value, Outcome):
        if wrapper == "UNCONDITIONAL" or (wrapper == "CONDITIONAL" and not isinstance(value, list)):
            value = [value]
        if not isinstance(value, (list, dict)):
            value = EMPTY if lax else FAILED
        elif as_list and not isinstance(value, list):
            value = FAILED
    if isinstance(value, Outcome):
        result = _behave(value, "JSON_QUERY", on_empty, on_error)
        return list(result) if as_list and result is not None else result
    return [None if item is None else scalar_text(item) for item in value] if as_list else write(value)
