"""Small models in ONNX files, and what onnxruntime gives when it is called directly."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import FloatTensorType, StringTensorType
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder

NUMBERS = ("amount", "distance", "hour")
TEXTS = ("code", "browser")
CODES, BROWSERS = ("W", "H", "C"), ("", "chrome", "safari 11")
OPSET = {"": 17, "ai.onnx.ml": 3}


def payments(count: int, seed: int = 0, nulls: float = 0.1) -> list[tuple[Any, ...]]:
    """Rows with an id, numbers and texts, some of which are NULL."""
    draw = random.Random(seed)

    def some(value: Any) -> Any:
        return None if draw.random() < nulls else value

    return [
        (
            number,
            some(round(draw.expovariate(0.02), 2)),
            some(draw.uniform(0, 500)),
            some(draw.randrange(24)),
            some(draw.choice(CODES)),
            some(draw.choice(BROWSERS)),
        )
        for number in range(count)
    ]


COLUMNS = [
    ("id", "INT"), ("amount", "DOUBLE"), ("distance", "FLOAT"), ("hour", "INT"), ("code", "STRING"),
    ("browser", "STRING"),
]  # fmt: skip


def tensors(rows: Sequence[tuple[Any, ...]]) -> dict[str, Any]:
    """An input for each feature of shape (N, 1), as a scoring script makes them."""
    columns = list(zip(*rows, strict=True))[1:]
    given: dict[str, Any] = {}
    for name, values in zip((*NUMBERS, *TEXTS), columns, strict=True):
        if name in TEXTS:
            given[name] = np.array([["" if value is None else value] for value in values], dtype=object)
        else:
            given[name] = np.array([[np.nan if value is None else value] for value in values], dtype=np.float32)
    return given


def payment_model(path: Path, trees: int = 40) -> Path:
    """A classifier with an input for each feature: the label, and the probabilities of both classes."""
    rows = payments(2_000, seed=1)
    given = tensors(rows)
    x = np.concatenate([given[name] for name in (*NUMBERS, *TEXTS)], axis=1).astype(object)
    y = [int((row[1] or 0) > 60 and row[4] != "W") for row in rows]
    first = len(NUMBERS)
    steps = ColumnTransformer(
        [
            ("numbers", SimpleImputer(strategy="constant", fill_value=-1.0), list(range(first))),
            ("texts", OneHotEncoder(handle_unknown="ignore"), list(range(first, first + len(TEXTS)))),
        ]
    )
    numbers = ColumnTransformer([("all", "passthrough", list(range(first)))])
    assert numbers is not None
    model = Pipeline([("columns", steps), ("trees", GradientBoostingClassifier(n_estimators=trees, random_state=0))])
    model.fit(x, y)
    types = [(name, FloatTensorType([None, 1])) for name in NUMBERS]
    types += [(name, StringTensorType([None, 1])) for name in TEXTS]
    graph = convert_sklearn(
        model, initial_types=types, target_opset=OPSET, options={id(model): {"zipmap": False}}
    )  # fmt: skip
    path.write_bytes(graph.SerializeToString())
    return path


def matrix_model(path: Path, width: int = 4, *, batch: int | None = None, zipmap: bool = False) -> Path:
    """A classifier with one input of shape (N, width)."""
    draw = np.random.default_rng(0)
    x = draw.normal(size=(500, width)).astype(np.float32)
    model = GradientBoostingClassifier(n_estimators=30, random_state=0).fit(x, (x[:, 0] + x[:, 1] > 0.5).astype(int))
    options = None if zipmap else {id(model): {"zipmap": False}}
    graph = convert_sklearn(
        model, initial_types=[("X", FloatTensorType([batch, width]))], target_opset=OPSET, options=options
    )  # fmt: skip
    path.write_bytes(graph.SerializeToString())
    return path


def session(path: Path) -> Any:
    """onnxruntime itself."""
    return onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
