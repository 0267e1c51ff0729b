"""Logical nodes: one class for each relational idea, with what follows from it derived once."""

from anomaly_app.plan.nodes.evaluate import Evaluate
from anomaly_app.plan.nodes.groups import Aggregate, Copies, GroupingRows
from anomaly_app.plan.nodes.kept_joins import KeptJoin, RegularJoin, SemiJoin
from anomaly_app.plan.nodes.lookup import LookupJoin, LookupKey
from anomaly_app.plan.nodes.materialize import Materialize, materialized
from anomaly_app.plan.nodes.node import NOWHERE, WINDOW_END, WINDOW_START, WINDOW_TIME, Node, WindowColumns, walk
from anomaly_app.plan.nodes.ordered import MAX_RANK, Detect, Frame, Limit, Match, Over, Rank, Sort, SortColumn
from anomaly_app.plan.nodes.predict import Predict
from anomaly_app.plan.nodes.rows import Calc, Exchange, Normalize, Scan, Union, UnnestRows, ValuesRows
from anomaly_app.plan.nodes.timed_joins import IntervalJoin, TemporalJoin, TimedJoin
from anomaly_app.plan.nodes.windows import AggregateCall, WindowAggregate, WindowAssign, WindowJoin

__all__ = [
    "MAX_RANK",
    "NOWHERE",
    "WINDOW_END",
    "WINDOW_START",
    "WINDOW_TIME",
    "Aggregate",
    "AggregateCall",
    "Calc",
    "Copies",
    "Detect",
    "Evaluate",
    "Exchange",
    "Frame",
    "GroupingRows",
    "IntervalJoin",
    "KeptJoin",
    "Limit",
    "LookupJoin",
    "LookupKey",
    "Match",
    "Materialize",
    "Node",
    "Normalize",
    "Over",
    "Predict",
    "Rank",
    "RegularJoin",
    "Scan",
    "SemiJoin",
    "Sort",
    "SortColumn",
    "TemporalJoin",
    "TimedJoin",
    "Union",
    "UnnestRows",
    "ValuesRows",
    "WindowAggregate",
    "WindowAssign",
    "WindowColumns",
    "WindowJoin",
    "materialized",
    "walk",
]
