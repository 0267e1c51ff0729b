"""EXPLAIN: the tree, what follows for each node, and the graph."""

from __future__ import annotations

import pytest

from anomaly_app import Rows, Session
from anomaly_app.jobs.binder import bind_text
from anomaly_app.plan.explain import explain_plan, explain_text
from anomaly_app.schema import INT, STRING, TIMESTAMP_3, Column, Schema

T = Schema((Column("k", STRING), Column("v", INT), Column("ts", TIMESTAMP_3)), "ts", 1_000)
WINDOW = "TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '1' HOUR)"


def _plan(sql: str) -> dict:
    return explain_plan(bind_text(sql, {"t": T}).factory)


def _node(sql: str, kind: str) -> dict:
    return next(node for node in _plan(sql)["nodes"] if node["node"] == kind)


def test_the_tree_of_a_chain() -> None:
    text = explain_text(bind_text("SELECT k, v + 1 AS more FROM t WHERE v > 3", {"t": T}).factory)
    assert text.startswith(
        "== Logical plan ==\n[1] Project k, more\n  [2] Filter v > 3\n    [3] Scan t, watermark ts - 1000 ms\n\n"
    )
    assert "== Operators: one fragment, rows spread in any way ==" in text


def test_a_node_that_is_read_twice_is_told_once() -> None:
    sql = "CREATE VIEW w AS SELECT k, v FROM t WHERE v > 1; SELECT k FROM w UNION ALL SELECT k FROM w"
    plan = _plan(sql)
    assert len([node for node in plan["nodes"] if node["node"] == "Scan"]) == 1
    text = explain_text(bind_text(sql, {"t": T}).factory)
    assert text.count("(as above)") == 1


def test_the_operators_are_those_of_the_graph() -> None:
    factory = bind_text(f"SELECT k, COUNT(*) AS n FROM {WINDOW} GROUP BY k, window_start, window_end", {"t": T}).factory
    plan = explain_plan(factory)
    assert [one["name"] for one in plan["operators"]] == [vertex.name for vertex in factory.physical.graph.vertices]
    assert plan["operators"][0]["inputs"] == ["source 1"] and plan["fragments"] == 1


@pytest.mark.parametrize(
    ("sql", "kind", "facts"),
    [
        ("SELECT ts, v FROM t", "Calc", {"rowtimes": ["ts"], "state": "none", "distributed_by": None}),
        ("SELECT CAST(ts AS TIMESTAMP(0)) AS ts FROM t", "Calc", {"rowtimes": []}),
        (
            f"SELECT k, COUNT(*) AS n, window_end FROM {WINDOW} GROUP BY k, window_start, window_end",
            "Calc",
            {"unique": ["k", "window_end"]},
        ),
        (f"SELECT k, COUNT(*) AS n FROM {WINDOW} GROUP BY k, window_start, window_end", "Calc", {"unique": []}),
        (
            f"SELECT k, COUNT(*) AS n FROM {WINDOW} GROUP BY k, window_start, window_end",
            "WindowAggregate",
            {"distributed_by": ["k"], "growth": "bounded by keys times open windows"},
        ),
        (
            "SELECT COUNT(*) OVER (PARTITION BY k ORDER BY ts) AS n FROM t",
            "Over",
            {"state": "an accumulator for each key", "growth": "grows with the keys; kept for ever"},
        ),
        (
            "SET 'table.exec.state.ttl' = '1 d'; SELECT COUNT(*) OVER (PARTITION BY k ORDER BY ts) AS n FROM t",
            "Over",
            {"growth": "grows with the keys; dropped after 1 day without rows of the key"},
        ),
        (
            "SELECT COUNT(*) OVER (ORDER BY ts ROWS BETWEEN 3 PRECEDING AND CURRENT ROW) AS n FROM t",
            "Over",
            {"state": "the last 3 rows of each key", "distributed_by": []},
        ),
        (
            "SELECT * FROM t MATCH_RECOGNIZE (PARTITION BY k ORDER BY ts MEASURES A.v AS v "
            "PATTERN (A B) DEFINE A AS v > 1)",
            "Match",
            {"growth": "an open match is kept for ever: WITHIN bounds it", "distributed_by": ["k"]},
        ),
        (
            "SELECT * FROM t MATCH_RECOGNIZE (PARTITION BY k ORDER BY ts MEASURES A.v AS v "
            "PATTERN (A B) WITHIN INTERVAL '1' HOUR DEFINE A AS v > 1)",
            "Match",
            {"growth": "bounded by WITHIN"},
        ),
    ],
)
def test_what_follows(sql: str, kind: str, facts: dict) -> None:
    node = _node(sql, kind)
    assert {name: node[name] for name in facts} == facts


def test_rows_without_a_common_key_are_in_one_place() -> None:
    session = Session({"t": Rows([("k", "STRING"), ("ts", "TIMESTAMP(3)")], [], rowtime="ts")})
    ((text,),) = session.execute("EXPLAIN SELECT COUNT(*) OVER (ORDER BY ts) AS n FROM t").rows
    assert "== Operators: one fragment, all rows in one place ==" in text
    assert "keyed by nothing: all rows in one place" in text
