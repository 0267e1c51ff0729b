"""JSON paths of Flink SQL: ``$.a.b[0]``, wildcards, slices, filters and functions of arrays.

A path is ``strict`` unless it begins with ``lax``. It leads to one value, or (with a wildcard, a slice, a list of
indexes, a filter or ``..``) to a list of values, which is there even if nothing fits.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from anomaly_app.errors import EvaluationError


class PathError(ValueError):
    """The path is none."""


class MissingError(LookupError):
    """The path leads nowhere."""


Step = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Path:
    """A path, ready to be followed.

    Args:
        lax: what is missing is empty rather than an error.
        steps: each leads from a value to one value, or to an iterable of them if ``many`` says so.
        many: for each step, whether it leads to several values.
        several: whether some step does.
    """

    lax: bool
    steps: tuple[Step, ...]
    many: tuple[bool, ...]
    several: bool

    def follow(self, value: Any) -> Any:
        """The value that the path leads to, or the list of values.

        Raises:
            MissingError: there is none; a lax path to several values leads to none of them instead.
        """
        if not self.several:
            for step in self.steps:
                value = step(value)
            return value
        try:
            return self._follow(value)
        except MissingError:
            if self.lax:
                return []
            raise

    def _follow(self, value: Any) -> Any:
        values, several = [value], False
        for step, many in zip(self.steps, self.many, strict=True):
            found: list[Any] = []
            for one in values:
                try:
                    result = step(one)
                except MissingError:
                    if several:
                        continue
                    raise
                if many:
                    found += result
                else:
                    found.append(result)
            values, several = found, several or many
        return values


_MODE = re.compile(r"(strict|lax)\s+(.+)", re.IGNORECASE | re.DOTALL)
_NAME = re.compile(r"[^.\[\]() ]+")
_FUNCTION = re.compile(r"(\w+)\(\s*\)\s*")
_INDEXES = re.compile(r"\[\s*(-?\d+(?:\s*,\s*-?\d+)*)\s*\]")
_SLICE = re.compile(r"\[\s*(-?\d*)\s*:\s*(-?\d*)\s*\]")
_WILDCARD = re.compile(r"\[\s*\*\s*\]")
_KEY = r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\""
_KEYS = re.compile(rf"\[\s*((?:{_KEY})(?:\s*,\s*(?:{_KEY}))*)\s*\]")
_ONE_KEY = re.compile(_KEY)
_FILTER = re.compile(r"\[\s*\?\s*\(")


@functools.lru_cache(maxsize=256)
def parse_path(text: str) -> Path:
    """Read a path.

    Raises:
        PathError: it is none.
        EvaluationError: it is one, with something that is not supported here.

    Example:
        >>> parse_path("$.a[*].b").follow({"a": [{"b": 1}, {"c": 2}]})
        [1]
        >>> parse_path("lax $['x y'][-1]").follow({"x y": [1, 2]})
        2
    """
    found = _MODE.fullmatch(text)
    lax = found is not None and found[1].lower() == "lax"
    body = found[2] if found else text
    if not body or body[0].isspace():
        raise PathError(f"{text!r} is no path")
    body = body.strip()
    if body[0] not in "$@":
        body = "$." + body
    steps = list(_steps(text, body))
    many = tuple(several for _, several in steps)
    return Path(lax, tuple(step for step, _ in steps), many, any(many))


def _steps(text: str, body: str) -> Iterator[tuple[Step, bool]]:
    place, length = 1, len(body)
    while place < length:
        if body.startswith("..", place):
            yield _deep, True
            place += 2
            if place == length:
                raise PathError(f"{text!r} ends with ..")
            if body[place] != "[":
                step, many, place = _named(text, body, place)
                yield step, many
                continue
        elif body[place] == ".":
            place += 1
            if place == length:
                raise PathError(f"{text!r} ends with a point")
            if body[place] != "[":
                step, many, place = _named(text, body, place)
                yield step, many
                continue
        elif body[place] != "[":
            raise PathError(f"{text!r} has {body[place]!r} at character {place + 1}")
        if place == length - 1 and place > 1:
            return  # the engine overlooks a last bracket
        step, many, place = _bracket(text, body, place)
        yield step, many


def _named(text: str, body: str, place: int) -> tuple[Step, bool, int]:
    if body[place] == "*":
        return _children, True, place + 1
    found = _NAME.match(body, place)
    if found is None:
        raise PathError(f"{text!r} has no name at character {place + 1}")
    if found.end() < len(body) and body[found.end()] == "(":
        function = _FUNCTION.match(body, place)
        if function is None or function[1] not in FUNCTIONS or function.end() < len(body):
            raise EvaluationError(
                f"the path {text!r} calls a function: only {', '.join(FUNCTIONS)} are there, at the end"
            )
        return FUNCTIONS[function[1]], False, function.end()
    if found.end() < len(body) and body[found.end()] in ") ]":
        raise PathError(f"{text!r} has {body[found.end()]!r} in a name: write ['…']")
    return _member(found[0]), False, found.end()


def _bracket(text: str, body: str, place: int) -> tuple[Step, bool, int]:
    if found := _KEYS.match(body, place):
        keys = [re.sub(r"\\(.)", r"\1", key[1:-1]) for key in _ONE_KEY.findall(found[1])]
        return (_member(keys[0]) if len(keys) == 1 else _members(keys)), False, found.end()
    if found := _INDEXES.match(body, place):
        indexes = [int(index) for index in found[1].split(",")]
        return (_element(indexes[0]) if len(indexes) == 1 else _elements(indexes)), len(indexes) > 1, found.end()
    if found := _WILDCARD.match(body, place):
        return _children, True, found.end()
    if (found := _SLICE.match(body, place)) and (found[1] or found[2]):
        low, high = (int(part) if part else None for part in found.groups())
        return _slice(low, high), True, found.end()
    if found := _FILTER.match(body, place):
        condition, end = _condition(text, body, found.end())
        closing = re.compile(r"\s*\)\s*\]").match(body, end)
        if closing is None:
            raise PathError(f"{text!r} has a filter that is not closed")
        return _filter(condition), True, closing.end()
    raise PathError(f"{text!r} has no index, key or filter at character {place + 1}")


# --- steps ------------------------------------------------------------------------------------------


def _member(name: str) -> Step:
    def step(value: Any) -> Any:
        if not isinstance(value, dict) or name not in value:
            raise MissingError(name)
        return value[name]

    return step


def _members(names: list[str]) -> Step:
    def step(value: Any) -> Any:
        if not isinstance(value, dict):
            raise MissingError(", ".join(names))
        return {name: value[name] for name in names if name in value}

    return step


def _list_of(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise MissingError("an array")
    return value


def _element(index: int) -> Step:
    def step(value: Any) -> Any:
        items = _list_of(value)
        if not -len(items) <= index < len(items):
            raise MissingError(str(index))
        return items[index]

    return step


def _elements(indexes: list[int]) -> Step:
    def step(value: Any) -> list[Any]:
        items = _list_of(value)
        return [items[index] for index in indexes if -len(items) <= index < len(items)]

    return step


def _slice(low: int | None, high: int | None) -> Step:
    def step(value: Any) -> list[Any]:
        items = _list_of(value)
        if low is None or high is None:
            return items[low:high]
        # With both ends given, the engine counts up from one to the other and takes each as an index.
        return [items[place] for place in range(low, min(high, len(items))) if place >= -len(items)]

    return step


def _children(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def _deep(value: Any) -> list[Any]:
    found = [value] if isinstance(value, (dict, list)) else []
    for child in _children(value):
        found += _deep(child)
    return found


def _filter(condition: Callable[[Any], bool]) -> Step:
    def step(value: Any) -> list[Any]:
        if isinstance(value, dict):
            return [value] if condition(value) else []
        return [item for item in _list_of(value) if condition(item)]

    return step


# --- functions --------------------------------------------------------------------------------------


def _length(value: Any) -> int | None:
    return len(value) if isinstance(value, (list, dict)) else None


def _numeric(function: Callable[[list[float]], float]) -> Step:
    def step(value: Any) -> Decimal:
        numbers = [float(item) for item in _list_of(value) if isinstance(item, (int, Decimal)) and item is not True]
        if not numbers:
            raise MissingError("numbers")
        return Decimal(repr(function(numbers)))

    return step


def _deviation(numbers: list[float]) -> float:
    mean = sum(numbers) / len(numbers)
    return math.sqrt(sum(number * number for number in numbers) / len(numbers) - mean * mean)


FUNCTIONS: dict[str, Step] = {
    "length": _length,
    "size": _length,
    "min": _numeric(min),
    "max": _numeric(max),
    "sum": _numeric(sum),
    "avg": _numeric(lambda numbers: sum(numbers) / len(numbers)),
    "stddev": _numeric(_deviation),
}
"""What may stand at the end of a path, as in ``$.items.length()``."""


# --- filters ----------------------------------------------------------------------------------------

_OPERATOR = re.compile(r"\s*(==|!=|<=|>=|<|>)\s*")
_JOIN = re.compile(r"\s*(&&|\|\|)\s*")
_LITERAL = re.compile(rf"\s*(?:(-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)|({_KEY})|(true|false|null)\b)")
_RELATIVE = re.compile(r"\s*@((?:\.[\w$-]+|\[\s*(?:" + _KEY + r"|-?\d+)\s*\])*)")
_TESTS: dict[str, Callable[[Any, Any], bool]] = {
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


def _condition(text: str, body: str, place: int) -> tuple[Callable[[Any], bool], int]:
    """Comparisons joined by && and ||, of which && binds closer."""
    either: list[list[Callable[[Any], bool]]] = [[]]
    while True:
        test, place = _comparison(text, body, place)
        either[-1].append(test)
        joined = _JOIN.match(body, place)
        if joined is None:
            break
        if joined[1] == "||":
            either.append([])
        place = joined.end()
    return lambda value: any(all(test(value) for test in tests) for tests in either), place


def _comparison(text: str, body: str, place: int) -> tuple[Callable[[Any], bool], int]:
    left, place = _side(text, body, place)
    found = _OPERATOR.match(body, place)
    if found is None:
        raise EvaluationError(f"the filter of the path {text!r} must compare, as in [?(@.price > 10)]")
    right, end = _side(text, body, found.end())
    operator = found[1]

    def test(value: Any) -> bool:
        try:
            a, b = left(value), right(value)
        except MissingError:
            return operator == "!="
        if operator in ("==", "!="):
            return _equal(a, b) is (operator == "==")
        numbers = all(isinstance(side, (int, Decimal)) and not isinstance(side, bool) for side in (a, b))
        return (numbers or (isinstance(a, str) and isinstance(b, str))) and _TESTS[operator](a, b)

    return test, end


def _equal(a: Any, b: Any) -> bool:
    """Whether two values are equal; a text with a number in it equals the number."""
    if isinstance(a, str) is isinstance(b, str):
        return a == b and isinstance(a, bool) is isinstance(b, bool)
    text, other = (a, b) if isinstance(a, str) else (b, a)
    try:
        return not isinstance(other, bool) and isinstance(other, (int, Decimal)) and Decimal(text) == other
    except ArithmeticError:
        return False


def _side(text: str, body: str, place: int) -> tuple[Step, int]:
    if found := _RELATIVE.match(body, place):
        path = parse_path("$" + found[1])
        return path.follow, found.end()
    if found := _LITERAL.match(body, place):
        number, key, word = found.groups()
        value: Any = {"true": True, "false": False, "null": None}.get(word)
        if number:
            value = Decimal(number)
        elif key:
            value = key[1:-1]
        return lambda _: value, found.end()
    raise EvaluationError(f"the filter of the path {text!r} is not supported: it must compare @.name with a constant")
