"""CROSS JOIN UNNEST and LEFT JOIN UNNEST."""

from __future__ import annotations

from dataclasses import replace

from anomaly_app.errors import SqlValidationError
from anomaly_app.expressions import nodes as n
from anomaly_app.plan.analysis.context import Context
from anomaly_app.plan.analysis.relation import Relation
from anomaly_app.plan.nodes import UnnestRows
from anomaly_app.plan.scope import Name, free_name
from anomaly_app.schema import Column, DataType, Kind
from anomaly_app.sql.queries import Join, Unnest


def unnested(context: Context, join: Join, text: str) -> Relation:
    """A relation whose rows come once for each element of one of their arrays or maps.

    Raises:
        SqlValidationError: the value has no elements, or the join is of another kind.
    """
    unnest = join.right
    assert isinstance(unnest, Unnest)
    if join.kind not in ("CROSS", "INNER", "LEFT"):
        raise SqlValidationError(
            f"{join.kind} JOIN UNNEST is not possible: use CROSS JOIN or LEFT JOIN", text, *join.span
        )
    condition = join.condition
    if join.using or join.natural or not (condition is None or _is_true(condition)):
        raise SqlValidationError("UNNEST takes ON TRUE only: put conditions into WHERE", text, *unnest.span)
    relation = context.item(join.left, text)
    scope, node = context.scope(relation), relation.node
    value = scope.expression(unnest.expr)
    columns, spread, pairs = _columns(value.type, unnest, text)
    if unnest.ordinality:
        columns.append(Column("ORDINALITY", DataType(Kind.INT, nullable=False)))
    if unnest.columns:
        if len(unnest.columns) != len(columns):
            problem = f"{len(unnest.columns)} names for {len(columns)} columns ({', '.join(c.name for c in columns)})"
            raise SqlValidationError(problem, text, *unnest.span)
        columns = [replace(c, name=name) for c, name in zip(columns, unnest.columns, strict=True)]
    outer = join.kind == "LEFT"
    if outer:
        columns = [replace(column, type=column.type.with_nullable(True)) for column in columns]
    taken = list(node.names)
    own: list[Column] = []
    for column in columns:
        own.append(replace(column, name=free_name(column.name, taken)))
        taken.append(own[-1].name)
    rows = UnnestRows(
        columns=(*node.columns, *own), rowtimes=node.rowtimes, proctimes=node.proctimes, updating=node.updating,
        window=node.window, span=unnest.span, text=text, input=node, value=value,
        width=len(own) - unnest.ordinality, spread=spread, pairs=pairs, ordinality=unnest.ordinality, outer=outer,
    )  # fmt: skip
    qualifiers = frozenset({unnest.alias.upper()} if unnest.alias else ())
    visible = (Name(qualifiers, column.name, one) for column, one in zip(columns, own, strict=True))
    return replace(relation, node=rows, names=(*relation.names, *visible))


def _columns(type_: DataType, unnest: Unnest, text: str) -> tuple[list[Column], bool, bool]:
    """Columns of an element, whether it is a ROW that they are fields of, and whether it is an entry of a map."""
    if type_.kind is Kind.MAP and type_.key is not None and type_.element is not None:
        return [Column("KEY", type_.key), Column("VALUE", type_.element)], False, True
    if type_.kind is not Kind.ARRAY or type_.element is None:
        shown = type_.with_nullable(True)
        raise SqlValidationError(f"UNNEST takes an ARRAY or a MAP, not {shown}", text, *unnest.expr.span)
    element = type_.element
    if element.kind is not Kind.ROW:
        return [Column("EXPR$0", element)], False, False
    fields = [Column(name, t.with_nullable(t.nullable or element.nullable)) for name, t in element.fields]
    return fields, True, False


def _is_true(node: n.Node) -> bool:
    return isinstance(node, n.Literal) and node.value is True
