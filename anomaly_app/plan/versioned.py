"""``JOIN t FOR SYSTEM_TIME AS OF time``: which join it is, by the time that it is about."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anomaly_app.errors import SqlValidationError
from anomaly_app.expressions import nodes as n
from anomaly_app.expressions.refused import refusal
from anomaly_app.sql.queries import Join, Subquery, TableRef

if TYPE_CHECKING:
    from anomaly_app.plan.analysis import Analyzer, Relation


def joined(analyzer: Analyzer, join: Join, right: TableRef | Subquery, as_of: n.Node, text: str) -> Relation:
    """The rows of a join with a table as it stood at a time of the left side.

    Args:
        analyzer: whose tables.
        join: the whole join.
        right: its right side.
        as_of: the time that it is asked for.
        text: the whole text, for errors.
    """
    raise SqlValidationError(refusal("FOR SYSTEM_TIME AS OF"), text, *as_of.span)


def refuse(item: TableRef | Subquery, text: str) -> None:
    """Raise for a table that is to be read as of a time where it is not the right side of a join."""
    if item.as_of is not None:
        raise SqlValidationError(refusal("FOR SYSTEM_TIME AS OF"), text, *item.as_of.span)
