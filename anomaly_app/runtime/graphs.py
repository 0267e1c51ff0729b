"""The graphs of a worker's queries with what passes through them: what EXPLAIN shows, at work."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from anomaly_app.graph.operator import GraphOperator
from anomaly_app.jobs.joint_task import JointSlot
from anomaly_app.operators import MAX_WATERMARK, MIN_WATERMARK
from anomaly_app.runtime.detect_stage import DetectStage
from anomaly_app.runtime.feed import Feed
from anomaly_app.runtime.pipeline import Pipeline
from anomaly_app.runtime.repartition import ShuffleStage
from anomaly_app.runtime.stage import Rate, Stage
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
            for number, query in enumerate(pipeline.plan.queries):
                operators = [stage.task.slots[number].operator for stage in detect]
                graphs = [operator for operator in operators if isinstance(operator, GraphOperator)]
                slots = [stage.task.slots[number] for stage in detect]
                read = next(
                    (slot.inputs for slot in slots if isinstance(slot, JointSlot)), range(len(pipeline.plan.inputs))
                )
                feeds = [feed for number in read for feed in pipeline.feeds if feed.number == number]
                first = self._sources(pipeline, feeds, own, detect, now)
                name = query.name
                if query.passes:
                    name += f", fragment {query.passes.rpartition('-')[2]}"
                nodes = (*first, *self._operators(pipeline.job.name, name, graphs, first[-1].id, now))
                found.append(GraphStatus(job=pipeline.job.name, query=name, nodes=nodes))
        return found

    def _sources(
        self, pipeline: Pipeline, feeds: Sequence[Feed], own: Sequence[Stage], detect: Sequence[DetectStage], now: float
    ) -> list[NodeStatus]:
        """The tables of a query in its order, and the way to where it runs."""
        parts = [stage.status(now) for stage in detect]
        late = sum(stage.task.late for stage in detect)
        if not pipeline.repartitioned:
            return [_node("source 1", "source", pipeline.sources, (), parts, late)]
        sources: list[NodeStatus] = []
        for number, feed in enumerate(feeds, 1):
            upstream = [stage for stage in own if isinstance(stage, ShuffleStage) and stage.feed is feed]
            before = sum(stage.late for stage in upstream)
            given = [stage.status(now) for stage in upstream]
            sources.append(
                _node(f"source {number}", "source", feed.told if feed.is_exchange else feed.topic, (), given, before)
            )
        keys = dict.fromkeys(", ".join(feed.partition_by or ()) for feed in feeds)
        by = " and ".join(key for key in keys if key)
        title = f"Rows by {by}" if by else "All rows in one place"
        return [*sources, _node("exchange", "exchange", title, tuple(one.id for one in sources), parts, late)]

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
