"""ML_EVALUATE: the versions that are judged, what each is given, and what is true."""

from __future__ import annotations

from dataclasses import replace

from anomaly_app.errors import SqlValidationError
from anomaly_app.expressions import nodes as n
from anomaly_app.models.judge import CLASSES, NUMBERS
from anomaly_app.models.model import Model, Task
from anomaly_app.plan.analysis.context import Context
from anomaly_app.plan.analysis.predicting import over_model
from anomaly_app.plan.analysis.relation import Relation
from anomaly_app.plan.nodes import Evaluate
from anomaly_app.schema import APPROXIMATE, BIGINT, DOUBLE, INT, TEXTS, WHOLE_NUMBERS, Column, DataType, Kind
from anomaly_app.sql.queries import Predict, Select

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
