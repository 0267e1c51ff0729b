"""ML_EVALUATE: a row of numbers for each version, the same as scikit-learn's."""

from __future__ import annotations

import random
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from sklearn import metrics

pytest.importorskip("onnxruntime")
pytest.importorskip("skl2onnx")

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of skl2onnx, about protobuf
    import onnx_models as om
from model_thread import ModelThread

from anomaly_app import Rows, Session
from anomaly_app.errors import SqlError
from anomaly_app.jobs.binder import bind_job
from anomaly_app.models.judge import area_under_curve, classification, regression

ARGS = "amount, distance, hour, code, browser"


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    folder = tmp_path_factory.mktemp("evaluate")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for version, trees in ((1, 5), (2, 60)):
            om.payment_model(folder / f"{version}.onnx", trees)
    rows = [(*row, int((row[1] or 0) > 60 and row[4] != "W")) for row in om.payments(500, seed=9)]
    session = Session({"t": Rows(columns=[*om.COLUMNS, ("label", "INT")], rows=rows)})
    for version in (1, 2):
        session.execute(
            "CREATE MODEL m INPUT (amount FLOAT, distance FLOAT, hour FLOAT, code STRING, browser STRING) "
            "OUTPUT (kind INT, p FLOAT) WITH ('provider' = 'onnx', 'task' = 'classification', "
            f"'onnx.path' = '{folder}/{version}.onnx', 'onnx.output' = 'label, probabilities[1]')"
        )
    yield session


def test_every_version_is_judged_as_scikit_learn_does(session: Session) -> None:
    result = session.execute(f"SELECT ML_EVALUATE('m$all', label, {ARGS}) FROM t")
    assert [name for name, _ in result.columns] == [
        "version", "rows", "failed", "accuracy", "precision", "recall", "f1", "auc",
    ]  # fmt: skip
    assert [row[:3] for row in result.rows] == [(1, 500, 0), (2, 500, 0)]
    for version, row in enumerate(result.rows, 1):
        found = session.execute(f"SELECT label, kind, p FROM t, LATERAL TABLE(ML_PREDICT('m${version}', {ARGS}))").rows
        labels, kinds, scores = zip(*found, strict=True)
        expected = (
            metrics.accuracy_score(labels, kinds), metrics.precision_score(labels, kinds),
            metrics.recall_score(labels, kinds), metrics.f1_score(labels, kinds), metrics.roc_auc_score(labels, scores),
        )  # fmt: skip
        assert row[3:] == pytest.approx(expected, abs=1e-12)
    assert result.rows[0] != result.rows[1]


def test_one_version_and_some_rows(session: Session) -> None:
    (one,) = session.execute(f"SELECT ML_EVALUATE('m$2', label, {ARGS}) FROM t WHERE id < 100").rows
    assert one[:2] == (2, 100)
    (default,) = session.execute(f"SELECT ML_EVALUATE(m, label, {ARGS}) FROM (SELECT * FROM t WHERE id < 100)").rows
    assert default[0] == 1


def test_no_rows_have_no_numbers(session: Session) -> None:
    sql = f"SELECT ML_EVALUATE('m', label, {ARGS}) FROM t WHERE id < 0"
    assert session.execute(sql).rows == [(1, 0, 0, None, None, None, None, None)]


def test_a_regression_behind_an_address_and_rows_on_which_it_fails() -> None:
    def score(columns: Any, rows: Any) -> list[Any]:
        return ["?" if a == 3 else a + 0.5 for (a,) in rows]

    rows = [(a, float(a)) for a in range(6)]
    with ModelThread(score) as server:
        session = Session({"t": Rows(columns=[("a", "INT"), ("y", "DOUBLE")], rows=rows)})
        session.execute(
            "CREATE MODEL m INPUT (a INT) OUTPUT (y DOUBLE) WITH ('provider' = 'azureml', 'task' = 'regression', "
            f"'endpoint' = '{server.url}')"
        )
        result = session.execute("SELECT ML_EVALUATE('m', y, a, map['retry_count', 0]) FROM t")
        assert [name for name, _ in result.columns][3:] == ["rmse", "mae", "r2"]
        (found,) = result.rows
        labels = [0.0, 1.0, 2.0, 4.0, 5.0]
        expected_r2 = metrics.r2_score(labels, [label + 0.5 for label in labels])
        assert found == (1, 5, 1, 0.5, 0.5, pytest.approx(expected_r2))


@pytest.mark.parametrize(
    ("sql", "problem"),
    [
        ("SELECT ML_EVALUATE('n', label, amount) FROM t", "unknown model 'n'"),
        (f"SELECT id, ML_EVALUATE('m', label, {ARGS}) FROM t", "stands alone in the SELECT list"),
        (f"SELECT ML_EVALUATE('m', label, {ARGS}) FROM t GROUP BY id", "stands alone in the SELECT list"),
        ("SELECT ML_EVALUATE('m', label, amount) FROM t", "1 value, and model m\\$1 takes 5"),
        ("SELECT ML_EVALUATE('m') FROM t", "takes a model, what is true"),
    ],
)
def test_wrong_evaluations(session: Session, sql: str, problem: str) -> None:
    with pytest.raises(SqlError, match=problem):
        session.execute(sql)


def test_a_job_does_not_end_and_judges_nothing() -> None:
    sql = "CREATE TABLE t (a INT, y INT) WITH ('connector' = 'kafka', 'topic' = 't', 'format' = 'json'); "
    sql += "CREATE MODEL m INPUT (a INT) OUTPUT (y INT) WITH ('provider' = 'rest', 'endpoint' = 'http://nowhere'); "
    with pytest.raises(SqlError, match="judges rows that are all there"):
        bind_job(sql + "SELECT ML_EVALUATE('m', y, a) FROM t", name="job")


# --- the numbers --------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(20))
def test_numbers_of_random_classes(seed: int) -> None:
    draw = random.Random(seed)
    count, kinds = draw.randint(2, 40), draw.choice([2, 2, 3])
    labels = [draw.randrange(kinds) for _ in range(count)]
    guesses = [draw.randrange(kinds) for _ in range(count)]
    scores = [round(draw.random(), 1) for _ in range(count)]
    found = classification(labels, guesses, scores)
    classes = sorted({*labels, *guesses})
    if len(classes) == 2:
        how: dict[str, Any] = {"average": "binary", "pos_label": classes[-1]}
    else:
        how = {"average": "macro"}
    if len(classes) < 2:
        return
    expected: list[Any] = [metrics.accuracy_score(labels, guesses)]
    judges = (metrics.precision_score, metrics.recall_score, metrics.f1_score)
    expected += [judge(labels, guesses, zero_division=0, **how) for judge in judges]
    assert found[:4] == pytest.approx(expected)
    if len(classes) == 2 and len({*labels}) == 2:
        assert found[4] == pytest.approx(metrics.roc_auc_score([label == classes[-1] for label in labels], scores))
    else:
        assert found[4] is None


def test_texts_are_classes_too() -> None:
    assert classification(["ham", "spam"], ["spam", "spam"], None)[:3] == (0.5, 0.5, 1.0)


def test_a_curve_needs_both_kinds() -> None:
    assert area_under_curve([True, True], [0.1, 0.2]) is None
    assert regression([2.0, 2.0], [2.0, 3.0])[2] is None
