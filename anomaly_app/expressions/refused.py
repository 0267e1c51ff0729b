"""What SQL has and this product has not (yet): named as it is called, with the nearest way that works."""

from __future__ import annotations

_WINDOW = "FROM TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '1' HOUR) GROUP BY …, window_start, window_end"

WAYS = {
    "LATERAL": "functions of a row stand in the SELECT list; of table functions there is ML_PREDICT",
    "ORDER BY of values": "rows are ordered by time, ORDER BY ts; with LIMIT n the first rows are by any values",
    "PIVOT": f"SUM(v) FILTER (WHERE kind = 'a') {_WINDOW}",
    "WITH RECURSIVE": "WITH v AS (SELECT …) without RECURSIVE names a query",
    "RANK … OVER": "ROW_NUMBER() numbers rows",
    "DENSE_RANK … OVER": "ROW_NUMBER() numbers rows",
    "LEAD … OVER": "LAG knows the row before, MATCH_RECOGNIZE with NEXT the one behind",
}
"""The nearest way, by clause."""


def refusal(clause: str) -> str:
    """What is wrong with a clause that there is not.

    Example:
        >>> refusal("RANK … OVER")
        'RANK … OVER is not supported: ROW_NUMBER() numbers rows'
        >>> refusal("CREATE FUNCTION")
        'CREATE FUNCTION is not supported'
    """
    way = WAYS.get(clause, "")
    return f"{clause} is not supported" + (f": {way}" if way else "")
