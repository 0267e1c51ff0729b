"""TYPEOF."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from anomaly_app.expressions import nodes as n
from anomaly_app.expressions.functions.registry import Entry, arguments
from anomaly_app.expressions.typed import Code
from anomaly_app.schema import STRING, DataType, Kind

if TYPE_CHECKING:
    from anomaly_app.expressions.compiler import ExpressionCompiler


def _plain(node: n.Node) -> bool:
    """Whether the type of an expression is Flink's to the letter: lengths of texts made by functions are not kept."""
    if isinstance(node, n.Call):
        return node.name in ("ARRAY", "MAP", "ROW") and all(map(_plain, node.args))
    return isinstance(node, (n.ColumnRef, n.Literal, n.Cast, n.Index, n.Field))


def _parts(type_: DataType) -> Iterator[DataType]:
    yield type_
    for part in (type_.key, type_.element, *(field for _, field in type_.fields)):
        if part is not None:
            yield from _parts(part)


def _typeof(compiler: ExpressionCompiler, node: n.Call) -> Code:
    code, *_ = arguments(compiler, node, 1, 2)
    if not _plain(node.args[0]) or any(part.kind is Kind.BYTES for part in _parts(code.type)):
        raise compiler.fail(node.args[0], "TYPEOF is for columns, literals and CASTs, but not for BYTES")
    return Code(repr(str(code.type)), STRING)


FUNCTIONS: Mapping[str, Entry] = {"TYPEOF": _typeof}
