"""Aggregates as somebody has written them: which calls they are, what type they give, and what their groups hold."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from anomaly_app.expressions import nodes as n
from anomaly_app.expressions.aggregates import AGGREGATES
from anomaly_app.expressions.typed import Code, Dialect, Environment
from anomaly_app.plan.nodes import AggregateCall
from anomaly_app.plan.scope import Scope
from anomaly_app.schema import TEXTS, WHOLE_NUMBERS, DataType, Kind
from anomaly_app.windows.accumulators import Accumulators

GROUPING = ("GROUPING", "GROUPING_ID")


def is_aggregate(node: n.Node) -> bool:
    """Whether a node is a call of an aggregate over a group."""
    return isinstance(node, n.Call) and node.over is None and (node.name in AGGREGATES or node.name in GROUPING)


def has_aggregates(node: n.Node) -> bool:
    """Whether an expression has an aggregate over a group in it.

    Example:
        >>> from anomaly_app.expressions.parser import parse_expression
        >>> has_aggregates(parse_expression("1 + MAX(a)")), has_aggregates(parse_expression("ABS(a)"))
        (True, False)
    """
    return any(map(is_aggregate, n.walk(node)))


def unfit_key(type_: DataType) -> str:
    """Why values of a type cannot be the key of a group; "" if they can."""
    waiting = [type_]
    while waiting:
        one = waiting.pop()
        if one.kind in (Kind.MAP, Kind.ARRAY):
            return f"a key cannot be {type_.with_nullable(True)}: its elements, or CAST(… AS STRING), can"
        waiting += [field for _, field in one.fields]
    return ""


def checked_aggregate(
    call: n.Call, scope: Scope, name: str, *, has_rows: bool = True
) -> tuple[AggregateCall, DataType]:
    """An aggregate with its arguments checked, and the type of its result; raises ``SqlValidationError``.

    Args:
        call: as written.
        scope: what names mean in its arguments.
        name: of its column.
        has_rows: no group is without rows.
    """
    if call.semantics:
        raise scope.fail(call, f"{call.semantics} may stand inside MATCH_RECOGNIZE only")
    most = 2 if call.name == "LISTAGG" else 1
    rows = call.name == "COUNT" and (not call.args or isinstance(call.args[0], n.Star))
    if not 1 <= len(call.args) <= most and not rows:
        raise scope.fail(call, f"{call.name} takes one argument, not {len(call.args)}")
    for arg in call.args:
        inner = next((part for part in n.walk(arg) if is_aggregate(part)), None)
        if inner is not None:
            assert isinstance(inner, n.Call)
            raise scope.fail(inner, f"{inner.name} cannot stand inside {call.name}")
    value = None if rows else scope.expression(call.args[0])
    condition = scope.expression(call.filter, "the FILTER") if call.filter is not None else None
    if len(call.args) == 2:
        separator = call.args[1]
        if not isinstance(separator, n.Literal) or separator.type.kind not in TEXTS:
            raise scope.fail(separator, "the separator of LISTAGG must be a text, written out")
    aggregate = AggregateCall(name, call, value, condition)
    env = Environment()
    result = add_to(
        Accumulators(env, scope.dialect, gap_ms=None, merges=False), aggregate, scope.typed, env, scope.dialect
    )
    if result is None:
        shown = str(value.type.with_nullable(True)) if value is not None else "rows"
        hint = ": CAST it to a number" if value is not None and value.type.kind in TEXTS else ""
        what = "DISTINCT " if call.distinct else ""
        raise scope.fail(call, f"{call.name} of {what}{shown} is not defined{hint}")
    type_ = result.type
    if call.name in OF_SOME and has_rows and call.filter is None and value is not None and not value.type.nullable:
        type_ = type_.with_nullable(False)
    return aggregate, type_


OF_SOME = frozenset({"SUM", "AVG", "MIN", "MAX", "FIRST_VALUE", "LAST_VALUE"})
"""Aggregates that are NULL only if all values are: a group has a row, and so has the frame of an OVER."""


class Adds(Protocol):
    """What collects the aggregates of groups: accumulators of some kind."""

    def add(
        self, name: str, value: Code | None, *, keep: str = "", distinct: bool = False, separator: Code | None = None
    ) -> Code | None:
        """Source of an aggregate of a group; None if it is not defined for that type."""
        ...


def add_to(
    accumulators: Adds, aggregate: AggregateCall, codes: Callable[[str], Code], env: Environment, dialect: Dialect
) -> Code | None:
    """Add an aggregate to the accumulators of a group; its source, None if it is not defined for that type."""
    call, value = aggregate.call, aggregate.value
    with env.apart("u"):
        compiled = value.compile(codes, env) if value is not None else None
    with env.apart("w"):
        keep = aggregate.condition.compile_condition(codes, env) if aggregate.condition is not None else ""
    if call.distinct and compiled is not None and compiled.type.kind in (Kind.ARRAY, Kind.MAP, Kind.ROW):
        return None
    separator = None
    if len(call.args) == 2:
        literal = call.args[1]
        assert isinstance(literal, n.Literal)
        separator = Code(repr(literal.value), literal.type, literal.value)
    code = accumulators.add(call.name, compiled, keep=keep, distinct=call.distinct, separator=separator)
    if code is None or compiled is None or not _is_whole(call.name, compiled.type, dialect):
        return code
    return Code(f"(None if {code.source} is None else int({code.source}))", compiled.type.with_nullable(True))


def _is_whole(name: str, type_: DataType, dialect: Dialect) -> bool:
    """Whether a deviation or variance is of the type of its values, cut towards zero, as in Flink."""
    spread = name in ("VARIANCE", "STDDEV") or (name.startswith(("VAR_", "STDDEV_")) and name != "STDDEV_WITHOUT_MAX")
    return spread and dialect is Dialect.FLINK and type_.kind in WHOLE_NUMBERS
