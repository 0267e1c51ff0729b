"""Windows of the older form: GROUP BY TUMBLE(ts, INTERVAL '5' MINUTE), and TUMBLE_START and its like."""

from __future__ import annotations

import re
from collections.abc import Sequence

from anomaly_app.errors import SqlValidationError
from anomaly_app.expressions import nodes as n
from anomaly_app.plan.analysis.context import Context
from anomaly_app.plan.analysis.relation import Relation
from anomaly_app.plan.analysis.windowing import assigned
from anomaly_app.schema import Kind
from anomaly_app.sql.queries import Select
from anomaly_app.sql.windows import WindowFunction

_KINDS = ("TUMBLE", "HOP", "SESSION")
_EDGE = re.compile("(TUMBLE|HOP|SESSION)_(START|END|ROWTIME|PROCTIME)")
_PLACES = {"START": 0, "END": 1, "ROWTIME": 2, "PROCTIME": 2}
_INTERVALS = (Kind.INTERVAL_DAY, Kind.INTERVAL_YEAR)


def is_old_window(node: n.Node) -> bool:
    """Whether an expression is a window of the older form, ``GROUP BY TUMBLE(ts, INTERVAL '5' MINUTE)``."""
    return isinstance(node, n.Call) and node.name in _KINDS


def is_old_edge(node: n.Node) -> bool:
    """Whether an expression is an edge of such a window, ``TUMBLE_START(ts, INTERVAL '5' MINUTE)``."""
    return isinstance(node, n.Call) and _EDGE.fullmatch(node.name) is not None


def with_old_window(context: Context, select: Select, relation: Relation, windows: Sequence[n.Node]) -> Relation:
    """A relation with the windows that a table function would have given it.

    Args:
        context: whose query it is.
        select: the query.
        relation: what it is about.
        windows: those in its GROUP BY.

    Raises:
        SqlValidationError: there are two, one is in FROM, too, or the call is not complete.
    """
    if not windows:
        return relation
    if len(windows) > 1:
        raise _fail(windows[1], "GROUP BY has two windows", relation.text)
    if select.window is not None:
        problem = "there is a window in FROM already: GROUP BY window_start, window_end"
        raise _fail(windows[0], problem, relation.text)
    (item,) = windows
    assert isinstance(item, n.Call)
    lengths = {"TUMBLE": "a size", "HOP": "a slide and a size", "SESSION": "a gap"}[item.name]
    count = 3 if item.name == "HOP" else 2
    time, *given = item.args or (item,)
    intervals = [arg for arg in given if isinstance(arg, n.Literal) and arg.type.kind in _INTERVALS]
    if not isinstance(time, n.ColumnRef) or len(item.args) != count or len(intervals) != count - 1:
        problem = f"{item.name} in GROUP BY takes the time attribute and {lengths} as intervals"
        raise _fail(item, problem, relation.text)
    step = intervals[0] if item.name == "HOP" else None
    function = WindowFunction(item.span, item.name, time, intervals[-1], step, in_group_by=True)
    return assigned(context, relation, function)


def old_edge(call: n.Call, windows: Sequence[n.Node], text: str) -> int:
    """Which edge of the window of GROUP BY a call is: 0 its start, 1 its end, 2 its time.

    Args:
        call: the call.
        windows: those in GROUP BY.
        text: the whole text.

    Raises:
        SqlValidationError: there is no such window in GROUP BY.
    """
    found = _EDGE.fullmatch(call.name)
    assert found is not None
    if not windows:
        edge = {"START": "start", "END": "end"}.get(found[2], "time")
        raise _fail(call, f"{call.name} needs {found[1]} in GROUP BY; here it is window_{edge}", text)
    (grouped,) = windows
    assert isinstance(grouped, n.Call)
    if found[1] != grouped.name or n.shape(call.args) != n.shape(grouped.args):
        written = text[slice(*grouped.span)]
        raise _fail(call, f"{call.name} must have the arguments of {written} in GROUP BY", text)
    return _PLACES[found[2]]


def _fail(node: n.Node, problem: str, text: str) -> SqlValidationError:
    return SqlValidationError(problem, text, *node.span)
