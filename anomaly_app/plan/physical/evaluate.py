"""ML_EVALUATE as a vertex."""

from __future__ import annotations

from anomaly_app.expressions.typed import Environment
from anomaly_app.graph.evaluate import EvaluatePlan, EvaluateRows, Judged
from anomaly_app.models.model import Model, Task
from anomaly_app.operators import COLUMNS, Layout
from anomaly_app.plan.nodes import Evaluate
from anomaly_app.plan.physical.builder import Builder
from anomaly_app.plan.physical.built import Built
from anomaly_app.plan.physical.calculation import row_codes
from anomaly_app.schema import APPROXIMATE, WHOLE_NUMBERS, Kind


def evaluate(builder: Builder, node: Evaluate) -> Built:
    """The vertex that judges the versions of a model."""
    below = builder.node(node.input)
    env = Environment()
    label = node.label.compile(row_codes(below.layout).__getitem__, env).source
    label_of = env.function("label_of", f"def label_of(row):\n    return {label}")
    judged = [
        Judged(model.version, *_places(model, given, below.layout, node.task))
        for model, given in zip(node.models, node.given, strict=True)
    ]
    plan = EvaluatePlan(label_of, tuple(judged), node.task is Task.REGRESSION, COLUMNS + len(below.layout.columns))
    builder.bounded_only = True
    vertex = builder.add(lambda: EvaluateRows(plan), [below], node.title)
    return Built(vertex, Layout(node.columns), True, None, False)


def _places(model: Model, given: tuple[str, ...], layout: Layout, task: Task) -> tuple[int, int | None]:
    """Where the answer stands in a row, and where its score does, if there is one."""
    columns = list(zip(given, model.outputs, strict=True))
    scored = APPROXIMATE | {Kind.ARRAY}
    classes = [name for name, column in columns if column.type.kind not in scored | {Kind.MAP}]
    scores = [name for name, column in columns if column.type.kind in scored]
    if task is Task.REGRESSION:
        numbers = [name for name, column in columns if column.type.kind in WHOLE_NUMBERS | APPROXIMATE]
        return layout.index((numbers or [given[0]])[0]), None
    score = layout.index(scores[0]) if scores else None
    return layout.index((classes or scores or [given[0]])[0]), score
