"""The graphs of a worker's queries with what passes through them: what EXPLAIN shows, at work."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from anomaly_app.graph.operator import GraphOperator
from anomaly_app.operators import MAX_WATERMARK, MIN_WATERMARK
from anomaly_app.runtime.pipeline import Pipeline
from anomaly_app.runtime.repartition import ShuffleStage
from anomaly_app.runtime.stage import DetectStage, Rate, Stage
from anomaly_app.status import GraphStatus, NodeStatus, PartitionStatus


class Graphs:
    """Adds up what the stages of all partitions count."""

    def __init__(self) -> None:
        self._rates: dict[tuple[str, str, int], Rate] = {}

    def status(self, pipelines: Iterable[Pipeline], stages: Sequence[Stage], now: float) -> list[GraphStatus]:
        """The graph of each query.

        Args:
            pipelines: of the worker.
            stages: of its partitions.
            now: monotonic, in s.
        """
        found: list[GraphStatus] = []
        for pipeline in pipelines:
            own = [stage for stage in stages if stage.pipeline is pipeline]
            detect = [stage for stage in own if isinstance(stage, DetectStage)]
            first = self._sources(pipeline, own, detect, now)
            for number, query in enumerate(pipeline.plan.queries):
                operators = [stage.task.slots[number].operator for stage in detect]
                graphs = [operator for operator in operators if isinstance(operator, GraphOperator)]
                nodes = (*first, *self._operators(pipeline.job.name, query.name, graphs, first[-1].id, now))
                found.append(GraphStatus(job=pipeline.job.name, query=query.name, nodes=nodes))
        return found

    def _sources(
        self, pipeline: Pipeline, own: Sequence[Stage], detect: Sequence[DetectStage], now: float
    ) -> list[NodeStatus]:
        topic = pipeline.source.topic
        if not pipeline.repartitioned:
            late = sum(stage.task.late for stage in detect)
            return [_node("source", "source", topic, (), [stage.status(now) for stage in detect], late)]
        upstream = [stage for stage in own if isinstance(stage, ShuffleStage)]
        source = _node(
            "source", "source", topic, (), [stage.status(now) for stage in upstream], sum(one.late for one in upstream)
        )
        by = ", ".join(pipeline.plan.partition_by)
        title = f"Rows by {by}" if by else "All rows in one place"
        late = sum(stage.task.late for stage in detect)
        return [source, _node("exchange", "exchange", title, ("source",), [s.status(now) for s in detect], late)]

    def _operators(
        self, job: str, query: str, graphs: Sequence[GraphOperator], source: str, now: float
    ) -> Iterable[NodeStatus]:
        if not graphs:
            return
        for place, plan in enumerate(graphs[0].plan.vertices):
            vertices = [graph.vertices[place] for graph in graphs]
            rows = sum(vertex.rows_out for vertex in vertices)
            yield NodeStatus(
                id=str(place + 1),
                kind="operator",
                title=" ".join(plan.name.split()),
                inputs=tuple(str(below + 1) if below >= 0 else source for below in plan.inputs),
                rows=rows,
                rows_per_s=self._rates.setdefault((job, query, place), Rate()).at(now, rows),
                watermark_ms=_least(vertex.watermark for vertex in vertices),
                late=sum(vertex.rows_late for vertex in vertices),
            )


def _node(
    id_: str, kind: str, title: str, inputs: tuple[str, ...], parts: Sequence[PartitionStatus], late: int
) -> NodeStatus:
    lags = [part.lag for part in parts if part.lag is not None]
    watermarks = [part.watermark_ms for part in parts if part.watermark_ms is not None]
    return NodeStatus(
        id=id_,
        kind=kind,
        title=title,
        inputs=inputs,
        rows=sum(part.rows for part in parts),
        rows_per_s=sum(part.rows_per_s for part in parts),
        lag=sum(lags) if lags else None,
        watermark_ms=min(watermarks, default=None),
        late=late,
    )


def _least(watermarks: Iterable[int]) -> int | None:
    """The least of those that say anything."""
    return min((one for one in watermarks if MIN_WATERMARK < one < MAX_WATERMARK), default=None)
