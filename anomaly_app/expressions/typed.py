"""Typed Python source: what an expression becomes, and the names its source may use."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from typing import Any

from anomaly_app.errors import FAILURES as FAILURES, SqlValidationError
from anomaly_app.schema import APPROXIMATE, NUMBERS, TEXTS, TIMESTAMPS, WHOLE_NUMBERS, DataType, Kind


class Dialect(Enum):
    """Whose semantics a query has where engines differ."""

    FLINK = "flink"
    STANDARD = "standard"

    @classmethod
    def named(cls, name: str) -> Dialect:
        """The dialect of a name; raises ``SqlValidationError`` if there is none."""
        try:
            return cls(name)
        except ValueError:
            raise SqlValidationError(f"unknown dialect {name!r}: it must be 'flink' or 'standard'") from None


@dataclass(frozen=True, slots=True)
class Code:
    """A typed expression as Python source.

    Args:
        source: evaluates to a value in memory form; to None for NULL, if the type is nullable.
        type: its SQL type.
        constant: the value of a literal (None else); patterns and formats that are literals are prepared once.
        unbounded: of a whole number that may leave its type, the source before it is brought back ("" else): a
            comparison has a cheaper way to do that.
        floor: of a whole number, a cheaper source ("" else) of one that is not greater, and at most
            :data:`FLOOR_SLACK` less: where that decides a comparison, the number itself is not needed.
    """

    source: str
    type: DataType
    constant: Any = None
    unbounded: str = ""
    floor: str = ""


FLOOR_SLACK = 1 << 20
"""How much less a floor may be."""


class Environment:
    """Global names of generated source: helper functions and constants, and fresh names for temporaries.

    Generated source holds no text of the user but literals, printed by ``repr``; everything else is reached by names
    that are made here.
    """

    def __init__(self) -> None:
        self.names: dict[str, Any] = {}
        self._constants: dict[int, str] = {}
        self._prefix, self._temporaries = "v", 0

    def use(self, helper: Any) -> str:
        """The name by which a helper function is reached."""
        name = f"_{helper.__name__.strip('_')}"
        known = self.names.setdefault(name, helper)
        return name if known is helper else self.constant(helper)

    def constant(self, value: Any) -> str:
        """Source for a constant of any type."""
        if value is None or isinstance(value, (bool, str)):
            return repr(value)
        if isinstance(value, int):
            return repr(value) if value >= 0 else f"({value!r})"
        if isinstance(value, float) and math.isfinite(value):
            return repr(value) if math.copysign(1.0, value) > 0 else f"({value!r})"
        name = self._constants.get(id(value))  # which stays its own as long as it is held here
        if name is None:
            name = self._constants[id(value)] = f"_c{len(self.names)}"
            self.names[name] = value
        return name

    def temporary(self) -> str:
        """A fresh local name."""
        self._temporaries += 1
        return f"{self._prefix}{self._temporaries}"

    @contextmanager
    def apart(self, prefix: str) -> Iterator[None]:
        """Temporaries with names that begin anew: equal expressions give equal source, which can then be shared."""
        before = self._prefix, self._temporaries
        self._prefix, self._temporaries = prefix, 0
        yield
        self._prefix, self._temporaries = before

    def function(self, name: str, source: str) -> Any:
        """Compile generated source and give back the function ``name`` that it defines."""
        scope = dict(self.names)
        exec(compile(source, f"<generated {name}>", "exec"), scope)
        return scope[name]


def null_safe(
    env: Environment,
    args: Sequence[Code],
    build: Callable[..., str],
    type_: DataType,
    *,
    nullable: bool = False,
) -> Code:
    """Source that is NULL if an argument is, else what ``build`` makes of the arguments' sources.

    Args:
        env: for temporaries.
        args: the arguments; each is used once by ``build`` unless it is a plain name.
        build: from sources to source.
        type_: of the result.
        nullable: the result may be NULL even if no argument is.
    """
    tests, names = guarded(env, args)
    source = build(*names)
    if tests:
        source = f"(None if {' or '.join(tests)} else {source})"
    return Code(source, type_.with_nullable(nullable or bool(tests)))


def guarded(env: Environment, args: Iterable[Code], test: str = "is None") -> tuple[list[str], list[str]]:
    """Tests for NULL of the arguments that may be NULL, and names for all of them, valid behind the tests."""
    tests, names = [], []
    for arg in args:
        if not arg.type.nullable:
            names.append(arg.source)
        elif arg.source.isidentifier() and arg.source != "None":
            tests.append(f"{arg.source} {test}")
            names.append(arg.source)
        else:
            name = env.temporary()
            tests.append(f"({name} := {arg.source}) {test}")
            names.append(name)
    return tests, names


def folded(env: Environment, code: Code) -> Code:
    """Source without columns, computed once; as it is if it fails: then it fails on the row."""
    try:
        value = env.function("folded", f"def folded():\n    return {code.source}")()
    except FAILURES:
        return code
    return Code(env.constant(value), code.type.with_nullable(value is None), value)


_WIDTH = {Kind.TINYINT: 3, Kind.SMALLINT: 5, Kind.INT: 10, Kind.BIGINT: 19}
_WHOLE_ORDER = [Kind.TINYINT, Kind.SMALLINT, Kind.INT, Kind.BIGINT]


def as_decimal(type_: DataType) -> tuple[int, int]:
    """Precision and scale of a whole number or decimal type."""
    if type_.kind is Kind.DECIMAL:
        assert type_.precision is not None and type_.scale is not None
        return type_.precision, type_.scale
    return _WIDTH[type_.kind], 0


def decimal_type(precision: int, scale: int) -> DataType:
    """A DECIMAL of at most 38 digits: digits behind the point are given up first, but six are kept."""
    if precision > 38:
        whole = precision - scale
        precision, scale = 38, max(38 - whole, min(scale, 6))
    return DataType(Kind.DECIMAL, precision, scale)


def common_type(types: Iterable[DataType]) -> DataType | None:
    """The type that values of all these types can be brought to without loss of meaning; None if there is none."""
    result: DataType | None = None
    nullable = False
    for type_ in types:
        nullable = nullable or type_.nullable
        if type_.kind is Kind.NULL:
            nullable = True
            continue
        result = type_ if result is None else _common(result, type_)
        if result is None:
            return None
    if result is None:
        return DataType(Kind.NULL)
    return result.with_nullable(nullable)


def _common(a: DataType, b: DataType) -> DataType | None:
    if a.with_nullable(True) == b.with_nullable(True):
        return a
    kinds = {a.kind, b.kind}
    if kinds <= TEXTS:
        if Kind.STRING in kinds:
            return DataType(Kind.STRING)
        length = max(a.precision or 0, b.precision or 0) if a.precision and b.precision else None
        return DataType(Kind.VARCHAR, length)
    if kinds <= WHOLE_NUMBERS:
        return max(a, b, key=lambda t: _WHOLE_ORDER.index(t.kind))
    if kinds <= NUMBERS:
        if kinds & APPROXIMATE:
            return DataType(Kind.FLOAT) if kinds <= WHOLE_NUMBERS | {Kind.FLOAT} else DataType(Kind.DOUBLE)
        (p1, s1), (p2, s2) = as_decimal(a), as_decimal(b)
        scale = max(s1, s2)
        return decimal_type(max(p1 - s1, p2 - s2) + scale, scale)
    if kinds <= TIMESTAMPS or kinds <= TIMESTAMPS | {Kind.DATE}:
        kind = Kind.TIMESTAMP_LTZ if Kind.TIMESTAMP_LTZ in kinds else Kind.TIMESTAMP
        return DataType(kind, max(a.precision or 0, b.precision or 0))
    if kinds == {Kind.TIME}:
        return max(a, b, key=lambda t: t.precision or 0)
    if kinds == {Kind.BYTES}:
        length = max(a.precision, b.precision) if a.precision and b.precision else None
        return DataType(Kind.BYTES, length)
    return _common_nested(a, b) if len(kinds) == 1 else None


def _common_nested(a: DataType, b: DataType) -> DataType | None:
    if len(a.fields) != len(b.fields):
        return None
    key = common_type([a.key, b.key]) if a.key and b.key else None
    element = common_type([a.element, b.element]) if a.element and b.element else None
    fields = [(name, common_type([one, other])) for (name, one), (_, other) in zip(a.fields, b.fields, strict=True)]
    known = [(name, type_) for name, type_ in fields if type_ is not None]
    if len(known) < len(fields) or (a.key and key is None) or (a.element and element is None):
        return None
    return DataType(a.kind, key=key, element=element, fields=tuple(known)) if a.element or a.fields else None
