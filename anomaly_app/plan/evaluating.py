"""ML_EVALUATE: the versions that are judged, what each is given, and what is true."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from anomaly_app.errors import SqlValidationError
from anomaly_app.expressions import nodes as n
from anomaly_app.graph.evaluate import EvaluatePlan, EvaluateRows, Judged
from anomaly_app.models.judge import CLASSES, NUMBERS
from anomaly_app.models.model import Model, Task
from anomaly_app.operators import COLUMNS, Layout
from anomaly_app.plan.built import Built
from anomaly_app.plan.context import Context
from anomaly_app.plan.evaluate_node import Evaluate
from anomaly_app.plan.predicting import over_model
from anomaly_app.plan.relation import Relation
from anomaly_app.schema import APPROXIMATE, BIGINT, DOUBLE, INT, TEXTS, WHOLE_NUMBERS, Column, DataType, Kind
from anomaly_app.sql.queries import Predict, Select

if TYPE_CHECKING:
    from anomaly_app.plan.physical import Builder

NAME = "ML_EVALUATE"


def call_of(select: Select) -> n.Call | None:
    """The call of ML_EVALUATE that a SELECT is about; None without.

    Raises:
        SqlValidationError: something stands beside it.
    """
    calls = [part for item in select.items for part in n.walk(item.expr) if isinstance(part, n.Call)]
    call = next((one for one in calls if one.name == NAME), None)
    if call is None:
        return None
    bare = len(select.items) == 1 and select.items[0].expr is call
    if not bare or select.group_by or select.having is not None or select.distinct or call.over is not None:
        problem = (
            f"{NAME} stands alone in the SELECT list, without GROUP BY: it gives a row for each version of the model"
        )
        raise SqlValidationError(problem, select.text, *call.span)
    return call


def evaluated(context: Context, relation: Relation, call: n.Call) -> Evaluate:
    """How good the versions of a model are, a row for each.

    Args:
        context: whose models.
        relation: the rows.
        call: the model, what is true, and what the model is given.

    Raises:
        SqlValidationError: the model is unknown, or what it is given is wrong.
    """
    text = relation.text
    if relation.node.updating:
        problem = f"{NAME} needs rows that are not taken back: {relation.node.updating}"
        raise SqlValidationError(problem, text, *call.span)
    if len(call.args) < 2:
        problem = f"{NAME} takes a model, what is true, and what the model is given: {NAME}('m', label, a, b)"
        raise SqlValidationError(problem, text, *call.span)
    named, label_tree, *args = call.args
    config = args.pop() if args and isinstance(args[-1], n.Call) and args[-1].name == "MAP" else None
    models = _models(context, named, text)
    label = context.scope(relation).expression(label_tree)
    given: list[tuple[str, ...]] = []
    for model in models:
        predict = Predict(call.span, (), named.span, tuple(args), config, None)
        node = over_model(context, relation, predict, model, text)
        # A row on which a version fails is counted, and no reason to stop.
        node = replace(node, options=replace(node.options, error_handling="null"))
        given.append(node.given)
        relation = relation.over(node)
    task = _task(models[0], label.type, label_tree, text)
    columns = [Column("version", INT), Column("rows", BIGINT), Column("failed", BIGINT)]
    columns += [Column(name, DOUBLE) for name in (NUMBERS if task is Task.REGRESSION else CLASSES)]
    return Evaluate(
        columns=tuple(columns), span=call.span, text=text, input=relation.node, models=tuple(models), label=label,
        given=tuple(given), task=task,
    )  # fmt: skip


def _models(context: Context, named: n.Node, text: str) -> list[Model]:
    if isinstance(named, n.Literal) and isinstance(named.value, str):
        path = tuple(part.strip().strip("`") for part in named.value.split("."))
    elif isinstance(named, n.ColumnRef):
        path = named.parts
    else:
        raise SqlValidationError(f"the first argument of {NAME} is the name of a model", text, *named.span)
    models = context.catalog.models_of(path)
    if not models:
        raise SqlValidationError(context.catalog.unknown_model(path), text, *named.span)
    return models


def _task(model: Model, label: DataType, tree: n.Node, text: str) -> Task:
    """What the model does, as far as its answers can be judged."""
    task = model.task
    if task is None:
        task = Task.REGRESSION if label.kind in APPROXIMATE | {Kind.DECIMAL} else Task.CLASSIFICATION
    if task not in (Task.CLASSIFICATION, Task.REGRESSION):
        problem = f"{NAME} judges classification and regression, and the task of model {model.title} is {task.value}"
        raise SqlValidationError(problem, text, *tree.span)
    numbers = WHOLE_NUMBERS | APPROXIMATE | {Kind.DECIMAL}
    if task is Task.REGRESSION and label.kind not in numbers:
        problem = f"what is true of a regression is a number, and this is {label.with_nullable(True)}"
        raise SqlValidationError(problem, text, *tree.span)
    if label.kind not in numbers | TEXTS | {Kind.BOOLEAN}:
        problem = f"what is true is a class or a number, and this is {label.with_nullable(True)}"
        raise SqlValidationError(problem, text, *tree.span)
    return task


def build(builder: Builder, node: Evaluate) -> Built:
    """The vertex."""
    from anomaly_app.expressions.typed import Environment
    from anomaly_app.plan.calculation import row_codes

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
