"""Status, metrics, alerts and a live page over HTTP."""

from anomaly_app.status import (
    AlertFeed,
    Durations,
    GraphStatus,
    JobStatus,
    NodeStatus,
    PartitionStatus,
    QueryStatus,
    Subscription,
    WorkerStatus,
)
from anomaly_app.web.http import WebServer
from anomaly_app.web.server import routes, serve

__all__ = [
    "AlertFeed",
    "Durations",
    "GraphStatus",
    "JobStatus",
    "NodeStatus",
    "PartitionStatus",
    "QueryStatus",
    "Subscription",
    "WebServer",
    "WorkerStatus",
    "routes",
    "serve",
]
