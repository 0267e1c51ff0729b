"""Where a plan is cut, and where it is not."""

from __future__ import annotations

import pytest

from anomaly_app.jobs.binder import bind_job, bind_text
from anomaly_app.plan.explain import explain_plan, explain_text
from anomaly_app.schema import Column, Schema
from anomaly_app.sql import parse_type
from tests.support.onnx_models import matrix_model

COLUMNS = [("id", "INT"), ("store", "STRING"), ("region", "STRING"), ("v", "INT"), ("ts", "TIMESTAMP(3)")]
TABLES = {
    name: Schema(tuple(Column(column, parse_type(type_)) for column, type_ in COLUMNS), "ts", 1_000)
    for name in ("a", "b")
}
SUMS = """(SELECT {keys}, window_time AS t, SUM(v) AS v FROM TABLE(TUMBLE(TABLE {table}, DESCRIPTOR(ts),
    INTERVAL '1' MINUTE)) GROUP BY {keys}, window_start, window_end, window_time)"""
BY_STORE = SUMS.format(keys="store, region", table="a")
RISES = "MATCH_RECOGNIZE (PARTITION BY {} ORDER BY {} MEASURES A.v AS x PATTERN (A B) DEFINE B AS B.v > A.v)"
PAIRS = """(SELECT a.store, a.ts, b.v FROM a JOIN b ON a.id = b.id
    AND b.ts BETWEEN a.ts AND a.ts + INTERVAL '1' MINUTE)"""

BY_ROW = """(SELECT a.id, a.store, b.region, b.v, a.ts FROM a JOIN b ON a.id = b.id
    AND b.ts BETWEEN a.ts AND a.ts + INTERVAL '1' MINUTE)"""


def cut(sql: str) -> list[list[tuple[str, ...] | None]]:
    """By what the tables, or rows, of each fragment are keyed."""
    return [list(part.spread) for part in bind_text(sql, TABLES).factory.fragments()]


@pytest.mark.parametrize(
    ("sql", "keys"),
    [
        (f"SELECT * FROM {BY_STORE} {RISES.format('store', 't')}", [[("store",)]]),
        (f"SELECT * FROM {SUMS.format(keys='store', table='a')} {RISES.format('v', 't')}", [[("store",)], [("v",)]]),
        (f"SELECT * FROM {PAIRS} {RISES.format('store', 'ts')}", [[("id",), ("id",)], [("store",)]]),
        # What is filtered and projected goes with the rows, not behind them; a key may be made there.
        (
            f"SELECT * FROM (SELECT UPPER(store) AS u, ts, v FROM {PAIRS} WHERE v > 3) {RISES.format('u', 'ts')}",
            [[("id",), ("id",)], [("u",)]],
        ),
        # Rows of a fragment meet those of a table.
        (
            f"SELECT c.v, b.region FROM {SUMS.format(keys='store', table='a')} c JOIN b ON c.v = b.v"
            " AND b.ts BETWEEN c.t AND c.t + INTERVAL '1' MINUTE",
            [[("store",)], [("v",), ("v",)]],
        ),
        # Nothing keys it: no cut would help.
        (f"SELECT * FROM {BY_STORE} ORDER BY t", [[()]]),
        # Rows may be taken back.
        ("SELECT n, COUNT(*) FROM (SELECT store, COUNT(*) AS n FROM a GROUP BY store) GROUP BY n", [[()]]),
    ],
)
def test_where_a_plan_is_cut(sql: str, keys: list[list[tuple[str, ...] | None]]) -> None:
    assert cut(sql) == keys


