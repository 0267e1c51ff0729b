"""A worker as its page and its metrics see it."""

from __future__ import annotations

import time
from collections.abc import Sequence

from anomaly_app.alerts.record import Alert
from anomaly_app.runtime.detect_stage import DetectStage
from anomaly_app.runtime.graphs import Graphs
from anomaly_app.runtime.pipeline import Pipeline
from anomaly_app.runtime.worker import Worker
from anomaly_app.status import (
    Durations,
    GraphStatus,
    JobStatus,
    ModelStatus,
    PartitionStatus,
    QueryStatus,
    Subscription,
)


def _models(pipelines: Sequence[Pipeline]) -> list[ModelStatus]:
    """Models that queries of a job ask."""
    found = {id(model): model for one in pipelines for query in one.plan.queries for model in query.planned.models}
    return [
        {
            "model": model.name,
            "version": model.version,
            "provider": model.provider,
            "calls": model.stats.calls,
            "rows": model.stats.rows,
            "errors": model.stats.errors,
            "retries": model.stats.retries,
            "latency_s": model.stats.latency_s,
            "latencies": list(model.stats.latencies),
            "open": model.stats.is_open,
            "problem": model.stats.problem,
        }
        for model in found.values()
    ]


class Overview:
    """The :class:`~anomaly_app.status.WorkerStatus` of a worker, from memory.

    Args:
        worker: that is shown.
    """

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._graphs = Graphs()

    def ready(self) -> tuple[bool, str]:
        """Whether rows are being processed, else the reason."""
        if self._worker.crashed:
            return False, self._worker.crashed
        for reason in self._worker.trouble.values():
            return False, reason
        return self._worker.state

    def healthy(self) -> tuple[bool, str]:
        """Whether the process should go on living."""
        return (False, self._worker.crashed) if self._worker.crashed else (True, "")

    def jobs(self) -> list[JobStatus]:
        """The jobs and their queries."""
        shown: list[JobStatus] = []
        for job in self._worker.bound_jobs:
            own = [pipeline for pipeline in self._worker.pipelines if pipeline.job is job]
            queries: dict[int, QueryStatus] = {}
            for pipeline in own:
                for output in pipeline.outputs:
                    if output.query.passes:
                        continue
                    known = queries.get(id(output.query))
                    if known is not None:  # topics of one table that are read each for itself
                        known["source"] += f", {pipeline.sources}"
                        known["alerts"] += output.alerts
                        known["late"] += output.late
                        continue
                    queries[id(output.query)] = {
                        "name": output.query.name,
                        "description": output.query.planned.description,
                        "source": pipeline.sources,
                        "sink": output.topic or None,
                        "alerts": output.alerts,
                        "late": output.late,
                        "routing": pipeline.plan.routing.value if pipeline.repartitioned else "direct",
                    }
            lookups = self._worker.lookups.status(job.name)
            shown.append(
                {
                    "name": job.name,
                    "version": job.version,
                    "path": job.path,
                    "queries": [*queries.values()],
                    "lookups": lookups,
                    "models": _models(own),
                }
            )
        return shown

    def partitions(self) -> list[PartitionStatus]:
        """Status of the assigned partitions."""
        now = time.monotonic()
        return [stage.status(now) for place in sorted(self._worker.stages) for stage in self._worker.stages[place]]

    def graphs(self) -> list[GraphStatus]:
        """The graph of each query."""
        stages = [stage for own in self._worker.stages.values() for stage in own]
        return self._graphs.status(self._worker.pipelines, stages, time.monotonic())

    def alerts(self, limit: int) -> list[Alert]:
        """The latest alerts, newest first."""
        return self._worker.feed.latest(limit)

    def subscribe(self) -> Subscription:
        """New alerts, as they come."""
        return self._worker.feed.subscribe()

    def counters(self) -> dict[str, int]:
        """What operators dropped or bounded, unreadable records let go, and repeats that were not written again."""
        total: dict[str, int] = {"repeated_outputs": self._worker.writer.repeated, **self._worker.lookups.counters()}
        for stages in self._worker.stages.values():
            for stage in stages:
                if stage.ignored:
                    total["unreadable_ignored"] = total.get("unreadable_ignored", 0) + stage.ignored
                if stage.tombstones:
                    total["tombstones"] = total.get("tombstones", 0) + stage.tombstones
                if isinstance(stage, DetectStage):
                    for slot in stage.task.slots:
                        for reason, number in slot.operator.counters.counts.items():
                            total[reason] = total.get(reason, 0) + number
        return total

    def flushes(self) -> Durations:
        """How long flushes took, since the worker started."""
        return self._worker.flushes
