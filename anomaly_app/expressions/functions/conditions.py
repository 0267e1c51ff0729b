"""Functions that choose between values."""

from __future__ import annotations

from collections.abc import Mapping

from anomaly_app.expressions import nodes as n
from anomaly_app.expressions.compiling import Compiler
from anomaly_app.expressions.functions.registry import Entry, arguments
from anomaly_app.expressions.typed import Code
from anomaly_app.schema import STRING, TEXTS, Kind


def _coalesce(compiler: Compiler, node: n.Call) -> Code:
    arguments(compiler, node, 1 if node.name == "COALESCE" else 2, None if node.name == "COALESCE" else 2)
    codes = compiler.unify(node.args, f"the arguments of {node.name}")
    source = codes[-1].source
    for code in reversed(codes[:-1]):
        name = compiler.env.temporary()
        source = f"({name} if ({name} := {code.source}) is not None else {source})"
    return Code(source, codes[0].type.with_nullable(all(code.type.nullable for code in codes)))


def _nullif(compiler: Compiler, node: n.Call) -> Code:
    arguments(compiler, node, 2)
    same = compiler.truth(n.Binary(node.span, "=", *node.args))
    first = compiler.value(node.args[0])
    return Code(f"(None if {same} else {first.source})", first.type.with_nullable(True))


def _if(compiler: Compiler, node: n.Call) -> Code:
    arguments(compiler, node, 3)
    return compiler.value(n.Case(node.span, None, ((node.args[0], node.args[1]),), node.args[2]))


def _type_of(compiler: Compiler, node: n.Call) -> Code:
    code, *_ = arguments(compiler, node, 1, 2)
    plain = isinstance(node.args[0], (n.Literal, n.ColumnRef, n.Cast))
    if code.type.kind in TEXTS | {Kind.BYTES} and not plain:
        problem = "TYPEOF does not know the length of a text that is computed: CAST it to a type first"
        raise compiler.fail(node.args[0], problem)
    return Code(repr(str(code.type)), STRING, str(code.type))


FUNCTIONS: Mapping[str, Entry] = {
    "COALESCE": _coalesce,
    "IFNULL": _coalesce,
    "NULLIF": _nullif,
    "IF": _if,
    "TYPEOF": _type_of,
}
