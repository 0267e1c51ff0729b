"""Detector functions in a SELECT list: what they are given, checked."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from anomaly_app.detectors import DetectorFunction, check_options
from anomaly_app.errors import OptionError, SqlValidationError
from anomaly_app.expressions import nodes as n
from anomaly_app.expressions.aggregates import AGGREGATES
from anomaly_app.expressions.tokens import Span
from anomaly_app.plan import detector_functions
from anomaly_app.plan.analysis.windowing import why_no_time
from anomaly_app.plan.nodes import Node
from anomaly_app.plan.scope import Expression, Scope
from anomaly_app.schema import NUMBERS, TEXTS, Kind
from anomaly_app.windows.over import DetectorCall

_FRAME = re.compile(r"((RANGE|ROWS) (BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW|UNBOUNDED PRECEDING))?")

CATEGORIES = "categories"
"""Option of a detector of several values: names of those that are no measures; texts must be among them."""


@dataclass(frozen=True, slots=True)
class Detectors:
    """The detectors of one query, checked.

    Args:
        calls: what they are.
        values: what each is given.
        keys: columns of PARTITION BY.
        time: the time attribute.
    """

    calls: tuple[DetectorCall, ...]
    values: tuple[tuple[Expression, ...], ...]
    keys: tuple[str, ...]
    time: str


def is_detector(call: n.Call) -> bool:
    """Whether a call is one of a detector."""
    return call.name in detector_functions.functions()


def no_window_function(call: n.Call) -> str:
    """What is wrong with OVER behind a function that is neither a detector nor an aggregate."""
    detectors = sorted(detector_functions.functions())
    near = difflib.get_close_matches(call.name, [*detectors, *AGGREGATES, "LAG", "ROW_NUMBER"], 1)
    hint = f"; did you mean {near[0]}?" if near else ""
    names = ", ".join(detectors)
    return f"{call.name} … OVER is not supported: OVER is for aggregates, LAG, ROW_NUMBER and detectors ({names}){hint}"


def checked(calls: Sequence[n.Call], node: Node, scope: Scope) -> Detectors:
    """Check the detectors of a query.

    Args:
        calls: with OVER.
        node: whose rows they judge.
        scope: what names mean.

    Raises:
        SqlValidationError: a name, a type, an option or the window of a detector is wrong.
    """
    checker = _Checker(node, scope)
    detectors = tuple(checker.call(call) for call in calls)
    values = tuple(tuple(scope.expression(value) for value in _values(call)) for call in calls)
    return Detectors(detectors, values, checker.keys(calls), checker.time)


class _Checker:
    def __init__(self, node: Node, scope: Scope) -> None:
        self.node, self.scope = node, scope
        attributes = node.rowtimes or node.proctimes
        self.attributes = [name for name in node.names if name in attributes]
        self.time = self.attributes[0] if self.attributes else ""

    def call(self, node: n.Call) -> DetectorCall:
        function = detector_functions.functions()[node.name]
        if node.distinct or node.filter is not None or node.semantics:
            raise self._fail(node, f"{node.name} is a detector: DISTINCT, FILTER, RUNNING and FINAL are not possible")
        if not 2 <= len(node.args) <= 3:
            problem = f"{node.name} takes a value, the time attribute and perhaps JSON_OBJECT(…), not {len(node.args)}"
            raise self._fail(node, f"{problem} argument{'s' * (len(node.args) != 1)}")
        options, spans = self._options(node)
        self._check_values(node, function, options)
        self._check_time(node.args[1], f"the second argument of {node.name}")
        self._check_window(node)
        names = tuple(self._name(value) for value in _values(node))
        try:
            call = DetectorCall(
                function, check_options(function, options), tuple(options), names, self._words(node.args[0])
            )
            width = call.create().width
        except OptionError as error:
            span = spans.get(error.option, node.args[2].span if len(node.args) > 2 else node.span)
            raise SqlValidationError(str(error), self.scope.text, *span) from error
        assert width == len(names), f"{node.name} takes {width} numbers where {len(names)} are given"
        return call

    def keys(self, calls: Sequence[n.Call]) -> tuple[str, ...]:
        """Columns that PARTITION BY names: the same ones for all calls."""
        keys: tuple[str, ...] | None = None
        for call in calls:
            assert call.over is not None
            own = tuple(self._key(part) for part in call.over.partition_by)
            if keys is not None and set(own) != set(keys):
                problem = (
                    f"detectors of one query need the same PARTITION BY, and the first has "
                    f"{', '.join(keys) or 'nothing'}: the rows of a key must meet in one place"
                )
                raise SqlValidationError(problem, self.scope.text, *call.over.span)
            keys = own if keys is None else keys
        assert keys is not None
        return keys

    def _key(self, node: n.Node) -> str:
        bare = self.scope.expression(node).bare
        if bare is None:
            raise self._fail(
                node, "PARTITION BY of a detector takes columns, and no expressions: name it in a subquery"
            )
        return bare

    def _check_values(self, node: n.Call, function: DetectorFunction, options: Mapping[str, Any]) -> None:
        value, parts = node.args[0], _values(node)
        if parts != (value,) and not function.multivariate:
            raise self._fail(value, f"{node.name} takes one number, not a ROW")
        if not parts:
            raise self._fail(value, f"{node.name} takes a number or a ROW of numbers, and this ROW is empty")
        takes = f"{node.name} takes {'a number or a ROW of numbers' if function.multivariate else 'a number'}"
        with_categories = any(option.name == CATEGORIES for option in function.options)
        categories = [name.strip() for name in str(options.get(CATEGORIES, "")).split(",")]
        for part in parts:
            inner = next((p for p in n.walk(part) if isinstance(p, n.Call) and p.over is not None), None)
            if inner is not None:
                raise self._fail(inner, f"{inner.name} … OVER cannot stand inside {node.name}: name it in a subquery")
            type_ = self.scope.expression(part).type.with_nullable(True)
            if type_.kind in NUMBERS | {Kind.NULL} or (type_.kind is Kind.BOOLEAN and function.multivariate):
                continue
            if type_.kind not in TEXTS or not with_categories:
                raise self._fail(part, f"{takes}, not {type_}")
            name = self._name(part)
            if name not in categories:
                raise self._fail(part, f"{takes}: {name} is {type_}, and not named in the option '{CATEGORIES}'")

    def _check_time(self, node: n.Node, what: str) -> None:
        if not self.attributes:
            problem = f"there is none here: {why_no_time(self.node)}"
            raise self._fail(node, f"{what} must be the time attribute, and {problem}")
        bare = self.scope.expression(node).bare if isinstance(node, n.ColumnRef) else None
        if bare not in self.attributes:
            raise self._fail(node, f"{what} must be the time attribute, {', '.join(self.attributes)}")
        assert bare is not None
        self.time = bare

    def _check_window(self, node: n.Call) -> None:
        window = node.over
        assert window is not None
        if not window.order_by:
            problem = f"{node.name} takes rows in their order: OVER needs ORDER BY the time attribute"
            raise SqlValidationError(problem, self.scope.text, *window.span)
        first, *others = window.order_by
        self._check_time(first.expr, "ORDER BY of OVER")
        if first.descending:
            raise self._fail(first, "ORDER BY of OVER must be ascending: a detector learns from what came before")
        if others:
            problem = "ORDER BY of OVER takes the time attribute only: rows of one time are taken as they came"
            raise self._fail(others[0], problem)
        if not _FRAME.fullmatch(window.frame):
            problem = (
                "the frame must be RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW: a detector sees each row once, "
                "and how far back it remembers is one of its options"
            )
            raise SqlValidationError(problem, self.scope.text, *window.frame_span)

    def _options(self, node: n.Call) -> tuple[dict[str, Any], dict[str, Span]]:
        """Options as given, and the place of each."""
        options: dict[str, Any] = {}
        spans: dict[str, Span] = {}
        if len(node.args) < 3:
            return options, spans
        given = node.args[2]
        if not isinstance(given, n.Call) or given.name != "JSON_OBJECT":
            raise self._fail(given, f"the options of {node.name} must be JSON_OBJECT('name' VALUE value, …)")
        for key, value in zip(given.args[::2], given.args[1::2], strict=True):
            if not isinstance(key, n.Literal) or not isinstance(key.value, str):
                raise self._fail(key, "the name of an option must be a text in quotes")
            if not isinstance(value, n.Literal):
                raise self._fail(value, f"option {key.value!r} must be a constant")
            if key.value in options:
                raise self._fail(key, f"option {key.value!r} is there twice")
            options[key.value] = float(value.value) if isinstance(value.value, Decimal) else value.value
            spans[key.value] = Span(key.span.start, value.span.end)
        return options, spans

    def _fail(self, node: n.Node, problem: str) -> SqlValidationError:
        return self.scope.fail(node, problem)

    def _name(self, value: n.Node) -> str:
        """What a value is called."""
        return value.parts[-1] if isinstance(value, n.ColumnRef) else self._words(value)

    def _words(self, node: n.Node) -> str:
        return " ".join(self.scope.text[slice(*node.span)].split())


def _values(node: n.Call) -> tuple[n.Node, ...]:
    """The values that a detector is given, of a ROW its fields."""
    value = node.args[0]
    return value.args if isinstance(value, n.Call) and value.name == "ROW" else (value,)
