"""ML_PREDICT as a vertex: a generated function from a row to what the model is given, and the model."""

from __future__ import annotations

from collections.abc import Callable
from operator import itemgetter

from anomaly_app.expressions.typed import Environment
from anomaly_app.graph.predict import AskRemote, PredictPlan, ScoreRows
from anomaly_app.models.model import Values
from anomaly_app.operators import COLUMNS, Layout, Row
from anomaly_app.plan.nodes import Predict
from anomaly_app.plan.physical.builder import Builder
from anomaly_app.plan.physical.built import Built
from anomaly_app.plan.physical.calculation import row_codes


def predict(builder: Builder, node: Predict) -> Built:
    """The vertex of a model's predictions."""
    below = builder.node(node.input)
    layout, width = below.layout, COLUMNS + len(below.layout.columns)
    env = Environment()
    codes = row_codes(layout)
    args: Callable[[Row], Values]
    places = [layout.index(arg.bare) for arg in node.args if arg.bare is not None]
    if len(places) > 1 and len(places) == len(node.args):
        side_by_side = places == list(range(places[0], places[0] + len(places)))
        args = itemgetter(slice(places[0], places[-1] + 1)) if side_by_side else itemgetter(*places)
    else:
        values = "".join(f"{arg.compile(codes.__getitem__, env).source}, " for arg in node.args)
        args = env.function("args", f"def args(row):\n    return ({values})")
    plan = PredictPlan(node.model, node.options, args, width)
    kind = ScoreRows if node.model.remote is None else AskRemote
    vertex = builder.add(lambda: kind(plan), [below], node.title)
    own = tuple(column for column in node.columns if column.name in node.given)
    return Built(
        vertex, Layout((*layout.columns, *own)), below.in_order, below.time, below.by_source, below.with_(own)
    )  # fmt: skip
