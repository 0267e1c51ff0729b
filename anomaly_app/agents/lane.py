"""The data flow of a worker, as Faust sees it.

For each topic of the lane one agent hands batches to the worker's stages::

    source topic ──► DetectStage ──► sink, alerts, late rows, dead letters
    source topic ──► ShuffleStage ──► repartition topic ──► MergeStage ──► the same, if rows have to go by key

Acknowledgements are the flushers': a batch is done when all that came of it is written.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from anomaly_app.runtime.lane import LaneApp
from anomaly_app.runtime.worker import Worker


def declare(app: LaneApp, worker: Worker, partitions: Mapping[str, int]) -> None:
    """Declare the agents of all topics of the lane.

    Args:
        app: of the worker.
        worker: takes the batches.
        partitions: of every topic of the lane.
    """
    for topic in worker.topics:
        app.agent(app.lane_topic(topic, partitions[topic]), name=f"lane-{topic}", concurrency=1)(_agent(app, worker))


def _agent(app: LaneApp, worker: Worker) -> Any:
    async def take(stream: Any) -> None:
        async for event in stream.noack().events():
            try:
                with app.ending_if_refused():
                    await worker.take(event)
            except Exception as error:
                # Faust would restart the agent behind the batch that failed: stop instead, and read it again.
                await app.crash(error)
                raise

    return take
