"""A load test of a model: loops side by side, each asking about all rows."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from anomaly_app.errors import AnomalyError, DataError
from anomaly_app.models.client import LOOP, Asked, Caller
from anomaly_app.models.model import LocalModel, Model, Values
from anomaly_app.models.options import CallOptions, call_options

LOCAL_ROWS = 1_000
"""Rows of a call of a model in a file, unless something else is said."""
SHOWN = 3
"""Answers that are kept to be shown."""


@dataclass(slots=True)
class Checked:
    """How that went.

    Attributes:
        calls: that were made.
        rows: that got an answer.
        errors: rows that got none.
        seconds: from the first call to the last.
        latencies_s: of each call.
        problems: what was wrong, and with how many rows.
        first: the first answers.
    """

    calls: int = 0
    rows: int = 0
    errors: int = 0
    seconds: float = 0.0
    latencies_s: list[float] = field(default_factory=list)
    problems: Counter[str] = field(default_factory=Counter)
    first: list[Values] = field(default_factory=list)

    @property
    def rows_per_s(self) -> float:
        """Rows with an answer, per second."""
        return self.rows / self.seconds if self.seconds else 0.0

    def percentile_ms(self, percent: float) -> float:
        """A percentile of the latencies, in ms.

        Example:
            >>> Checked(latencies_s=[0.001, 0.002, 0.003, 0.1]).percentile_ms(50)
            2.0
        """
        if not self.latencies_s:
            return 0.0
        ordered = sorted(self.latencies_s)
        return ordered[max(0, -(-len(ordered) * percent // 100).__trunc__() - 1)] * 1000

    def take(self, answers: Sequence[Any]) -> None:
        """Answers of a call: values, or what is wrong."""
        for answer in answers:
            if isinstance(answer, AnomalyError):
                self.errors += 1
                self.problems[str(answer)] += 1
                continue
            self.rows += 1
            if len(self.first) < SHOWN:
                self.first.append(answer)


def check(model: Model, rows: Sequence[Values], *, loops: int = 10, batch: int = 1, repeat: int = 1) -> Checked:
    """Ask about rows.

    Args:
        model: that is asked.
        rows: values of its INPUT.
        loops: that ask at the same time; of a model in a file one after the other.
        batch: rows of a call, as far as the provider takes them.
        repeat: how often each loop asks about all rows.
    """
    checked = Checked()
    if model.remote is None:
        size = batch if batch > 1 else LOCAL_ROWS
        parts = [rows[first : first + size] for first in range(0, len(rows), size)] * (loops * repeat)
        assert isinstance(model.asked, LocalModel)
        begun = time.perf_counter()
        for part in parts:
            before = time.perf_counter()
            try:
                checked.take(model.asked.score(part))
            except DataError as error:
                checked.take([error] * len(part))
            checked.latencies_s.append(time.perf_counter() - before)
        checked.calls = len(parts)
    else:
        begun = time.perf_counter()
        LOOP.run(_loops(model, rows, checked, loops, min(batch, model.remote.batch_rows), repeat))
        stats = model.stats
        checked.calls, checked.latencies_s = stats.calls, stats.samples or []
    checked.seconds = time.perf_counter() - begun
    return checked


@dataclass(slots=True, eq=False)
class _Rows:
    """Rows of one call."""

    model: Model
    options: CallOptions
    values: Sequence[Values]
    answers: list[Any]
    left: int
    done: asyncio.Event = field(default_factory=asyncio.Event)
    dropped: bool = False

    def put(self, number: int, answer: Any) -> None:
        self.answers[number] = answer
        self.left -= 1


async def _loops(
    model: Model, rows: Sequence[Values], checked: Checked, loops: int, batch: int, repeat: int
) -> None:  # fmt: skip
    own = {key.lower().removeprefix(f"{model.provider}."): value for key, value in model.options.items()}
    options = replace(call_options(own), parallelism=loops, batch_rows=batch, retries=0, breaker_failures=0)
    model.stats.samples = []

    def answered(asked: Asked) -> None:
        assert isinstance(asked, _Rows)
        if not asked.left:
            asked.done.set()

    caller = Caller(model, options, lambda error: error, answered)

    async def loop() -> None:
        for _ in range(repeat):
            for first in range(0, len(rows), batch):
                part = rows[first : first + batch]
                asked = _Rows(model, options, part, [None] * len(part), len(part))
                caller.ask(asked)
                await asked.done.wait()
                checked.take(asked.answers)

    try:
        await asyncio.gather(*(loop() for _ in range(loops)))
    finally:
        await caller.close()
