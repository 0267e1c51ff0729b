"""Models of one's own: trained on the earlier rows of a table, judged on the later ones, written as ONNX.

The graph takes an input of shape (N, 1) for each feature, under its name: floats for numbers (NaN is filled with the
median), texts for categories. It gives ``score``, higher for what is more unusual or more likely, and ``is_anomaly``, 1
from the threshold on: that which so many of the earlier rows reach as alerts are wanted.

Source: isolation forest, Liu, Ting & Zhou (2008); gradient boosting, Friedman (2001); the autoencoder is a perceptron
with a narrow layer that is trained to give what it is given, and its error is the score.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from anomaly_app.errors import DataError, OptionError
from anomaly_app.models.judge import area_under_curve

KINDS = ("isolation-forest", "autoencoder", "gradient-boosting")
INSTALL = "training needs scikit-learn and skl2onnx: install them with pip install 'anomaly-app[onnx,train]'"
OPSET = {"": 17, "ai.onnx.ml": 3}
LEAST_ROWS = 20
TOO_MANY = 1.25
"""So many times as many alerts as wanted are too many, where rows share a score."""
MOST_CATEGORIES = 50
"""Values of a text that are told apart; the rarer ones are alike."""


@dataclass(frozen=True, slots=True)
class Table:
    """What is learnt from.

    Args:
        numbers: columns of numbers by name; None or NaN is missing.
        texts: columns of texts by name; None is missing.
        labels: 1 for what is to be found; None without.
    """

    numbers: Mapping[str, Sequence[float | None]]
    texts: Mapping[str, Sequence[str | None]]
    labels: Sequence[int] | None = None

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the columns."""
        return (*self.numbers, *self.texts)

    def __len__(self) -> int:
        return len(next(iter([*self.numbers.values(), *self.texts.values()]), ()))

    def part(self, rows: slice) -> Table:
        """Some of the rows."""
        return Table(
            {name: values[rows] for name, values in self.numbers.items()},
            {name: values[rows] for name, values in self.texts.items()},
            None if self.labels is None else self.labels[rows],
        )


@dataclass(frozen=True, slots=True)
class Report:
    """How good a model is on rows later than those it has learnt from.

    Args:
        trained: rows that it has learnt from.
        tested: later rows.
        threshold: of the score.
        wanted: share of alerts that was wanted.
        alerts: how many of the later rows would be alerts.
        anomalies: how many of them should be; None without labels, and so are the next three.
        precision: how many of the alerts are right.
        recall: how many of the anomalies are found.
        auc: how often an anomaly has a higher score than another row.
    """

    trained: int
    tested: int
    threshold: float
    wanted: float
    alerts: int
    anomalies: int | None = None
    precision: float | None = None
    recall: float | None = None
    auc: float | None = None


@dataclass(frozen=True, slots=True)
class Trained:
    """A model and what is known of it.

    Args:
        graph: as ONNX.
        report: how good it is.
    """

    graph: bytes
    report: Report


def train(
    kind: str, table: Table, *, rate: float = 0.01, test: float = 0.3, trees: int = 100, seed: int = 0
) -> Trained:
    """Train a model.

    Args:
        kind: one of :data:`KINDS`.
        table: rows in order of time.
        rate: share of alerts that is wanted.
        test: share of the rows, the last ones, that the model is judged on.
        trees: of a forest or of boosting.
        seed: of what is drawn.

    Raises:
        OptionError: scikit-learn is not installed, or the kind needs labels.
        DataError: there are too few rows, or only one class.
    """
    try:
        import skl2onnx
        import sklearn
    except ImportError:
        raise OptionError("kind", INSTALL) from None
    assert skl2onnx.__version__ and sklearn.__version__
    if kind not in KINDS:
        raise OptionError("kind", f"unknown kind {kind!r}: there are {', '.join(KINDS)}")
    split = len(table) - round(len(table) * test)
    if min(split, len(table) - split) < LEAST_ROWS:
        told = "1 row is" if len(table) == 1 else f"{len(table)} rows are"
        parts = f"{split} to learn from and {len(table) - split} to judge by"
        raise DataError(f"{told} too few: {parts}, and each wants {LEAST_ROWS}")
    earlier, later = table.part(slice(0, split)), table.part(slice(split, None))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about iterations, and of protobuf
        graph, inner = _trained(kind, earlier, trees, seed)
        threshold = _quantile(_scores(graph, earlier, inner), rate)
        graph = _with_threshold(graph, inner, threshold)
    scores = _scores(graph, later, "score")
    return Trained(graph.SerializeToString(), _report(later, scores, threshold, rate, split))


