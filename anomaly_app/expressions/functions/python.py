"""Scalar functions that users write in Python."""

from __future__ import annotations

import datetime
import difflib
import importlib
import inspect
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, TypeVar

from anomaly_app.errors import AnomalyError, EvaluationError, SqlError
from anomaly_app.expressions import nodes as n
from anomaly_app.expressions.aggregates import AGGREGATES
from anomaly_app.expressions.casts import coerce
from anomaly_app.expressions.compiling import Compiler
from anomaly_app.expressions.functions.registry import check_count, shown, untyped_null
from anomaly_app.expressions.type_parser import parse_type
from anomaly_app.expressions.typed import Code, common_type
from anomaly_app.formats.misfit import Misfit, part
from anomaly_app.formats.values import refuse, to_internal, to_python
from anomaly_app.schema import TEXTS, DataType, Kind

F = TypeVar("F", bound=Callable[..., Any])

SIGNATURE = "__anomaly_sql__"
"""Attribute of a function with its types in SQL."""

_TYPES: Mapping[Any, str] = {
    bool: "BOOLEAN",
    int: "BIGINT",
    float: "DOUBLE",
    str: "STRING",
    bytes: "BYTES",
    Decimal: "DECIMAL(38, 18)",
    datetime.date: "DATE",
    datetime.time: "TIME",
    datetime.datetime: "TIMESTAMP(3)",
}
"""SQL types of annotations."""


@dataclass(frozen=True, slots=True)
class Signature:
    """Types of a function in SQL; None where its annotations say them."""

    arguments: tuple[str, ...] | None
    returns: str | None
    vectorised: bool


def udf(
    *, arguments: Sequence[str] | None = None, returns: str | None = None, vectorised: bool = False
) -> Callable[[F], F]:
    """Say the SQL types of a function that ``CREATE FUNCTION … LANGUAGE PYTHON`` names.

    Args:
        arguments: a type for each argument; without it the annotations say them.
        returns: type of the result; without it the annotation says it.
        vectorised: it takes lists of values and gives a list of results, as long.

    Example:
        >>> @udf(arguments=["DECIMAL(10, 2)"], returns="DECIMAL(10, 2)")
        ... def with_tax(price):
        ...     return None if price is None else price * 2
        >>> with_tax.__anomaly_sql__.returns
        'DECIMAL(10, 2)'
    """

    def mark(function: F) -> F:
        given = None if arguments is None else tuple(arguments)
        setattr(function, SIGNATURE, Signature(given, returns, vectorised))
        return function

    return mark


class PythonFunction:
    """A function written in Python, as SQL calls it.

    It is called for every row, with None for NULL, as Flink does. What it raises, and a result that does not fit, is
    an error of the row.

    Args:
        name: by which SQL knows it.
        function: takes and gives Python's own types of the values, as :class:`~anomaly_app.Result` shows them.
        arguments: SQL types of the arguments.
        returns: SQL type of the result.
        vectorised: it takes lists of values and gives a list as long.
        origin: where it comes from, for people.

    Raises:
        ValueError: a type is unknown or missing, or the name is that of a function that there is.

    Example:
        >>> PythonFunction("half", lambda x: x / 2, ["DOUBLE"], "DOUBLE").evaluate(3.0)
        1.5
    """

    def __init__(
        self,
        name: str,
        function: Callable[..., Any],
        arguments: Sequence[str] | None = None,
        returns: str | None = None,
        *,
        vectorised: bool | None = None,
        origin: str = "",
    ) -> None:
        self.name, self.function = name.upper(), function
        self.origin = origin or f"{function.__module__}.{getattr(function, '__qualname__', name)}"
        said = getattr(function, SIGNATURE, Signature(None, None, False))
        self.vectorised = said.vectorised if vectorised is None else vectorised
        arguments = arguments if arguments is not None else said.arguments
        returns = returns if returns is not None else said.returns
        self.arguments = tuple(map(_type, arguments)) if arguments is not None else _arguments(self)
        self.returns = _type(returns) if returns is not None else _returns(self)
        given = [to_python(type_) for type_ in self.arguments]
        self._given = [(place, convert) for place, convert in enumerate(given) if convert is not None]
        self._required = [place for place, type_ in enumerate(self.arguments) if not type_.nullable]
        self._back = part(self.returns, to_internal(self.returns))

    def __call__(self, compiler: Compiler, node: n.Call) -> Code:
        """Source of a call; an error for a wrong number or type of arguments."""
        check_count(compiler, node, len(self.arguments), len(self.arguments))
        codes = []
        for place, (arg, wanted) in enumerate(zip(node.args, self.arguments, strict=True)):
            code = compiler.value(arg)
            if code.type.kind is Kind.NULL:
                raise compiler.fail(arg, untyped_null(node, place, str(wanted)))
            converted = coerce(compiler.env, code, wanted) if _widens(code.type, wanted) else None
            if converted is None:
                raise compiler.fail(arg, f"argument {place + 1} of {node.name} must be {wanted}, not {shown(code)}")
            codes.append(converted)
        call = compiler.env.constant(self.evaluate)
        return Code(f"{call}({', '.join(code.source for code in codes)})", self.returns)

    def evaluate(self, *values: Any) -> Any:
        """Call it with values in memory form; raises ``EvaluationError``."""
        given = list(values)
        for place in self._required:
            if given[place] is None:
                raise EvaluationError(f"argument {place + 1} of {self.name} is NULL: it is {self.arguments[place]}")
        for place, convert in self._given:
            if given[place] is not None:
                given[place] = convert(given[place])
        try:
            result = self._one(given) if self.vectorised else self.function(*given)
        except AnomalyError:
            raise
        except Exception as error:  # whatever the user's function raises is about this row
            raise EvaluationError(f"function {self.name}: {type(error).__name__}: {error}") from error
        try:
            if isinstance(result, str) and self.returns.kind not in TEXTS:
                refuse(result, self.returns)  # a text is no number: nobody has asked for a cast
            return self._back(result)
        except Misfit as error:
            raise EvaluationError(f"function {self.name} gave what is no {self.returns}: {error}") from error

    def _one(self, given: Sequence[Any]) -> Any:
        results = list(self.function(*[[value] for value in given]))
        if len(results) != 1:
            raise EvaluationError(f"function {self.name} gave {len(results)} results for 1 row")
        return results[0]


