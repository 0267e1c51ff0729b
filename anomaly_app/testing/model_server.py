"""A model behind an address, as Azure Machine Learning has it, for tests and for the demo.

``POST /score`` takes ``{"input_data": {"columns": […], "data": [[…]]}}`` with a Bearer key, and gives a JSON list with
a result for each row. Latency and failures come on demand, also while it runs: ``POST /control`` with members of
:class:`Behaviour`. ``GET /stats`` tells how many calls there were, and how many rows were scored more than once.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from aiohttp import web

from anomaly_app.testing.http_server import HttpServer, serve

Score = Callable[[Sequence[str], Sequence[Sequence[Any]]], Sequence[Any]]
"""From names of columns and rows of values to a result for each row."""


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How it answers.

    Args:
        latency_ms: before each answer.
        fail: share of calls that fail with ``status``.
        status: of those.
        retry_after: seconds that a failure says to wait; 0 for nothing.
        hang: share of calls that get no answer.
        html: share of calls that are answered by a page, with status 200.
        wrong_count: share of calls whose list is one result short.
        one_row: requests with several rows are refused (400).
    """

    latency_ms: float = 0.0
    fail: float = 0.0
    status: int = 500
    retry_after: float = 0.0
    hang: float = 0.0
    html: float = 0.0
    wrong_count: float = 0.0
    one_row: bool = False


