"""``JOIN t FOR SYSTEM_TIME AS OF time``: which join it is, by the time that it is about."""

from __future__ import annotations

from anomaly_app.errors import SqlValidationError
from anomaly_app.expressions import nodes as n
from anomaly_app.plan.analysis import lookup, temporal_join, windowing
from anomaly_app.plan.analysis.context import Context
from anomaly_app.plan.analysis.relation import Relation
from anomaly_app.sql.queries import Join, Subquery, TableRef


def joined(context: Context, join: Join, right: TableRef | Subquery, as_of: n.Node, text: str) -> Relation:
    """The rows of a join with a table as it stood at a time of the left side.

    Args:
        context: whose tables.
        join: the whole join.
        right: its right side.
        as_of: the time that it is asked for.
        text: the whole text, for errors.

    Raises:
        SqlValidationError: the time is no time attribute of the left side, or the join makes no sense.
    """
    left = context.item(join.left, text)
    if isinstance(as_of, n.Call) and as_of.name == "PROCTIME" and not as_of.args:
        return lookup.looked_up(context, join, left, right, as_of, text)
    if isinstance(as_of, n.ColumnRef):
        column, fields = context.scope(left).resolve(as_of)
        if not fields and column.name in left.node.proctimes:
            return lookup.looked_up(context, join, left, right, as_of, text)
        if not fields and column.name in left.node.rowtimes:
            return temporal_join.temporally_joined(context, join, left, right, column.name, text)
    times = [name for name in left.node.names if name in left.node.proctimes | left.node.rowtimes]
    have = f"here {' or '.join(times)}" if times else windowing.why_no_time(left.node)
    problem = (
        f"FOR SYSTEM_TIME AS OF needs a time attribute of the left side, {have}; PROCTIME() is about the latest rows"
    )
    raise SqlValidationError(problem, text, *as_of.span)


def refuse(item: TableRef | Subquery, text: str) -> None:
    """Raise for a table that is to be read as of a time where it is not the right side of a join."""
    if item.as_of is not None:
        problem = (
            "FOR SYSTEM_TIME AS OF stands behind the table on the right of a JOIN, as in FROM o JOIN t FOR SYSTEM_TIME "
            "AS OF o.ts ON o.k = t.k"
        )
        raise SqlValidationError(problem, text, *item.as_of.span)