def _trained(kind: str, table: Table, trees: int, seed: int) -> tuple[Any, str]:
    """A graph, and the name of its output that is the score, of shape (N, 1)."""
    from skl2onnx.common.data_types import FloatTensorType, StringTensorType
    from sklearn.ensemble import GradientBoostingClassifier, IsolationForest
    from sklearn.pipeline import Pipeline

    given = _matrix(table)
    types = [(name, FloatTensorType([None, 1])) for name in table.numbers]
    types += [(name, StringTensorType([None, 1])) for name in table.texts]
    prepare = _prepare(table, scaled=kind == "autoencoder")
    if kind == "autoencoder":
        return _autoencoder(prepare, given, types, seed)
    if kind == "isolation-forest":
        forest = Pipeline([("prepare", prepare), ("forest", IsolationForest(n_estimators=trees, random_state=seed))])
        forest.fit(given)
        graph = _converted(forest, initial_types=types)
        return _added(graph, "Neg", [_output(graph, "scores")], "unusual"), "unusual"
    if table.labels is None:
        raise OptionError("label", "gradient boosting learns from labels: --label names their column")
    if len({*table.labels}) < 2:
        raise DataError("the earlier rows have only one class of the label: there is nothing to tell apart")
    boosting = GradientBoostingClassifier(
        n_estimators=trees, subsample=0.7, max_features="sqrt", random_state=seed
    )  # fmt: skip
    model = Pipeline([("prepare", prepare), ("boosting", boosting)])
    model.fit(given, list(table.labels))
    graph = _converted(model, initial_types=types, options={id(model): {"zipmap": False}})
    place = _constant(graph, "one", np.array([1], dtype=np.int64))
    return _added(graph, "Gather", [_output(graph, "probabilities"), place], "likely", axis=1), "likely"


def _autoencoder(prepare: Any, given: Any, types: Any, seed: int) -> tuple[Any, str]:
    """What a row is made into, less what the perceptron makes of that: the mean of the squares."""
    from onnx import compose
    from skl2onnx.common.data_types import FloatTensorType
    from sklearn.neural_network import MLPRegressor

    prepared = np.asarray(prepare.fit_transform(given), dtype=np.float32)
    width = prepared.shape[1]
    middle = max(1, math.ceil(width / 3))
    layers = (max(2, 2 * middle), middle, max(2, 2 * middle))
    coder = MLPRegressor(
        hidden_layer_sizes=layers, activation="tanh", max_iter=200, early_stopping=len(prepared) > 100,
        random_state=seed,
    )  # fmt: skip
    coder.fit(prepared, prepared if width > 1 else prepared.ravel())
    front = _converted(prepare, initial_types=types)
    behind = _converted(coder, initial_types=[("prepared", FloatTensorType([None, width]))])
    front, behind = (compose.add_prefix(one, prefix, rename_inputs=k > 0) for k, (one, prefix) in enumerate(
        [(front, "front_"), (behind, "behind_")]
    ))  # fmt: skip
    value = front.graph.output[0].name
    graph = compose.merge_models(
        front, behind, io_map=[(value, behind.graph.input[0].name)], outputs=[behind.graph.output[0].name]
    )  # fmt: skip
    # Several outputs of a perceptron stand below one another in one column there.
    shape = _constant(graph, "shape", np.array([-1, width], dtype=np.int64))
    _added(graph, "Reshape", [graph.graph.output[0].name, shape], "given_back")
    _added(graph, "Sub", [value, "given_back"], "difference")
    _added(graph, "Mul", ["difference", "difference"], "square")
    _added(graph, "ReduceMean", ["square"], "error", axes=[1], keepdims=1)
    return graph, "error"


def _prepare(table: Table, *, scaled: bool) -> Any:
    """Numbers without gaps, and a column for each text that is frequent."""
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    first = len(table.numbers)
    numbers: Any = SimpleImputer(strategy="median", keep_empty_features=True)
    if scaled:
        numbers = Pipeline([("filled", numbers), ("scaled", StandardScaler())])
    parts: list[Any] = [("numbers", numbers, list(range(first)))] if first else []
    for place, (name, values) in enumerate(table.texts.items(), first):
        count: dict[str, int] = {}
        for value in values:
            count[value or ""] = count.get(value or "", 0) + 1
        kept = sorted(sorted(count, key=lambda one: (-count[one], one))[:MOST_CATEGORIES])
        encoder = OneHotEncoder(categories=[kept], handle_unknown="ignore", sparse_output=False)
        parts.append((name, encoder, [place]))
    return ColumnTransformer(parts, sparse_threshold=0)


