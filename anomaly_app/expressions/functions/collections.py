"""Functions of ARRAY, MAP and ROW."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from anomaly_app.expressions import nodes as n
from anomaly_app.expressions.functions.registry import Entry, arguments, need_kinds
from anomaly_app.expressions.typed import Code, null_safe
from anomaly_app.schema import (
    INT,
    DataType,
    Kind,
)

if TYPE_CHECKING:
    from anomaly_app.expressions.compiler import ExpressionCompiler


def _map(compiler: ExpressionCompiler, node: n.Call) -> Code:
    if not node.args or len(node.args) % 2:
        raise compiler.fail(node, "MAP[…] takes keys and values in turn, as in MAP['a', 1, 'b', 2]")
    keys = compiler.unify(node.args[::2], "the keys of MAP")
    values = compiler.unify(node.args[1::2], "the values of MAP")
    type_ = DataType(Kind.MAP, key=keys[0].type, element=values[0].type, nullable=False)
    source = "{" + ", ".join(f"{k.source}: {v.source}" for k, v in zip(keys, values, strict=True)) + "}"
    if all(isinstance(arg, n.Literal) for arg in node.args):
        # Made once: it may hold a threshold for each of many keys.
        made = compiler.env.function("made", f"def made():\n    return {source}")
        source = compiler.env.constant(made())
    return Code(source, type_)


def _cardinality(compiler: ExpressionCompiler, node: n.Call) -> Code:
    (code,) = arguments(compiler, node, 1)
    need_kinds(compiler, node, 0, code, frozenset({Kind.ARRAY, Kind.MAP}), "an ARRAY or a MAP")
    return null_safe(compiler.env, [code], lambda a: f"len({a})", INT)


FUNCTIONS: Mapping[str, Entry] = {
    "CARDINALITY": _cardinality,
    "MAP": _map,
}
