"""Models of one's own: what is trained is found again on later rows, and the file gives it to the bit in SQL."""

from __future__ import annotations

import random
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnxruntime")
pytest.importorskip("skl2onnx")

from anomaly_app import Rows, Session
from anomaly_app.errors import DataError, OptionError
from anomaly_app.models.training import KINDS, Table, train


def some(count: int, seed: int = 0, rare: float = 0.04) -> Table:
    draw = random.Random(seed)
    labels = [int(draw.random() < rare) for _ in range(count)]
    return Table(
        {
            "a": [draw.gauss(0, 1) + 4 * label if draw.random() > 0.05 else None for label in labels],
            "b": [draw.gauss(5, 2) - 6 * label for label in labels],
            "empty": [None] * count,
        },
        {"c": [draw.choice(["x", "y", None] if not label else ["z", "x"]) for label in labels]},
        labels,
    )


@pytest.mark.parametrize("kind", KINDS)
def test_anomalies_are_found_on_later_rows_and_sql_gives_the_same_bits(kind: str, tmp_path: Path) -> None:
    table = some(1_500)
    trained = train(kind, table, rate=0.04, trees=20)
    report = trained.report
    assert (report.trained, report.tested) == (1_050, 450)
    assert report.auc is not None
    assert report.auc > (0.7 if kind == "autoencoder" else 0.9)
    assert report.recall is not None
    assert report.recall > 0.3
    assert 0.01 < report.alerts / report.tested < 0.1
    path = tmp_path / "m.onnx"
    path.write_bytes(trained.graph)
    rows = list(zip(*table.numbers.values(), *table.texts.values(), strict=True))
    columns = [("a", "DOUBLE"), ("b", "DOUBLE"), ("empty", "DOUBLE"), ("c", "STRING")]
    session = Session({"t": Rows(columns=columns, rows=rows)})
    session.execute(
        "CREATE MODEL m INPUT (a FLOAT, b FLOAT, empty FLOAT, c STRING) OUTPUT (score FLOAT, is_anomaly INT) "
        f"WITH ('provider' = 'onnx', 'onnx.path' = '{path}')"
    )
    found = session.execute("SELECT score, is_anomaly FROM t, LATERAL TABLE(ML_PREDICT('m', a, b, empty, c))").rows
    threshold = np.float32(report.threshold)
    assert all(flag == (np.float32(score) >= threshold) for score, flag in found)
    assert sum(flag for _, flag in found[1_050:]) == report.alerts
    assert sum(flag for _, flag in found[:1_050]) == pytest.approx(0.04 * 1_050, abs=2)


def test_scores_that_many_rows_share_make_no_flood_of_alerts() -> None:
    draw = random.Random(2)
    labels = [int(draw.random() < 0.05) for _ in range(600)]
    table = Table({"a": [float(label) for label in labels]}, {}, labels)
    report = train("gradient-boosting", table, rate=0.1, trees=5).report
    assert report.alerts == report.anomalies, "all others have one and the same score"


def test_the_same_seed_gives_the_same_model() -> None:
    first, second = (train("gradient-boosting", some(300), trees=5, seed=3).report for _ in range(2))
    assert first == second


def test_without_labels_there_is_a_rate_and_no_more() -> None:
    table = some(200)
    report = train("isolation-forest", Table(table.numbers, table.texts), trees=5).report
    assert (report.anomalies, report.precision, report.auc) == (None, None, None)


def test_texts_alone_and_numbers_alone() -> None:
    table = some(300)
    for part in (Table({}, table.texts, table.labels), Table(table.numbers, {}, table.labels)):
        for kind in KINDS:
            assert train(kind, part, trees=5).report.tested == 90


@pytest.mark.parametrize(
    ("kind", "table", "problem"),
    [
        ("gradient-boosting", Table({"a": [1.0] * 100}, {}), "learns from labels"),
        ("gradient-boosting", Table({"a": [1.0] * 100}, {}, [0] * 100), "only one class"),
        ("isolation-forest", Table({"a": [1.0] * 10}, {}), "10 rows are too few"),
        ("forest", Table({"a": [1.0] * 100}, {}), "unknown kind 'forest'"),
    ],
)
def test_what_cannot_be_learnt_is_told(kind: str, table: Table, problem: str) -> None:
    with pytest.raises((DataError, OptionError), match=problem):
        train(kind, table)


def test_nothing_is_said_about_what_libraries_warn_of() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        given: Any = some(200)
        train("autoencoder", given)
