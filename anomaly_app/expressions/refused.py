"""What SQL has and this product has not (yet): named as it is called, with the nearest way that works."""

from __future__ import annotations

_WINDOW = "FROM TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '1' HOUR) GROUP BY …, window_start, window_end"
_PATTERN = "MEASURES A.v AS v1, B.v AS v2 AFTER MATCH SKIP TO NEXT ROW PATTERN (A B)"
_JOIN = (
    "values of a small table are listed, as in IN ('a', 'b') or MAP['a', 1, 'b', 2][k]; rows of two streams go to one "
    "topic, with a column that tells them apart for MATCH_RECOGNIZE"
)
_QUERY_AROUND = "a query around it takes the rows, as in SELECT … FROM (SELECT …) WHERE …"

WAYS = {
    "JOIN": _JOIN,
    "CROSS JOIN UNNEST": "name the elements, as in items[1]",
    "LATERAL": "functions of a row stand in the SELECT list",
    "UNION ALL": "each branch is an INSERT INTO … SELECT of its own into the same table",
    "UNION": "each branch is an INSERT INTO … SELECT of its own into the same table, where equal rows stay",
    "INTERSECT": "one query with both conditions in WHERE",
    "EXCEPT": "one query with WHERE … AND NOT (…)",
    "SELECT DISTINCT": f"a window gives each once, SELECT … {_WINDOW}",
    "IN (SELECT …)": "list the values, as in IN ('a', 'b')",
    "EXISTS (SELECT …)": "list the values, as in IN ('a', 'b')",
    "a subquery as a value": "write the value, or compute it in a query in FROM: SELECT … FROM (SELECT …)",
    "ORDER BY of a query": "rows come as they arrive, windows and matches in order of their ends",
    "LIMIT": "a stream goes on: stop where you read its rows",
    "OFFSET": "a stream goes on: skip where you read its rows",
    "FETCH": "a stream goes on: stop where you read its rows",
    "WINDOW": "write the window behind each OVER",
    "NULLS FIRST or LAST": "NULLs are filtered in WHERE",
    "QUALIFY": _QUERY_AROUND,
    "PIVOT": f"SUM(v) FILTER (WHERE kind = 'a') {_WINDOW}",
    "GROUPING SETS": "write a query for each set of keys",
    "ROLLUP": "write a query for each set of keys",
    "CUBE": "write a query for each set of keys",
    "CREATE VIEW": "name the query in front of the one that reads it, WITH v AS (SELECT …) SELECT … FROM v",
    "INSERT … VALUES": "insert a query",
    "VALUES as a table": "write the rows to the topic of a table",
    "WITH RECURSIVE": "WITH v AS (SELECT …) without RECURSIVE names a query",
    "MATCH_RECOGNIZE over a subquery": (
        "name the table in front of it; a filter goes into DEFINE, with a variable X* for the rows between"
    ),
}
"""The nearest way, by clause."""

_RANKS = ("ROW_NUMBER", "RANK", "DENSE_RANK", "PERCENT_RANK", "CUME_DIST", "NTILE")
_NEIGHBOURS = ("LAG", "LEAD")


def refusal(clause: str) -> str:
    """What is wrong with a clause that there is not.

    Example:
        >>> refusal("INTERSECT")
        'INTERSECT is not supported: one query with both conditions in WHERE'
        >>> refusal("LEFT JOIN").partition(" or MAP")[0]
        "LEFT JOIN is not supported: values of a small table are listed, as in IN ('a', 'b')"
        >>> refusal("CREATE FUNCTION")
        'CREATE FUNCTION is not supported'
    """
    way = WAYS.get(clause) or (WAYS["JOIN"] if clause.endswith("JOIN") else "")
    return f"{clause} is not supported" + (f": {way}" if way else "")


def over_refusal(name: str, *, aggregate: bool) -> str:
    """What is wrong with OVER behind a function that is no detector; "" if nothing is known of it.

    Args:
        name: of the function, upper case.
        aggregate: it is one.

    Example:
        >>> over_refusal("LAG", aggregate=False).partition(",")[0]
        'LAG … OVER is not supported: MATCH_RECOGNIZE knows the neighbours of a row'
        >>> over_refusal("ABS", aggregate=False)
        ''
    """
    if name in _NEIGHBOURS:
        way = f"MATCH_RECOGNIZE knows the neighbours of a row, {_PATTERN}"
    elif name in _RANKS:
        way = (
            "to drop duplicates or to find the greatest, a window gives FIRST_VALUE(v) and MAX(v) of each key, "
            f"SELECT … {_WINDOW}"
        )
    elif aggregate:
        way = (
            f"a window that moves on gives {name} of the last 30 seconds, FROM HOP(TABLE t, DESCRIPTOR(ts), "
            "INTERVAL '1' SECOND, INTERVAL '30' SECOND) GROUP BY …, window_start, window_end; a condition on a row and "
            "those before it is a pattern (MATCH_RECOGNIZE)"
        )
    else:
        return ""
    return f"{name} … OVER is not supported: {way}"