def test_a_fragment_reads_and_gives_only_what_is_read_of_it() -> None:
    sql = f"SELECT * FROM (SELECT id, UPPER(store) AS u, region, v, ts FROM {BY_ROW}) {RISES.format('u', 'ts')}"
    below, above = bind_text(sql, TABLES).factory.fragments()
    assert list(below.node.names) == ["u", "v", "ts"]
    assert {table: set(names) for table, names in below.physical.reads.items()} == {
        "a": {"id", "store", "ts"}, "b": {"id", "v"}
    }  # fmt: skip
    assert [set(names) for names in above.physical.reads.values()] == [{"u", "v", "ts"}]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Two models of the same columns: one in a file, one at an address."""
    path = matrix_model(tmp_path_factory.mktemp("models") / "m.onnx", 2)
    columns = "INPUT (v FLOAT, w FLOAT) OUTPUT (label INT, score DOUBLE) WITH ("
    output = "'onnx.output' = 'label, probabilities[1]'"
    return (
        f"CREATE MODEL here {columns} 'provider' = 'onnx', 'onnx.path' = '{path}', {output}); "
        f"CREATE MODEL there {columns} 'provider' = 'azureml', 'endpoint' = 'http://x:1/score'); "
    )


SCORED = """(SELECT store, ts, score FROM (SELECT a.id, a.store, b.v, a.v AS w, a.ts FROM a JOIN b ON a.id = b.id
    AND b.ts BETWEEN a.ts AND a.ts + INTERVAL '1' MINUTE), LATERAL TABLE(ML_PREDICT('{}', v, w)))"""
SCORES_RISE = RISES.replace("v", "score")


def test_few_columns_stay_behind_a_model_in_a_file_and_so_it_is_asked_in_front_of_the_exchange(models: str) -> None:
    sql = f"{models} SELECT * FROM {SCORED.format('here')} {SCORES_RISE.format('store', 'ts')}"
    below, above = bind_text(sql, TABLES).factory.fragments()
    assert [model.title for model in below.models] == ["here$1"] and not above.models
    assert list(below.node.names) == ["store", "ts", "score"]


def test_a_model_at_an_address_is_asked_behind_the_last_exchange_or_nothing_is_cut(models: str) -> None:
    sql = f"{models} SELECT * FROM {SCORED.format('there')} {SCORES_RISE.format('store', 'ts')}"
    below, above = bind_text(sql, TABLES).factory.fragments()
    assert [model.title for model in above.models] == ["there$1"] and not below.models
    assert set(below.node.names) == {"store", "v", "w", "ts"}
    in_front = SCORED.format("there").replace("FROM a JOIN", "FROM (SELECT id, store, v, ts FROM (SELECT id, store, "
        "v, ts FROM a), LATERAL TABLE(ML_PREDICT('there', v, v))) a JOIN")  # fmt: skip
    parts = bind_text(f"{models} SELECT * FROM {in_front} {SCORES_RISE.format('store', 'ts')}", TABLES)
    assert len(parts.factory.fragments()) == 1


def test_explain_shows_the_fragments() -> None:
    factory = bind_text(f"SELECT * FROM {PAIRS} {RISES.format('store', 'ts')}", TABLES).factory
    plan, text = explain_plan(factory), explain_text(factory)
    assert plan["fragments"] == 2
    assert [one["distributed_by"] for part in plan["parts"] for one in part["reads"]] == [["id"], ["id"], ["store"]]
    assert (
        "== Operators: fragment 1 of 2, source 1: rows of a spread by id; source 2: rows of b spread by id ==" in text
    )
    assert "== Operators: fragment 2 of 2, rows of fragment 1 spread by store ==" in text


@pytest.mark.parametrize(("partitions", "plans"), [({}, 2), ({"a": 4, "b": 1}, 2), ({"a": 1, "b": 1}, 1)])
def test_topics_of_one_partition_need_no_fragments(partitions: dict[str, int], plans: int) -> None:
    columns = ", ".join(f"{name} {type_}" for name, type_ in COLUMNS)
    tables = "".join(
        f"CREATE TABLE {name} ({columns}, WATERMARK FOR ts AS ts) WITH ('connector' = 'kafka', 'topic' = '{name}', "
        "'properties.bootstrap.servers' = 'x:1', 'format' = 'json');"
        for name in TABLES
    )
    sql = f"{tables} SELECT * FROM {PAIRS} {RISES.format('store', 'ts')}"
    assert len(bind_job(sql, name="job", partitions=partitions).plans) == plans
