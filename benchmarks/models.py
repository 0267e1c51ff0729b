"""Models: rows that are scored per second, in a file beside onnxruntime called directly, and behind an address.

    python -m benchmarks.models [--rows 20000] [--latency-ms 20] [--json FILE]

A file: 75 features, batches of 1,000, processor time; onnxruntime is given arrays that are there already. The graph has
one input of shape (N, 75), or, as ``features``, an input of shape (N, 1) for each of 70 numbers and 5 texts, with gaps.
Behind an address, by the clock: the test kit's server in a process of its own, 100 calls at a time, rows out in their
order; with as many rows in a call as the provider takes, and with one.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from anomaly_app import Rows
from anomaly_app.batch import run_bound
from anomaly_app.graph.vertices import Flow
from anomaly_app.jobs.binder import bind_text
from anomaly_app.operators import MAX_WATERMARK
from anomaly_app.rows import batches_of, schema_of

FEATURES, BATCH = 75, 1_000


def trees(path: Path, count: int) -> None:
    """A classifier of gradient boosting over 75 numbers."""
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import FloatTensorType
    from sklearn.ensemble import GradientBoostingClassifier

    draw = np.random.default_rng(0)
    x = draw.normal(size=(2_000, FEATURES)).astype(np.float32)
    model = GradientBoostingClassifier(n_estimators=count, random_state=0, max_features="sqrt")
    model.fit(x, (x[:, 0] + x[:, 1] * x[:, 2] > 1).astype(int))
    graph = convert_sklearn(
        model, initial_types=[("X", FloatTensorType([None, FEATURES]))], options={id(model): {"zipmap": False}},
        target_opset={"": 17, "ai.onnx.ml": 3},
    )  # fmt: skip
    path.write_bytes(graph.SerializeToString())


def best(work: Callable[[], Any], times: int = 3, clock: Callable[[], float] = time.process_time) -> float:
    """Seconds of the fastest of some runs."""
    found = []
    for _ in range(times):
        begun = clock()
        work()
        found.append(clock() - begun)
    return min(found)


def in_a_file(rows: int, count: int) -> dict[str, float]:
    """Rows per second of onnxruntime, of the operator, and of a whole query."""
    import onnxruntime

    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(folder) / "m.onnx"
        trees(path, count)
        draw = np.random.default_rng(1)
        x = draw.normal(size=(rows, FEATURES)).astype(np.float32)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])

        def directly() -> Any:
            return [session.run(["probabilities"], {"X": x[n : n + BATCH]})[0] for n in range(0, rows, BATCH)]

        names = [f"f{k}" for k in range(FEATURES)]
        table = Rows(columns=[("id", "INT"), *((name, "DOUBLE") for name in names)], rows=[])
        table.rows = [(n, *values) for n, values in enumerate(x.tolist())]
        sql = f"CREATE MODEL m INPUT ({', '.join(f'{name} FLOAT' for name in names)}) OUTPUT (p DOUBLE) WITH ("
        sql += f"'provider' = 'onnx', 'onnx.path' = '{path}', 'onnx.output' = 'probabilities[1]'); "
        sql += f"SELECT id, p FROM t, LATERAL TABLE(ML_PREDICT('m', {', '.join(names)}))"
        bound = bind_text(sql, {"t": schema_of(table)})
        given = [row for batch, _ in batches_of(table, bound.tables[0]) for row in batch]
        parts = [given[n : n + BATCH] for n in range(0, rows, BATCH)]

        def operator() -> None:
            graph = bound.factory.create(bound.layout)
            for part in parts:
                graph.step([Flow(part, MAX_WATERMARK)])

        expected = np.concatenate(directly())[:, 1]
        found = np.array([row[1] for row in run_bound(bound, {"t": table}, sql).rows], dtype=np.float32)
        assert found.tobytes() == expected.tobytes(), "the scores are not onnxruntime's"
        return {
            "onnxruntime": rows / best(directly),
            "operator": rows / best(operator),
            "query": rows / best(lambda: run_bound(bound, {"t": table}, sql), 1),
        }


def by_feature(rows: int, count: int) -> dict[str, float]:
    """The same with an input for each feature, texts and gaps: as a scoring script has it."""
    import onnxruntime

    from anomaly_app.models.training import Table, train

    draw = np.random.default_rng(2)
    numbers = {
        f"f{k}": [None if gap else value for gap, value in zip(draw.random(rows) < 0.2, draw.normal(size=rows).tolist(),
            strict=True)] for k in range(70)
    }  # fmt: skip
    texts = {f"t{k}": draw.choice(["a", "b", "c", "d"], size=rows).tolist() for k in range(5)}
    labels = [int((value or 0) > 1 and text == "a") for value, text in zip(numbers["f0"], texts["t0"], strict=True)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.onnx"
        part = Table(numbers, texts, labels).part(slice(0, 3_000))
        path.write_bytes(train("gradient-boosting", part, trees=count).graph)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
        feeds = []
        for first in range(0, rows, BATCH):
            last = first + BATCH
            given = {name: np.array(v[first:last], dtype=np.float32).reshape(-1, 1) for name, v in numbers.items()}
            given |= {name: np.array([[one] for one in v[first:last]], dtype=object) for name, v in texts.items()}
            feeds.append({one.name: given[one.name] for one in session.get_inputs()})

        def directly() -> Any:
            return [session.run(["score"], given)[0] for given in feeds]

        columns = [*((name, "DOUBLE") for name in numbers), *((name, "STRING") for name in texts)]
        table = Rows(columns=columns, rows=list(zip(*numbers.values(), *texts.values(), strict=True)))
        inputs = ", ".join(f"{name} {'FLOAT' if type_ == 'DOUBLE' else type_}" for name, type_ in columns)
        sql = f"CREATE MODEL m INPUT ({inputs}) OUTPUT (score DOUBLE, is_anomaly INT) WITH ('provider' = 'onnx', "
        sql += f"'onnx.path' = '{path}'); SELECT score FROM t, LATERAL TABLE(ML_PREDICT('m', "
        sql += ", ".join(name for name, _ in columns) + "))"
        bound = bind_text(sql, {"t": schema_of(table)})
        rows_of = [row for batch, _ in batches_of(table, bound.tables[0]) for row in batch]
        parts = [rows_of[n : n + BATCH] for n in range(0, rows, BATCH)]

        def operator() -> list[Any]:
            graph = bound.factory.create(bound.layout)
            return [finding.values[0] for part in parts for finding in graph.step([Flow(part, MAX_WATERMARK)])]

        expected = np.concatenate(directly())[:, 0]
        assert np.array(operator(), dtype=np.float32).tobytes() == expected.tobytes(), "not the same bits"
        return {"onnxruntime": rows / best(directly), "operator": rows / best(operator)}


def behind_an_address(rows: int, latency_ms: float, options: str) -> dict[str, float]:
    """Rows per second of a query, and calls."""
    command = [sys.executable, "-m", "anomaly_app.testing.model_server", "--port", "0", "--latency-ms", str(latency_ms)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        url = server.stdout.readline().split()[-1]
        table = Rows(columns=[("id", "INT"), ("v", "DOUBLE")], rows=[(n, n / 2) for n in range(rows)])
        sql = "CREATE MODEL m INPUT (id INT, v DOUBLE) OUTPUT (s DOUBLE) WITH ('provider' = 'azureml', "
        sql += f"'endpoint' = '{url}', 'max_parallelism' = '100'{options}); "
        sql += "SELECT id, s FROM t, LATERAL TABLE(ML_PREDICT('m', id, v))"
        bound = bind_text(sql, {"t": schema_of(table)})
        seconds = best(lambda: _in_order(run_bound(bound, {"t": table}, sql).rows), 2, time.perf_counter)
        (model,) = bound.factory.models
        return {"rows_per_s": rows / seconds, "calls": model.stats.calls / 2}
    finally:
        server.terminate()
        server.wait()


def _in_order(rows: list[tuple[Any, ...]]) -> None:
    assert rows == [(n, n * 1.5) for n in range(len(rows))], "a row is out of order, or wrong"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--latency-ms", type=float, default=20.0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    measured: dict[str, Any] = {}
    for count in (100, 500):
        features = measured[f"features, {count} trees"] = by_feature(options.rows, count)
        share = features["operator"] / features["onnxruntime"]
        print(
            f"{count} trees, an input for each feature: onnxruntime {features['onnxruntime']:,.0f} rows/s, "
            f"operator {features['operator']:,.0f} ({share:.2f})"
        )
        found = measured[f"onnx, {count} trees"] = in_a_file(options.rows, count)
        share = found["operator"] / found["onnxruntime"]
        print(
            f"{count} trees: onnxruntime {found['onnxruntime']:,.0f} rows/s, operator {found['operator']:,.0f} "
            f"({share:.2f}), query {found['query']:,.0f}"
        )
    for name, more in (("32 rows in a call", ""), ("one row in a call", ", 'batch_size' = '1'")):
        remote = measured[f"remote, {name}"] = behind_an_address(options.rows // 2, options.latency_ms, more)
        print(f"remote, {name}: {remote['rows_per_s']:,.0f} rows/s in order, {remote['calls']:,.0f} calls")
    if options.json:
        options.json.write_text(json.dumps(measured, indent=2))


if __name__ == "__main__":
    main()
