"""MATCH_RECOGNIZE over any relation."""

from __future__ import annotations

from dataclasses import replace

from anomaly_app.errors import SqlValidationError
from anomaly_app.expressions import nodes as n
from anomaly_app.operators import Layout
from anomaly_app.patterns.clause import check_clause
from anomaly_app.patterns.measures import compile_measures
from anomaly_app.plan.analysis.context import Context
from anomaly_app.plan.analysis.relation import Relation
from anomaly_app.plan.nodes import Match, Node
from anomaly_app.plan.scope import Name, Scope
from anomaly_app.sql.row_pattern import MatchRecognize


def matched(context: Context, relation: Relation, clause: MatchRecognize) -> Relation:
    """The matches of a row pattern in the rows of a relation.

    Raises:
        SqlValidationError: the clause means nothing over these columns, or rows may be taken back.
    """
    node, text = relation.node, relation.text
    if node.updating:
        problem = f"MATCH_RECOGNIZE needs rows that are not taken back: {node.updating}"
        raise SqlValidationError(problem, text, *clause.span)
    relation, clause = _with_fields(context, relation, clause)
    node = relation.node
    time = _time(node, relation, clause)
    schema = node.schema(time)
    checked = check_clause(clause, schema, text, context.dialect)
    measures = compile_measures(checked, Layout(schema.columns))
    times = {measure.name: measure.expr.name for measure in clause.measures if isinstance(measure.expr, n.Call)}
    match = Match(
        columns=measures.output,
        rowtimes=frozenset(name for name, call in times.items() if call == "MATCH_ROWTIME" and schema.rowtime),
        proctimes=frozenset(name for name, call in times.items() if call == "MATCH_PROCTIME" and schema.proctime),
        span=clause.span, text=text, input=node, clause=clause, time=time, checked=checked,
    )  # fmt: skip
    qualifiers = frozenset({clause.alias.upper()} if clause.alias else ())
    return Relation(match, tuple(Name(qualifiers, column.name, column) for column in match.columns), text)


def _with_fields(context: Context, relation: Relation, clause: MatchRecognize) -> tuple[Relation, MatchRecognize]:
    """Fields in PARTITION BY and ORDER BY as columns of their own, called as the fields are."""
    scope = context.scope(relation)
    trees = [*clause.partition_by, *(item.expr for item in clause.order_by)]
    fields = [tree for tree in trees if isinstance(tree, n.ColumnRef) and _is_field(tree, scope)]
    if not fields:
        return relation, clause
    called = [tree.parts[-1] for tree in fields]
    relation, names = context.with_columns(relation, fields, called)
    columns = {id(tree): n.ColumnRef(tree.span, (name,)) for tree, name in zip(fields, names, strict=True)}
    partition_by = tuple(columns.get(id(tree), tree) for tree in clause.partition_by)
    order_by = tuple(replace(item, expr=columns.get(id(item.expr), item.expr)) for item in clause.order_by)
    return relation, replace(clause, partition_by=partition_by, order_by=order_by)


def _is_field(tree: n.ColumnRef, scope: Scope) -> bool:
    """Whether a reference goes on behind a column."""
    if len(tree.parts) == 1:
        return False
    return bool(scope.resolve(tree)[1])


def _time(node: Node, relation: Relation, clause: MatchRecognize) -> str | None:
    """The time attribute that ORDER BY begins with, else the first one that there is."""
    attributes = [name for name in node.names if name in node.rowtimes]
    if clause.order_by and isinstance(clause.order_by[0].expr, n.ColumnRef):
        name = clause.order_by[0].expr.parts[-1].lower()
        return next((one for one in attributes if one.lower() == name), attributes[0] if attributes else None)
    return attributes[0] if attributes else None