def total(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[float]:
    """The sum of the numbers of each row: what it gives without a model.

    Example:
        >>> total(["a", "b", "c"], [[1, 2.5, "x"], [None, True, 4]])
        [3.5, 4]
    """
    return [sum(v for v in row if isinstance(v, (int, float)) and not isinstance(v, bool)) for row in rows]


def onnx_score(path: Path, output: int = 0) -> Score:
    """Results of a model in a file, as the scoring script of an endpoint makes them: an input for each column.

    Args:
        path: the file.
        output: number of the graph's output that is given.
    """
    import numpy as np
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    inputs = session.get_inputs()
    name = session.get_outputs()[output].name

    def tensor(kind: str, values: Sequence[Any]) -> Any:
        if kind == "tensor(string)":
            return np.array([["" if value is None else value] for value in values], dtype=object)
        dtype = {"tensor(int64)": np.int64, "tensor(double)": np.float64}.get(kind, np.float32)
        return np.array([[np.nan if value is None else value] for value in values], dtype=dtype)

    def score(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[Any]:
        by_name = dict(zip(columns, zip(*rows, strict=True), strict=True))
        if len(inputs) == 1 and len(columns) > 1:
            feeds = {inputs[0].name: np.concatenate([tensor(inputs[0].type, by_name[one]) for one in columns], axis=1)}
        else:
            feeds = {one.name: tensor(one.type, by_name[one.name]) for one in inputs}
        (found,) = session.run([name], feeds)
        results: list[Any] = np.asarray(found).reshape(len(rows), -1).tolist()
        return [one[0] if len(one) == 1 else one for one in results]

    return score


class ModelServer(HttpServer):
    """The server; an async context manager.

    Args:
        port: where it listens on loopback; 0 for any free one.
        score: what it gives.
        key: that lets one in; "" for everybody.
        behaviour: how it answers.
        seed: of the failures.

    Attributes:
        calls: how many there were.
        seen: how often each row was scored.
    """

    def __init__(
        self, port: int = 0, score: Score = total, *, key: str = "", behaviour: Behaviour | None = None, seed: int = 0
    ) -> None:
        super().__init__(port)
        self._score, self._key = score, key
        self.behaviour = behaviour or Behaviour()
        self._draw = random.Random(seed)
        self.calls = 0
        self.seen: Counter[str] = Counter()
        self.sizes: Counter[int] = Counter()

    @property
    def url(self) -> str:
        """Where rows are scored."""
        return f"{super().url}/score"

    def application(self) -> web.Application:
        """Scores, control and statistics."""
        application = web.Application(client_max_size=64 << 20)
        application.router.add_post("/score", self._on_score)
        application.router.add_post("/control", self._on_control)
        application.router.add_get("/stats", self._on_stats)
        return application

    def stats(self) -> Mapping[str, Any]:
        """Calls, rows, how many of these were scored more than once, and how many there were in a call."""
        rows = sum(self.seen.values())
        return {
            "calls": self.calls,
            "rows": rows,
            "distinct": len(self.seen),
            "again": rows - len(self.seen),
            "sizes": dict(sorted(self.sizes.items())),
        }

    # --- requests -----------------------------------------------------------------------------------

    async def _on_score(self, request: web.Request) -> web.StreamResponse:
        self.calls += 1
        how, draw = self.behaviour, self._draw.random
        if self._key and request.headers.get("Authorization") != f"Bearer {self._key}":
            return web.json_response({"error": "no such key"}, status=401)
        body = await request.read()
        if how.latency_ms:
            await asyncio.sleep(how.latency_ms / 1000)
        if draw() < how.hang:
            await asyncio.sleep(3_600)
        if draw() < how.fail:
            headers = {"Retry-After": f"{how.retry_after:g}"} if how.retry_after else {}
            return web.Response(text="out of order", status=how.status, headers=headers)
        if draw() < how.html:
            return web.Response(text="<html><body>Sign in</body></html>", content_type="text/html")
        try:
            given = json.loads(body)["input_data"]
            columns, rows = given["columns"], given["data"]
            if how.one_row and len(rows) != 1:
                return web.json_response({"error": "one row at a time"}, status=400)
            results = list(self._score(columns, rows))
        except (KeyError, TypeError, ValueError) as error:
            return web.json_response({"error": f"{type(error).__name__}: {error}"}, status=400)
        self.sizes[len(rows)] += 1
        self.seen.update(map(json.dumps, rows))
        if draw() < how.wrong_count:
            results.pop()
        return web.json_response(results)

    async def _on_control(self, request: web.Request) -> web.Response:
        try:
            self.behaviour = replace(self.behaviour, **await request.json())
        except (TypeError, ValueError) as error:
            return web.json_response({"error": str(error)}, status=400)
        return web.json_response({name: getattr(self.behaviour, name) for name in Behaviour.__slots__})

    async def _on_stats(self, request: web.Request) -> web.Response:
        return web.json_response(self.stats())


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m anomaly_app.testing.model_server",
        description="A model behind an address, as Azure Machine Learning has it, on loopback.",
    )
    parser.add_argument("--port", type=int, default=8090, help="where it listens (default 8090; 0: a free port)")
    parser.add_argument("--model", type=Path, help="an ONNX file; else the sum of a row's numbers is its score")
    parser.add_argument("--output", type=int, default=0, help="number of the graph's output that is given (default 0)")
    parser.add_argument("--key", default="", help="the key that lets one in; else everybody may ask")
    parser.add_argument("--latency-ms", type=float, default=0.0, help="before each answer")
    parser.add_argument("--fail", type=float, default=0.0, help="share of calls that fail")
    parser.add_argument("--status", type=int, default=500, help="with which status (default 500)")
    parser.add_argument("--hang", type=float, default=0.0, help="share of calls that get no answer")
    parser.add_argument("--one-row", action="store_true", help="refuse requests with several rows")
    parser.add_argument("--seed", type=int, default=0, help="of the failures")
    options = parser.parse_args(arguments)
    behaviour = Behaviour(
        options.latency_ms, options.fail, options.status, hang=options.hang, one_row=options.one_row
    )  # fmt: skip
    try:
        score = onnx_score(options.model, options.output) if options.model else total
    except OSError as error:
        parser.exit(2, f"{options.model}: {error.strerror}\n")
    server = ModelServer(options.port, score, key=options.key, behaviour=behaviour, seed=options.seed)
    try:
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(serve(server, "model on"))
    except OSError as error:
        parser.exit(2, f"port {options.port}: {error.strerror}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