def load_function(target: str, modules: Sequence[str]) -> Callable[..., Any]:
    """The function that ``module.name`` means.

    Args:
        target: module and name, with dots.
        modules: prefixes of the modules that may be imported.

    Raises:
        ValueError: the module is not allowed or cannot be imported, or there is no such function in it.

    Example:
        >>> load_function("math.sqrt", ["math"]).__name__
        'sqrt'
        >>> load_function("os.system", [])
        Traceback (most recent call last):
        ValueError: the setting functions.modules allows no module 'os': it is empty
    """
    module, _, name = target.rpartition(".")
    if not module or not all(part.isidentifier() for part in target.split(".")):
        raise ValueError(f"{target!r} should be 'module.name'")
    if not any(module == allowed or module.startswith(f"{allowed}.") for allowed in modules):
        names = f"it has {', '.join(modules)}" if modules else "it is empty"
        raise ValueError(f"the setting functions.modules allows no module {module!r}: {names}")
    try:
        found = importlib.import_module(module)
    except Exception as error:  # a module may raise anything while it is imported
        raise ValueError(f"module {module!r} cannot be imported: {type(error).__name__}: {error}") from error
    function = getattr(found, name, None)
    if not callable(function):
        near = difflib.get_close_matches(name, [key for key, value in vars(found).items() if callable(value)], 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"module {module!r} has no function {name!r}{hint}")
    return typing.cast("Callable[..., Any]", function)


def check_name(name: str, known: Mapping[str, Any]) -> None:
    """Whether a name is free for a function; raises ``ValueError``.

    Args:
        name: in any case.
        known: the scalar functions that there are.
    """
    if not name.isidentifier():
        raise ValueError(f"{name!r} is no name for a function: letters, digits and _")
    if name.upper() in known or name.upper() in AGGREGATES:
        raise ValueError(f"there is a function {name.upper()}: choose another name")


def _type(text: str) -> DataType:
    try:
        return parse_type(text)
    except SqlError as error:
        raise ValueError(str(error)) from error


def _widens(given: DataType, wanted: DataType) -> bool:
    """Whether a value passes without loss: as from INT to DOUBLE, but not back."""
    if given.kind is wanted.kind or (given.kind in TEXTS and wanted.kind in TEXTS):
        return True
    common = common_type([given.with_nullable(True), wanted.with_nullable(True)])
    return common is not None and common.kind is wanted.kind


def _arguments(function: PythonFunction) -> tuple[DataType, ...]:
    parameters = inspect.signature(function.function).parameters.values()
    hints = _hints(function)
    for parameter in parameters:
        if parameter.kind is not parameter.POSITIONAL_OR_KEYWORD or parameter.name not in hints:
            raise ValueError(
                f"function {function.name}: the SQL type of its argument {parameter.name!r} is not known: annotate it "
                'with bool, int, float, str or another type of a value, or say arguments=["INT", …]'
            )
    return tuple(_annotated(function, hints[parameter.name]) for parameter in parameters)


def _returns(function: PythonFunction) -> DataType:
    hints = _hints(function)
    if "return" not in hints:
        problem = 'the SQL type of its result is not known: annotate it, or say returns="INT"'
        raise ValueError(f"function {function.name}: {problem}")
    return _annotated(function, hints["return"])


def _hints(function: PythonFunction) -> Mapping[str, Any]:
    if function.vectorised:
        return {}  # an annotation would be about lists
    try:
        return typing.get_type_hints(function.function)
    except (NameError, TypeError):
        return {}


def _annotated(function: PythonFunction, hint: Any) -> DataType:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        others = [one for one in typing.get_args(hint) if one is not type(None)]
        hint = others[0] if len(others) == 1 else hint
    if hint not in _TYPES:
        known = ", ".join(one.__name__ for one in _TYPES)
        raise ValueError(f"function {function.name}: {hint!r} has no SQL type; the annotations are {known}")
    return parse_type(_TYPES[hint])
