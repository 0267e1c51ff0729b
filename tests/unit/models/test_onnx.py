"""ML_PREDICT with models in ONNX files: the same bits as onnxruntime gives, whatever the batches, NULLs and texts."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnxruntime")
pytest.importorskip("skl2onnx")

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of skl2onnx, about protobuf
    import onnx_models as om

from anomaly_app import Rows, Session, query
from anomaly_app.batch import run_bound
from anomaly_app.errors import DataError, SqlValidationError
from anomaly_app.graph import predict as predict_module
from anomaly_app.jobs.binder import bind_text
from anomaly_app.jobs.task import PartitionTask, QuerySlot, TimeMode
from anomaly_app.models.onnx import OnnxModel, _matrix, _reals
from anomaly_app.rows import batches_of, schema_of

INPUT = "INPUT (amount FLOAT, distance FLOAT, hour FLOAT, code STRING, browser STRING)"
CALL = "LATERAL TABLE(ML_PREDICT('m', amount, distance, hour, code, browser))"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("onnx")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        om.payment_model(folder / "payments.onnx")
        om.matrix_model(folder / "matrix.onnx")
        om.matrix_model(folder / "maps.onnx", zipmap=True)
        om.matrix_model(folder / "one.onnx", batch=1)
        om.matrix_model(folder / "eight.onnx", batch=8)
    yield folder


def with_model(folder: Path, rows: list[Any], output: str = "label INT, probabilities ARRAY<FLOAT>") -> Session:
    session = Session({"t": Rows(columns=om.COLUMNS, rows=rows)})
    session.execute(
        f"CREATE MODEL m {INPUT} OUTPUT ({output}) "
        f"WITH ('provider' = 'onnx', 'task' = 'classification', 'onnx.path' = '{folder}/payments.onnx')"
    )
    return session


# --- the same bits ------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [1, 7, 1_000])
def test_scores_are_those_of_onnxruntime_to_the_bit(folder: Path, batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predict_module, "BATCH_ROWS", batch)
    rows = om.payments(600, seed=2)
    labels, scores = om.session(folder / "payments.onnx").run(None, om.tensors(rows))
    found = with_model(folder, rows).execute(f"SELECT id, label, probabilities FROM t, {CALL}").rows
    assert [row[:2] for row in found] == list(zip(range(600), labels.tolist(), strict=True))
    assert np.array([row[2] for row in found], dtype=np.float32).tobytes() == scores.tobytes()


def test_restarted_between_any_rows_the_scores_are_the_same(folder: Path) -> None:
    rows = om.payments(200, seed=3)
    expected = with_model(folder, rows).execute(f"SELECT id, probabilities FROM t, {CALL}").rows
    sql = f"CREATE MODEL m {INPUT} OUTPUT (label INT, probabilities ARRAY<FLOAT>) WITH ('provider' = 'onnx', "
    sql += f"'onnx.path' = '{folder}/payments.onnx'); SELECT id, probabilities FROM t, {CALL}"
    table = Rows(columns=om.COLUMNS, rows=rows)
    bound = bind_text(sql, {"t": schema_of(table)})
    ((batch, _),) = batches_of(table, bound.tables[0])
    found: list[Any] = []
    checkpoint, entries = None, dict[bytes, bytes]()
    for first in range(0, 200, 33):
        task = PartitionTask([QuerySlot("q", bound.factory.create(bound.layout))], mode=TimeMode.ARRIVAL)
        if checkpoint is not None:
            assert task.restore(checkpoint, entries) == first
        task.process(batch[first : first + 33], end=min(first + 33, 200))
        found += [finding.values for _, finding in task.take().findings]
        checkpoint, changes = task.checkpoint()
        for key, value in changes:
            assert value is not None
            entries[key] = value
    assert found == expected


def test_both_forms_and_their_columns(folder: Path) -> None:
    session = with_model(folder, om.payments(3, nulls=0), "label INT")
    every = session.execute(f"SELECT * FROM t, {CALL}")
    assert [name for name, _ in every.columns] == [*(name for name, _ in om.COLUMNS), "label"]
    args = "amount, distance, hour, code, browser"
    for text in (
        f"ML_PREDICT(TABLE t, MODEL m, DESCRIPTOR({args}))",
        f"TABLE(ML_PREDICT(TABLE t, MODEL m, DESCRIPTOR({args}), MAP['async', 'true', 'timeout', '100s']))",
        f"ML_PREDICT(MODEL => MODEL m$1, ARGS => DESCRIPTOR({args}), INPUT => TABLE t)",
        f"ML_PREDICT((SELECT * FROM t), MODEL `m`, DESCRIPTOR({args}))",
        f"t LEFT JOIN LATERAL TABLE(ML_PREDICT('m', {args}, map['async_enabled', true, 'client_timeout', 30])) ON TRUE",
        f"t CROSS JOIN LATERAL TABLE(ML_PREDICT('`m`', {args}))",
    ):
        assert session.execute(f"SELECT * FROM {text}").rows == every.rows
    renamed = session.execute(f"SELECT p.l, t.id FROM t, LATERAL TABLE(ML_PREDICT('m', {args})) AS p(l)")
    assert renamed.rows == [(row[-1], row[0]) for row in every.rows]
    # A view, a name of WITH and a filter in front and behind.
    session.execute(f"CREATE VIEW scored AS SELECT id, label FROM ML_PREDICT(TABLE t, MODEL m, DESCRIPTOR({args}))")
    assert session.execute("SELECT * FROM scored WHERE id > 0").rows == [(row[0], row[-1]) for row in every.rows[1:]]
    inside = f"WITH w AS (SELECT * FROM t WHERE id > 0) SELECT id FROM ML_PREDICT(TABLE w, MODEL m, DESCRIPTOR({args}))"
    assert session.execute(inside).rows == [(1,), (2,)]


def test_a_column_that_is_there_already_gets_a_number(folder: Path) -> None:
    rows = [(number, *row[1:]) for number, row in enumerate(om.payments(4, nulls=0))]
    columns = [("label", "INT"), *om.COLUMNS[1:]]
    session = with_model(folder, [], "label INT")
    session.add("u", Rows(columns=columns, rows=rows))
    args = "amount, distance, hour, code, browser"
    result = session.execute(f"SELECT * FROM ML_PREDICT(TABLE u, MODEL m, DESCRIPTOR({args}))")
    assert [name for name, _ in result.columns][-1] == "label0"
    assert session.execute(f"SELECT label, label0 FROM u, LATERAL TABLE(ML_PREDICT('m', {args}))").rows == [
        (row[0], row[-1]) for row in result.rows
    ]


def test_predictions_are_grouped_joined_and_matched(folder: Path) -> None:
    columns = [*om.COLUMNS, ("ts", "TIMESTAMP(3)")]
    rows = [(*row, f"2026-01-01 09:00:{row[0] % 60:02}") for row in om.payments(60, nulls=0)]
    session = with_model(folder, [], "label INT")
    session.add("u", Rows(columns=columns, rows=rows, rowtime="ts"))
    scored = f"SELECT id, ts, label FROM u, {CALL}"
    labels = [row[2] for row in session.execute(scored).rows]
    session.execute(f"CREATE VIEW scored AS {scored}")
    counted = session.execute(
        "SELECT SUM(label) AS n FROM TUMBLE(TABLE scored, DESCRIPTOR(ts), INTERVAL '30' SECOND) "
        "GROUP BY window_start, window_end"
    )
    assert counted.rows == [(sum(labels[:30]),), (sum(labels[30:]),)]
    matched = session.execute(
        "SELECT * FROM scored MATCH_RECOGNIZE (ORDER BY ts MEASURES B.id AS id PATTERN (A B) "
        "DEFINE A AS A.label = 0, B AS B.label = 1)"
    )
    expected, number = [], 0
    while number < 59:
        if (labels[number], labels[number + 1]) == (0, 1):
            expected.append((number + 1,))
            number += 2
        else:
            number += 1
    assert matched.rows == expected
    joined = session.execute("SELECT a.id FROM scored a JOIN u b ON a.id = b.id AND a.ts = b.ts WHERE a.label = 1")
    assert sorted(joined.rows) == [(number,) for number, label in enumerate(labels) if label == 1]


# --- graphs of other shapes ---------------------------------------------------------------------------

VECTOR = [("id", "INT"), *((f"x{k}", "DOUBLE") for k in range(4))]
MATRIX = "INPUT (x0 DOUBLE, x1 DOUBLE, x2 DOUBLE, x3 DOUBLE)"


def vectors(count: int) -> list[tuple[Any, ...]]:
    draw = np.random.default_rng(5).normal(size=(count, 4))
    return [(number, *row) for number, row in enumerate(draw.tolist())]


@pytest.mark.parametrize("name", ["matrix", "one"])
def test_one_tensor_takes_the_columns_side_by_side(folder: Path, name: str) -> None:
    rows = vectors(50)
    x = np.array([row[1:] for row in rows], dtype=np.float32)
    labels, scores = om.session(folder / "matrix.onnx").run(None, {"X": x})
    session = Session({"v": Rows(columns=VECTOR, rows=rows)})
    session.execute(
        f"CREATE MODEL m {MATRIX} OUTPUT (kind INT, score FLOAT) WITH ('provider' = 'onnx', "
        f"'onnx.path' = '{folder}/{name}.onnx', 'onnx.output' = 'label, probabilities[1]')"
    )
    found = session.execute("SELECT kind, score FROM v, LATERAL TABLE(ML_PREDICT('m', x0, x1, x2, x3))").rows
    assert [row[0] for row in found] == labels.tolist()
    assert np.array([row[1] for row in found], dtype=np.float32).tobytes() == scores[:, 1].tobytes()


def test_an_array_is_a_row_of_the_tensor_and_maps_are_maps(folder: Path) -> None:
    rows = vectors(20)
    session = Session({"v": Rows(columns=VECTOR, rows=rows)})
    options = f"('provider' = 'onnx', 'onnx.path' = '{folder}/maps.onnx')"
    session.execute(f"CREATE MODEL m INPUT (x ARRAY<FLOAT>) OUTPUT (kind INT, p MAP<INT, DOUBLE>) WITH {options}")
    session.execute(
        f"CREATE MODEL n INPUT (x ARRAY<FLOAT>) OUTPUT (p DOUBLE) "
        f"WITH ('provider' = 'onnx', 'onnx.path' = '{folder}/maps.onnx', 'onnx.output' = 'output_probability[1]')"
    )
    array = "ARRAY[x0, x1, x2, x3]"
    maps = session.execute(f"SELECT p FROM v, LATERAL TABLE(ML_PREDICT('m', {array}))").rows
    ones = session.execute(f"SELECT p FROM v, LATERAL TABLE(ML_PREDICT('n', {array}))").rows
    assert [(entries[1],) for (entries,) in maps] == ones
    assert all(abs(sum(entries.values()) - 1) < 1e-6 for (entries,) in maps)


def test_versions_and_new_files_at_the_same_path(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes((folder / "matrix.onnx").read_bytes())
    session = Session({"v": Rows(columns=VECTOR, rows=vectors(30))})
    create = f"CREATE MODEL m {MATRIX} OUTPUT (label INT) WITH ('provider' = 'onnx', 'onnx.path' = '{path}')"
    session.execute(create)
    ask = "SELECT label FROM v, LATERAL TABLE(ML_PREDICT('{}', x0, x1, x2, x3))"
    before = session.execute(ask.format("m")).rows
    # Another model at the same path is another version only when SQL says so.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        om.matrix_model(path, 4, zipmap=True)
    os.utime(path, ns=(1, 1))
    path.write_bytes(b"no model at all")
    assert session.execute(ask.format("m")).rows == before
    with pytest.raises(SqlValidationError, match="is no model that onnxruntime takes"):
        session.execute(create)
    path.write_bytes((folder / "one.onnx").read_bytes())
    session.execute(create)
    assert session.execute(ask.format("m$2")).rows == before
    with pytest.raises(SqlValidationError, match="model m has no version '3': it has 1, 2"):
        session.execute(ask.format("m$3"))


# --- what does not fit --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("columns", "file", "problem", "marked"),
    [
        ("INPUT (amount FLOAT) OUTPUT (label INT)", "payments", "the graph has an input 'distance' that no column", ""),
        (
            "INPUT (amounts FLOAT, distance FLOAT, hour FLOAT, code STRING, browser STRING) OUTPUT (label INT)",
            "payments",
            "the graph has no input 'amounts': it has 'amount', 'distance'",
            "",
        ),
        (
            INPUT.replace("code STRING", "code FLOAT") + " OUTPUT (label INT)",
            "payments",
            "column 'code' is FLOAT, and the graph wants tensor\\(string\\)",
            "code FLOAT",
        ),
        (
            INPUT.replace("amount FLOAT", "amount STRING") + " OUTPUT (label INT)",
            "payments",
            "column 'amount' is STRING, and the graph wants tensor\\(float\\)",
            "amount STRING",
        ),
        ("INPUT (a FLOAT, b FLOAT) OUTPUT (label INT)", "matrix", "4 values, and INPUT has 2 columns", ""),
        (f"{MATRIX} OUTPUT (label INT)", "eight", "8 rows at once, and rows come one by one", ""),
        (f"{MATRIX} OUTPUT (a INT, b INT, c INT)", "matrix", "OUTPUT has 3 columns, and the graph gives 2", ""),
        (f"{MATRIX} OUTPUT (d DATE)", "matrix", "column 'd': no model gives DATE", ""),
        (f"{MATRIX} OUTPUT (label INT)", "missing", "cannot be read: No such file", "'onnx.path'"),
    ],
)
def test_what_does_not_fit_the_graph_is_told_at_the_start(
    folder: Path, columns: str, file: str, problem: str, marked: str
) -> None:
    sql = f"CREATE MODEL m {columns} WITH ('provider' = 'onnx', 'onnx.path' = '{folder}/{file}.onnx')"
    with pytest.raises(SqlValidationError, match=problem) as failed:
        Session().execute(sql)
    assert sql[failed.value.start :].startswith(marked)


@pytest.mark.parametrize(
    ("call", "problem", "marked"),
    [
        ("ML_PREDICT('n', amount)", "unknown model 'n'", "'n'"),
        ("ML_PREDICT('m', amount, hour)", "2 values, and model m\\$1 takes 5: amount FLOAT", "hour"),
        (
            "ML_PREDICT('m', code, distance, hour, code, browser)",
            "code is STRING, and amount of model m\\$1 is FLOAT: CAST\\(code AS FLOAT\\)",
            "code",
        ),
        (
            "ML_PREDICT('m', amount, distance, hour, code, browser, map['retries', 3])",
            "ML_PREDICT has no option 'retries'",
            "3",
        ),
        (
            "ML_PREDICT('m', amount, distance, hour, code, browser, map['client_timeout', 'soon'])",
            "'client_timeout' must be seconds above 0",
            "'soon'",
        ),
        (
            "ML_PREDICT('m', amount, distance, hour, code, browser, map['client_timeout', hour])",
            "an option must be a constant",
            "hour]",
        ),
    ],
)
def test_calls_that_do_not_fit_are_pointed_at(folder: Path, call: str, problem: str, marked: str) -> None:
    sql = f"SELECT * FROM t, LATERAL TABLE({call})"
    with pytest.raises(SqlValidationError, match=problem) as failed:
        with_model(folder, []).execute(sql)
    assert sql[failed.value.start :].startswith(marked)


def test_rows_that_are_taken_back_are_refused(folder: Path) -> None:
    sql = "SELECT * FROM ML_PREDICT((SELECT id, MAX(amount) AS amount, MAX(distance) AS distance, MAX(hour) AS hour, "
    sql += "MAX(code) AS code, MAX(browser) AS browser FROM t GROUP BY id), MODEL m, "
    sql += "DESCRIPTOR(amount, distance, hour, code, browser))"
    with pytest.raises(SqlValidationError, match="ML_PREDICT needs rows that are not taken back"):
        with_model(folder, []).execute(sql)


def test_a_row_that_the_model_cannot_take_fails_alone(folder: Path) -> None:
    rows = [(1, 5.0, 1.0, 3, "W", ""), (2, 1e300, 1.0, 3, "W", ""), (3, 5.0, 1.0, 3, "W", "")]
    session = with_model(folder, rows, "label INT")
    sql = "SELECT id, label FROM t, LATERAL TABLE(ML_PREDICT('m', 1 / (id - 2), distance, hour, code, browser"
    with pytest.raises(DataError, match="zero"):
        session.execute(f"{sql}))")


def test_errors_give_nulls_if_wanted(tmp_path: Path) -> None:
    columns = [("a", "BIGINT")]
    from onnx import TensorProto, helper

    node = helper.make_node("Add", ["a", "a"], ["b"])
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("a", TensorProto.INT64, [None])],
        [helper.make_tensor_value_info("b", TensorProto.INT64, [None])],
    )
    path = tmp_path / "twice.onnx"
    path.write_bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
    )
    table = {"t": Rows(columns=columns, rows=[(1,), (None,), (3,)])}
    model = "CREATE MODEL m INPUT (a BIGINT) OUTPUT (b BIGINT) WITH ('provider' = 'onnx', "
    model += f"'onnx.path' = '{path}'{{}}); SELECT a, b FROM t, LATERAL TABLE(ML_PREDICT('m', a))"
    with pytest.raises(DataError, match="column 'a' is NULL, and the graph takes tensor\\(int64\\), which has none"):
        query(model.format(""), table)
    assert query(model.format(", 'error_handling' = 'null'"), table).rows == [(1, 2), (None, None), (3, 6)]


def test_a_model_is_loaded_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    loads = []
    real = onnxruntime.InferenceSession

    def counted(*args: Any, **kwargs: Any) -> Any:
        loads.append(args)
        return real(*args, **kwargs)

    monkeypatch.setattr(onnxruntime, "InferenceSession", counted)
    path = folder / "again.onnx"
    path.write_bytes((folder / "matrix.onnx").read_bytes())
    sql = f"CREATE MODEL m {MATRIX} OUTPUT (label INT) WITH ('provider' = 'onnx', 'onnx.path' = '{path}'); "
    sql += "SELECT label FROM v, LATERAL TABLE(ML_PREDICT('m', x0, x1, x2, x3))"
    table = Rows(columns=VECTOR, rows=vectors(3))
    for _ in range(3):
        bound = bind_text(sql, {"v": schema_of(table)})
        run_bound(bound, {"v": table}, sql)
    assert len(loads) == 1
    assert isinstance(bound.factory.node.inputs[0].model.asked, OnnxModel)  # type: ignore[attr-defined]


ODD = [
    1e39,
    -1e39,
    1e-46,
    3.4028235677973366e38,
    math.nan,
    math.inf,
    -0.0,
    0.1,
    16_777_217.0,
    None,
    2**53 + 1,
    -(2**63),
    5,
]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_numbers_become_tensors_as_numpy_makes_them(dtype: Any) -> None:
    with np.errstate(over="ignore"):
        wanted = np.array([math.nan if value is None else float(value) for value in ODD]).astype(dtype)
    rows = [tuple(ODD[place:] + ODD[:place]) for place in range(len(ODD))]
    known = [value for value in ODD if value is not None]
    assert _reals(ODD, dtype).tobytes() == wanted.tobytes()
    assert _matrix(len(ODD), dtype)((), rows)[0].tobytes() == wanted.tobytes()
    assert (
        _matrix(len(known), dtype)((), [tuple(known)] * 2)[1].tobytes() == np.delete(wanted, ODD.index(None)).tobytes()
    )
