"""ML_PREDICT: the model that is meant, what it is given, and the columns that it adds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal

from anomaly_app.errors import OptionError, SqlValidationError
from anomaly_app.expressions import nodes as n
from anomaly_app.models.model import Model
from anomaly_app.models.options import NAMES, CallOptions, call_options, plain
from anomaly_app.plan.analysis.context import Context
from anomaly_app.plan.analysis.relation import Relation
from anomaly_app.plan.nodes import Predict as PredictNode
from anomaly_app.plan.scope import Expression, Name, Scope, free_name
from anomaly_app.schema import NUMBERS, TEXTS, Column, DataType, Kind
from anomaly_app.sql.queries import Join, Predict
from anomaly_app.words import nearest


def predicted(context: Context, predict: Predict, text: str) -> Relation:
    """The rows of a table with what a model gives for them.

    Raises:
        SqlValidationError: the model is unknown, or is given something else than it takes.
    """
    if predict.data is None:
        problem = "ML_PREDICT with values stands behind a table: FROM t, LATERAL TABLE(ML_PREDICT('model', t.a, …))"
        raise SqlValidationError(problem, text, *predict.span)
    relation = _over(context, context.item(predict.data, text), predict, text)
    node = relation.node
    if predict.columns:
        node = context.renamed(node, predict.columns, predict.span, text)
    qualifiers = frozenset({predict.alias.upper()} if predict.alias else ())
    return Relation(node, tuple(Name(qualifiers, column.name, column) for column in node.columns), text)


def predicted_beside(context: Context, join: Join, predict: Predict, text: str) -> Relation:
    """The rows of the left side of a join with what a model gives for each; errors as of :func:`predicted`."""
    if join.kind not in ("CROSS", "INNER", "LEFT"):
        problem = f"{join.kind} JOIN with ML_PREDICT is not possible: a comma, CROSS JOIN or LEFT JOIN … ON TRUE is"
        raise SqlValidationError(problem, text, *join.span)
    condition = join.condition
    is_true = condition is None or (isinstance(condition, n.Literal) and condition.value is True)
    if join.using or join.natural or not is_true:
        problem = "ML_PREDICT takes ON TRUE only: put conditions into WHERE"
        raise SqlValidationError(problem, text, *predict.span)
    return _over(context, context.item(join.left, text), predict, text)


def over_model(
    context: Context, relation: Relation, predict: Predict, model: Model, text: str
) -> PredictNode:  # fmt: skip
    """The rows of a relation with what a model gives for them.

    Args:
        context: whose scopes.
        relation: the rows.
        predict: what the model is given, and how it is called.
        model: that is asked.
        text: the whole text, for errors.

    Raises:
        SqlValidationError: the model is given something else than it takes.
    """
    node, scope = relation.node, context.scope(relation)
    args, options = _args(model, predict, scope), _options(model, predict, scope)
    taken = list(node.names)
    wanted = predict.columns if predict.data is None and predict.columns else tuple(c.name for c in model.outputs)
    if len(wanted) != len(model.outputs):
        names = ", ".join(column.name for column in model.outputs)
        problem = f"{len(wanted)} names for {len(model.outputs)} columns ({names})"
        raise SqlValidationError(problem, text, *predict.span)
    own: list[Column] = []
    for name, column in zip(wanted, model.outputs, strict=True):
        own.append(Column(free_name(name, taken), column.type.with_nullable(True)))
        taken.append(own[-1].name)
    return PredictNode(
        columns=(*node.columns, *own), rowtimes=node.rowtimes, proctimes=node.proctimes, window=node.window,
        span=predict.span, text=text, input=node, model=model, args=args, given=tuple(c.name for c in own),
        options=options,
    )  # fmt: skip


def _over(context: Context, relation: Relation, predict: Predict, text: str) -> Relation:
    node = relation.node
    if node.updating:
        problem = f"ML_PREDICT needs rows that are not taken back: {node.updating}"
        raise SqlValidationError(problem, text, *predict.span)
    model = context.catalog.model(predict.model)
    if model is None:
        raise SqlValidationError(context.catalog.unknown_model(predict.model), text, *predict.model_span)
    made = over_model(context, relation, predict, model, text)
    own = [made.column(name) for name in made.given]
    # With an alias they are told from columns of the table by it; else a name that is there already gets a number.
    qualifiers = frozenset({predict.alias.upper()} if predict.alias else ())
    called = predict.columns if predict.data is None and predict.columns else [c.name for c in model.outputs]
    visible = called if predict.alias else made.given
    added = (Name(qualifiers, name, one) for name, one in zip(visible, own, strict=True))
    return replace(relation, node=made, names=(*relation.names, *added))


# --- what the model is given ---------------------------------------------------------------------------


def _args(model: Model, predict: Predict, scope: Scope) -> tuple[Expression, ...]:
    if len(predict.args) != len(model.inputs):
        takes = f"model {model.title} takes {len(model.inputs)}: {', '.join(_told(c) for c in model.inputs)}"
        where = predict.args[-1].span if predict.args else predict.model_span
        problem = f"{len(predict.args)} value{'s' * (len(predict.args) != 1)}, and {takes}"
        raise SqlValidationError(problem, scope.text, *where)
    return tuple(_arg(node, column, model, scope) for node, column in zip(predict.args, model.inputs, strict=True))


def _arg(node: n.Node, column: Column, model: Model, scope: Scope) -> Expression:
    """A value as the type of its column of INPUT."""
    expression = scope.expression(node)
    given, wanted = expression.type.with_nullable(True), column.type.with_nullable(True)
    if given == wanted or (given.kind in TEXTS and wanted.kind in TEXTS):
        return expression
    if model.remote is None and wanted.kind is Kind.FLOAT and given.kind in _EXACT:
        return expression  # a model in a file rounds to 32 bits itself, to the same ones
    numbers = NUMBERS | {Kind.NULL}
    if given.kind is Kind.NULL or (given.kind in numbers and wanted.kind in numbers) or _alike(given, wanted):
        return scope.expression(n.Cast(node.span, node, wanted, False))
    cast = f"CAST({expression.words} AS {wanted})"
    problem = f"{expression.words} is {given}, and {column.name} of model {model.title} is {wanted}: {cast}"
    raise scope.fail(node, problem)


_EXACT = frozenset({Kind.DOUBLE, Kind.INT, Kind.SMALLINT, Kind.TINYINT})
"""Kinds whose values are doubles: there is one rounding to 32 bits."""


def _alike(given: DataType, wanted: DataType) -> bool:
    """Types of one kind that differ in precision, or in the types of their elements."""
    if given.kind is not wanted.kind:
        return False
    if given.kind is not Kind.ARRAY:
        return given.kind not in (Kind.ROW, Kind.MAP)
    elements = [given.element, wanted.element]
    return all(one is not None and one.kind in NUMBERS for one in elements)


def _told(column: Column) -> str:
    return f"{column.name} {column.type.with_nullable(True)}"


# --- how it is called ----------------------------------------------------------------------------------


def _options(model: Model, predict: Predict, scope: Scope) -> CallOptions:
    """Options of the model, and of the call, which come first."""
    own = {key.lower().removeprefix(f"{model.provider}."): value for key, value in model.options.items()}
    before = call_options(own)
    given: dict[str, str] = {}
    spans: dict[str, n.Node] = {}
    for key, value in _pairs(predict.config, scope):
        if plain(key) not in NAMES:
            hint = nearest(plain(key), sorted(NAMES))
            raise scope.fail(spans.get(key, value), f"ML_PREDICT has no option {key!r}{hint}")
        given[key], spans[key] = _constant(value, scope), value
    try:
        return call_options(given, before)
    except OptionError as error:
        raise scope.fail(spans[error.option], str(error)) from None


def _pairs(config: n.Node | None, scope: Scope) -> Sequence[tuple[str, n.Node]]:
    if config is None:
        return ()
    if not isinstance(config, n.Call) or config.name != "MAP" or len(config.args) % 2:
        raise scope.fail(config, "options of ML_PREDICT are a map of constants: MAP['client_timeout', 30, …]")
    pairs = []
    for key, value in zip(config.args[::2], config.args[1::2], strict=True):
        if not isinstance(key, n.Literal) or not isinstance(key.value, str):
            raise scope.fail(key, "the name of an option must be a text in quotes")
        pairs.append((key.value, value))
    return pairs


_WORDS: Mapping[object, str] = {True: "true", False: "false"}


def _constant(node: n.Node, scope: Scope) -> str:
    if not isinstance(node, n.Literal) or not isinstance(node.value, (str, bool, int, float, Decimal)):
        raise scope.fail(node, "an option must be a constant: a text, a number, TRUE or FALSE")
    return _WORDS[node.value] if isinstance(node.value, bool) else str(node.value)