def _matrix(table: Table) -> Any:
    """Rows as scikit-learn takes them: objects if there are texts."""
    columns = [np.array(values, dtype=np.float32) for values in table.numbers.values()]
    if not table.texts:
        return np.stack(columns, axis=1)
    objects = [column.astype(object) for column in columns]
    objects += [np.array([value or "" for value in values], dtype=object) for values in table.texts.values()]
    return np.stack(objects, axis=1)


def _converted(model: Any, *, initial_types: Any, options: Any = None) -> Any:
    """The graph of a model of scikit-learn.

    The versions of the operators that it asks for are the least ones; nodes that are added need others, and between
    these no operator that it uses has changed.
    """
    from skl2onnx import convert_sklearn

    graph = convert_sklearn(model, initial_types=initial_types, target_opset=OPSET, options=options)
    for known in graph.opset_import:
        known.version = OPSET[known.domain]
    return graph


# --- the graph -----------------------------------------------------------------------------------------


def _output(graph: Any, name: str) -> str:
    """The name of an output; scikit-learn's own names may have been prefixed."""
    return next(str(one.name) for one in graph.graph.output if name in one.name)


def _constant(graph: Any, name: str, value: Any) -> str:
    from onnx import numpy_helper

    graph.graph.initializer.append(numpy_helper.from_array(value, name))
    return name


def _added(graph: Any, operation: str, inputs: Sequence[str], output: str, **attributes: Any) -> Any:
    """The graph with one more node."""
    from onnx import helper

    graph.graph.node.append(helper.make_node(operation, list(inputs), [output], **attributes))
    return graph


def _given(graph: Any, names: Mapping[str, tuple[int, Sequence[Any]]]) -> Any:
    """The graph with these outputs, by name: type and shape."""
    from onnx import helper

    del graph.graph.output[:]
    graph.graph.output.extend(helper.make_tensor_value_info(name, *about) for name, about in names.items())
    return graph


def _with_threshold(graph: Any, inner: str, threshold: float) -> Any:
    """The graph with the outputs ``score`` and ``is_anomaly``."""
    from onnx import TensorProto

    _added(graph, "Identity", [inner], "score")
    bound = _constant(graph, "threshold", np.array(threshold, dtype=np.float32))
    _added(graph, "GreaterOrEqual", ["score", bound], "reached")
    _added(graph, "Cast", ["reached"], "is_anomaly", to=TensorProto.INT64)
    return _given(
        graph, {"score": (TensorProto.FLOAT, [None, 1]), "is_anomaly": (TensorProto.INT64, [None, 1])}
    )  # fmt: skip


def _scores(graph: Any, table: Table, output: str) -> Any:
    """What a graph gives for some rows."""
    try:
        import onnxruntime
    except ImportError:
        raise OptionError("kind", INSTALL) from None
    from onnx import TensorProto

    if all(one.name != output for one in graph.graph.output):
        graph = _given(type(graph).FromString(graph.SerializeToString()), {output: (TensorProto.FLOAT, [None, 1])})
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        graph.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )  # fmt: skip
    given: dict[str, Any] = {
        name: np.array(values, dtype=np.float32).reshape(-1, 1) for name, values in table.numbers.items()
    }
    for name, values in table.texts.items():
        given[name] = np.array([[value or ""] for value in values], dtype=object)
    wanted = {one.name for one in session.get_inputs()}
    (found,) = session.run([output], {name: values for name, values in given.items() if name in wanted})
    return np.asarray(found, dtype=np.float32).reshape(-1)


def _quantile(scores: Any, rate: float) -> float:
    """The score that so large a share of rows reaches; where many have the same one, rather fewer than more."""
    ordered = np.sort(scores)[::-1]
    wanted = max(1, min(len(ordered), round(rate * len(ordered))))
    score = ordered[wanted - 1]
    above = ordered[ordered > score]
    return float(above[-1] if len(above) and (ordered >= score).sum() > TOO_MANY * wanted else score)


def _report(table: Table, scores: Any, threshold: float, rate: float, trained: int) -> Report:
    alerts = scores >= np.float32(threshold)
    count = int(alerts.sum())
    if table.labels is None:
        return Report(trained, len(table), threshold, rate, count)
    labels = np.asarray(table.labels, dtype=bool)
    right, anomalies = int((alerts & labels).sum()), int(labels.sum())
    return Report(
        trained, len(table), threshold, rate, count, anomalies, right / count if count else None,
        right / anomalies if anomalies else None, area_under_curve(labels.tolist(), scores.tolist()),
    )  # fmt: skip
