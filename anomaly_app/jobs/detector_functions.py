"""The detector functions that SQL knows, by name."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from anomaly_app.expressions import nodes as n
from anomaly_app.expressions.aggregates import AGGREGATES
from anomaly_app.expressions.functions import FUNCTIONS
from anomaly_app.expressions.refused import over_refusal
from anomaly_app.sql.statements import Select

if TYPE_CHECKING:
    from anomaly_app.detectors import DetectorFunction

PACKAGES = ("anomaly_app.forecasting", "anomaly_app.multivariate", "anomaly_app.scoring")
"""Each has its functions as ``FUNCTIONS`` in a module ``functions``."""

USE = "OVER ([PARTITION BY …] ORDER BY rowtime RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)"


@functools.cache
def functions() -> Mapping[str, DetectorFunction]:
    """All detector functions by name; the packages are read when a query first needs to know them.

    Raises:
        ValueError: two packages give the same name another meaning.
    """
    known: dict[str, DetectorFunction] = {}
    for package in PACKAGES:
        for function in importlib.import_module(f"{package}.functions").FUNCTIONS:
            if function.name in known:
                raise ValueError(f"there are two detector functions {function.name}")
            known[function.name] = function
    return known


def calls_with_over(select: Select) -> Iterator[n.Call]:
    """Calls with OVER in a SELECT list, but not those inside of others, nor those of a subquery.

    Example:
        >>> from anomaly_app.sql import parse_statements
        >>> (select,) = parse_statements("SELECT a, F(G(b) OVER (ORDER BY c)) + 1 FROM t")
        >>> [call.name for call in calls_with_over(select)]
        ['G']
    """

    def find(node: n.Node) -> Iterator[n.Call]:
        if isinstance(node, n.Call) and node.over is not None:
            yield node
            return
        for child in n.children(node):
            yield from find(child)

    for item in select.items:
        yield from find(item.expr)


def has_detectors(select: Select) -> bool:
    """Whether a query, or a subquery of it, has a call with OVER in its SELECT list."""
    return any(any(True for _ in calls_with_over(level)) for level in select.levels)


def misplaced(node: n.Call) -> str:
    """What is wrong with a call that stands where no detector can: "" if it needs none and has no OVER.

    Example:
        >>> from anomaly_app.expressions.parser import parse_expression
        >>> misplaced(parse_expression("UPPER(a)"))
        ''
        >>> misplaced(parse_expression("AVG(a) OVER (ORDER BY ts)"))  # doctest: +ELLIPSIS
        "AVG … OVER is not supported: a window that moves on gives AVG of the last 30 seconds, ..."
    """
    if node.over is None:
        if node.name in FUNCTIONS or node.name in AGGREGATES or node.name not in functions():
            return ""
        return f"{node.name} is a detector: it needs {USE}"
    if node.name in functions():
        return (
            f"{node.name} … OVER may stand in the SELECT list only, and not inside another detector: "
            "name it there, and use the name in a query around, as in SELECT … FROM (SELECT …, … AS r FROM t) WHERE …"
        )
    return no_detector(node)


def no_detector(node: n.Call) -> str:
    """What is wrong with OVER behind a function that is no detector."""
    refused = over_refusal(node.name, aggregate=node.name in AGGREGATES)
    if refused:
        return refused
    names = ", ".join(sorted(functions()))
    return f"{node.name} … OVER is not supported: OVER is for detectors" + (f" ({names})" if names else "")
