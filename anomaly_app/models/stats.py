"""What is counted of a model: by whoever asks it, for the page and for metrics."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field

BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Bounds of the latencies that are counted together."""


@dataclass(slots=True)
class ModelStats:
    """Counts of a model in this process.

    Attributes:
        calls: made, those that were made again too; of a model in a file the batches.
        rows: that got an answer.
        errors: rows that got none.
        retries: calls that were made again.
        refused: calls that failed.
        latency_s: of all calls together.
        latencies: how many calls took how long, by :data:`BUCKETS_S` and beyond.
        is_open: the circuit is open: the model is only tried now and then.
        problem: what was wrong the last time; "" if nothing was.
        samples: how long each call took; None if nobody wants to know.
    """

    calls: int = 0
    rows: int = 0
    errors: int = 0
    retries: int = 0
    refused: int = 0
    latency_s: float = 0.0
    latencies: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS_S) + 1))
    is_open: bool = False
    problem: str = ""
    samples: list[float] | None = None

    def took(self, seconds: float) -> None:
        """A call has come to an end."""
        self.calls += 1
        self.latency_s += seconds
        self.latencies[bisect_left(BUCKETS_S, seconds)] += 1
        if self.samples is not None:
            self.samples.append(seconds)
