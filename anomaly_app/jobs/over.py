"""Detector functions in a SELECT list: what they are given, checked, and the query around them compiled."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from anomaly_app.detectors import DetectorFunction, check_options
from anomaly_app.errors import OptionError, SqlValidationError
from anomaly_app.expressions import nodes as n
from anomaly_app.expressions.compiler import ExpressionCompiler
from anomaly_app.expressions.tokens import Span
from anomaly_app.expressions.typed import Code, Dialect, Environment, guarded
from anomaly_app.jobs import detector_functions
from anomaly_app.jobs.detector_functions import calls_with_over
from anomaly_app.jobs.select import (
    ROWTIME,
    ColumnScope,
    CompiledSelect,
    Into,
    chained,
    compile_items,
    compile_levels,
    subquery_scope,
    table_scope,
)
from anomaly_app.multivariate.categories import category_code
from anomaly_app.operators import Layout
from anomaly_app.schema import APPROXIMATE, NUMBERS, TEXTS, WHOLE_NUMBERS, Column, Kind, Schema
from anomaly_app.sql.queries import Select
from anomaly_app.windows.over import CompiledOver, DetectorCall, OverRule
from anomaly_app.windows.series import Retention

_FRAME = re.compile(r"((RANGE|ROWS) (BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW|UNBOUNDED PRECEDING))?")

CATEGORIES = "categories"
"""Option of a detector of several values: names of those that are no measures; texts must be among them."""

_AS_THEY_ARE = WHOLE_NUMBERS | APPROXIMATE | {Kind.BOOLEAN, Kind.NULL}


def bind_over(
    select: Select,
    schema: Schema,
    text: str,
    dialect: Dialect,
    *,
    into: Into | None = None,
    retention: Retention = Retention(),  # noqa: B008 (frozen)
) -> OverRule:
    """Bind a query for which :func:`~anomaly_app.jobs.detector_functions.has_detectors` holds.

    Args:
        select: the tree.
        schema: of the table.
        text: the whole statement, for errors.
        dialect: whose semantics.
        into: what makes rows of the sink from rows of the query, from the query's columns.
        retention: how long state of keys is kept, and of how many.

    Raises:
        SqlValidationError: a name, a type, an option or the window of a detector is wrong.
    """

    def scope(layout: Layout) -> ColumnScope:
        return table_scope(select.source, schema, layout.columns, layout.index, text)

    if select.levels[0].match is not None:
        call = next(call for level in select.levels for call in calls_with_over(level))
        problem = "a detector over MATCH_RECOGNIZE is not supported: write the matches to a topic in between"
        raise SqlValidationError(problem, text, *call.span)
    return _Binder(select.levels, scope, f"table {select.source.name}", schema, text, dialect, into, retention).bind()


def bind_over_groups(
    select: Select,
    groups: Schema,
    text: str,
    dialect: Dialect,
    *,
    into: Into | None = None,
    retention: Retention = Retention(),  # noqa: B008 (frozen)
) -> OverRule:
    """Bind the queries around a windowed GROUP BY, whose detectors read its groups; errors as :func:`bind_over`.

    Args:
        select: the whole tree; its innermost query is the windowed one.
        groups: columns of that query, and which of them is its time.
        text: the whole statement, for errors.
        dialect: whose semantics.
        into: what makes rows of the sink from rows of the query, from the query's columns.
        retention: how long state of keys is kept, and of how many.
    """
    _, *levels = select.levels
    alias, problem = levels[0].table.alias, f"{ROWTIME} is of a table: of windows it is window_time"

    def scope(layout: Layout) -> ColumnScope:
        origins = {column.name: column.name for column in layout.columns}
        names = [alias] if alias else []
        return ColumnScope(layout.columns, layout.index, names, text, origins=origins, rowtime=problem)

    return _Binder(levels, scope, "the windowed query", groups, text, dialect, into, retention).bind()


class _Binder:
    def __init__(
        self,
        levels: Sequence[Select],
        scope: Callable[[Layout], ColumnScope],
        source: str,
        schema: Schema,
        text: str,
        dialect: Dialect,
        into: Into | None,
        retention: Retention,
    ) -> None:
        self.schema, self.text, self.dialect, self.into = schema, text, dialect, into
        self._retention = retention
        self._source, self._source_scope = source, scope
        place, *others = [place for place, level in enumerate(levels) if any(calls_with_over(level))]
        if others:
            problem = "a detector over the results of a detector is not supported: write them to a topic in between"
            raise self._fail(next(calls_with_over(levels[others[0]])), problem)
        self.inner, self.level, self.outer = levels[:place], levels[place], levels[place + 1 :]
        self.nodes = {n.shape(node): node for node in calls_with_over(self.level)}

    def bind(self) -> OverRule:
        """Check the calls and compile once with all columns, to learn the output and what is read."""
        layout = Layout(self.schema.columns)
        scope, _ = self._scope(layout)
        calls = tuple(self._call(node, scope) for node in self.nodes.values())
        keys = self._keys(scope)
        _, output, reads = self._compile(layout, calls, None)
        sink = self.into(output) if self.into is not None else None
        needed = reads | {column.name for column in keys}

        def compile(layout: Layout) -> CompiledOver:
            return self._compile(layout, calls, sink)[0]

        return OverRule(
            calls,
            keys,
            output if sink is None else sink.output,
            [column.name for column in self.schema.columns if column.name in needed],
            compile,
            (self._wheres([*self.inner, self.level]), self._wheres(self.outer)),
            self._retention,
        )

    # --- compilation --------------------------------------------------------------------------------

    def _scope(self, layout: Layout) -> tuple[ColumnScope, CompiledSelect | None]:
        """What names mean beside the detectors, and the subquery below."""
        scope = self._source_scope(layout)
        if not self.inner:
            return scope, None
        before = compile_levels(self.inner, scope, self.schema, self.dialect)
        return subquery_scope(before, self.level.table.alias, self.schema, self.text), before

    def _compile(
        self, layout: Layout, calls: Sequence[DetectorCall], sink: CompiledSelect | None
    ) -> tuple[CompiledOver, tuple[Column, ...], frozenset[str]]:
        scope, before = self._scope(layout)
        point = self._compile_point(scope)
        env = Environment()
        types = [call.function.result for call in calls]
        results = {shape: Code(f"r{k}", type_) for k, (shape, type_) in enumerate(zip(self.nodes, types, strict=True))}
        compiler = ExpressionCompiler(self.text, _Results(scope, results), env, self.dialect)
        items = compile_items(self.level, scope, compiler)
        parameters = ", ".join(["row", *(code.source for code in results.values())])
        project = env.function("project", f"def project({parameters}):\n    return ({', '.join(items.sources)},)")
        reads = before.reads if before is not None else frozenset(scope.reads)
        output, after = tuple(items.output), None
        if self.outer:
            level = CompiledSelect(tuple, output, reads, items.origins)
            around = subquery_scope(level, self.outer[0].table.alias, self.schema, self.text)
            after = compile_levels(self.outer, around, self.schema, self.dialect)
            output = after.output
        after = chained(after, sink)
        compiled = CompiledOver(
            before.apply if before is not None else None, point, project, after.apply if after is not None else None
        )
        return compiled, output, reads

    def _compile_point(self, scope: ColumnScope) -> Callable[[tuple[Any, ...]], tuple[float, ...] | None]:
        env = Environment()
        compiler = ExpressionCompiler(self.text, scope, env, self.dialect)
        missing = env.constant(math.nan)
        sources = []
        for node in self.nodes.values():
            for value in _values(node):
                code = compiler.value(value)
                (tests, (name,)) = guarded(env, [code])
                helper = category_code if code.type.kind in TEXTS else float
                number = name if code.type.kind in _AS_THEY_ARE else f"{env.use(helper)}({name})"
                sources.append(f"{missing} if {tests[0]} else {number}" if tests else number)
        lines = ["def point(row):"]
        if self.level.where is not None:
            lines += [f"    if not {compiler.condition(self.level.where, 'WHERE')}:", "        return None"]
        lines.append(f"    return ({', '.join(sources)},)")
        function: Callable[[tuple[Any, ...]], tuple[float, ...] | None] = env.function("point", "\n".join(lines))
        return function

    # --- checks -------------------------------------------------------------------------------------

    def _call(self, node: n.Call, scope: ColumnScope) -> DetectorCall:
        known = detector_functions.functions()
        function = known.get(node.name)
        if function is None:
            raise self._fail(node, detector_functions.no_detector(node))
        if node.distinct or node.filter is not None or node.semantics:
            raise self._fail(node, f"{node.name} is a detector: DISTINCT, FILTER, RUNNING and FINAL are not possible")
        if not 2 <= len(node.args) <= 3:
            problem = f"{node.name} takes a value, the time attribute and perhaps JSON_OBJECT(…), not {len(node.args)}"
            raise self._fail(node, f"{problem} argument{'s' * (len(node.args) != 1)}")
        options, spans = self._options(node)
        self._check_values(node, function, scope, options)
        self._check_time(node.args[1], f"the second argument of {node.name}", scope)
        self._check_window(node, scope)
        names = tuple(self._name(value) for value in _values(node))
        try:
            call = DetectorCall(
                function, check_options(function, options), tuple(options), names, self._words(node.args[0])
            )
            width = call.create().width
        except OptionError as error:
            span = spans.get(error.option, node.args[2].span if len(node.args) > 2 else node.span)
            raise SqlValidationError(str(error), self.text, *span) from error
        assert width == len(names), f"{node.name} takes {width} numbers where {len(names)} are given"
        return call

    def _check_values(
        self, node: n.Call, function: DetectorFunction, scope: ColumnScope, options: Mapping[str, Any]
    ) -> None:
        compiler = ExpressionCompiler(self.text, scope, Environment(), self.dialect)
        value, parts = node.args[0], _values(node)
        if parts != (value,) and not function.multivariate:
            raise self._fail(value, f"{node.name} takes one number, not a ROW")
        if not parts:
            raise self._fail(value, f"{node.name} takes a number or a ROW of numbers, and this ROW is empty")
        takes = f"{node.name} takes {'a number or a ROW of numbers' if function.multivariate else 'a number'}"
        with_categories = any(option.name == CATEGORIES for option in function.options)
        categories = [name.strip() for name in str(options.get(CATEGORIES, "")).split(",")]
        for part in parts:
            type_ = compiler.value(part).type.with_nullable(True)
            if type_.kind in NUMBERS | {Kind.NULL} or (type_.kind is Kind.BOOLEAN and function.multivariate):
                continue
            if type_.kind not in TEXTS or not with_categories:
                raise self._fail(part, f"{takes}, not {type_}")
            name = self._name(part)
            if name not in categories:
                raise self._fail(part, f"{takes}: {name} is {type_}, and not named in the option '{CATEGORIES}'")

    def _check_time(self, node: n.Node, what: str, scope: ColumnScope) -> None:
        time = self.schema.rowtime or self.schema.proctime
        if time is None:
            problem = f"{self._source} has none: it needs a WATERMARK FOR a column (or rowtime= of Rows)"
            raise self._fail(node, f"{what} must be the time attribute of the table, and {problem}")
        if scope.origin(node) != time:
            raise self._fail(node, f"{what} must be the time attribute of {self._source}, {time}")

    def _check_window(self, node: n.Call, scope: ColumnScope) -> None:
        window = node.over
        assert window is not None
        if not window.order_by:
            problem = f"{node.name} takes rows in their order: OVER needs ORDER BY the time attribute"
            raise SqlValidationError(problem, self.text, *window.span)
        first, *others = window.order_by
        self._check_time(first.expr, "ORDER BY of OVER", scope)
        if first.descending:
            raise self._fail(first, "ORDER BY of OVER must be ascending: a detector learns from what came before")
        if others:
            problem = "ORDER BY of OVER takes the time attribute only: rows of one time are taken as they came"
            raise self._fail(others[0], problem)
        if not _FRAME.fullmatch(window.frame):
            problem = (
                "the frame must be RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW: a detector sees each row once, "
                "and how far back it remembers is one of its options"
            )
            raise SqlValidationError(problem, self.text, *window.frame_span)

    def _keys(self, scope: ColumnScope) -> tuple[Column, ...]:
        """Columns of the table that PARTITION BY names: the same ones for all calls."""
        keys: tuple[Column, ...] | None = None
        for node in self.nodes.values():
            assert node.over is not None
            own = tuple(self._key(part, scope) for part in node.over.partition_by)
            if keys is not None and {column.name for column in own} != {column.name for column in keys}:
                names = ", ".join(column.name for column in keys) or "nothing"
                problem = (
                    f"detectors of one query need the same PARTITION BY, and the first has {names}: "
                    "the rows of a key must meet in one place"
                )
                raise SqlValidationError(problem, self.text, *node.over.span)
            keys = own if keys is None else keys
        assert keys is not None
        return keys

    def _key(self, node: n.Node, scope: ColumnScope) -> Column:
        origin = scope.origin(node)
        if origin is None:
            raise self._fail(node, "PARTITION BY of OVER takes columns of the table, and no expressions")
        return next(column for column in self.schema.columns if column.name == origin)

    def _options(self, node: n.Call) -> tuple[dict[str, Any], dict[str, Span]]:
        """Options as given, and the place of each."""
        options: dict[str, Any] = {}
        spans: dict[str, Span] = {}
        if len(node.args) < 3:
            return options, spans
        given = node.args[2]
        if not isinstance(given, n.Call) or given.name != "JSON_OBJECT":
            raise self._fail(given, f"the options of {node.name} must be JSON_OBJECT('name' VALUE value, …)")
        for key, value in zip(given.args[::2], given.args[1::2], strict=True):
            if not isinstance(key, n.Literal) or not isinstance(key.value, str):
                raise self._fail(key, "the name of an option must be a text in quotes")
            if not isinstance(value, n.Literal):
                raise self._fail(value, f"option {key.value!r} must be a constant")
            if key.value in options:
                raise self._fail(key, f"option {key.value!r} is there twice")
            options[key.value] = float(value.value) if isinstance(value.value, Decimal) else value.value
            spans[key.value] = Span(key.span.start, value.span.end)
        return options, spans

    def _fail(self, node: n.Node, problem: str) -> SqlValidationError:
        return SqlValidationError(problem, self.text, *node.span)

    def _name(self, value: n.Node) -> str:
        """What a value is called."""
        return value.parts[-1] if isinstance(value, n.ColumnRef) else self._words(value)

    def _words(self, node: n.Node) -> str:
        return " ".join(self.text[slice(*node.span)].split())

    def _wheres(self, levels: Sequence[Select]) -> list[str]:
        return [self._words(level.where) for level in levels if level.where is not None]


class _Results:
    """Names beside detectors: the detectors' results, and whatever else there is."""

    def __init__(self, scope: ColumnScope, results: dict[Any, Code]) -> None:
        self._scope, self._results = scope, results

    def column(self, node: n.ColumnRef) -> Code:
        """A column."""
        return self._scope.column(node)

    def call(self, node: n.Call, compiler: ExpressionCompiler) -> Code | None:
        """A detector's result."""
        known = self._results.get(n.shape(node)) if node.over is not None else None
        return known if known is not None else self._scope.call(node, compiler)


def _values(node: n.Call) -> Sequence[n.Node]:
    """The values that a detector is given, of a ROW its fields."""
    value = node.args[0]
    return value.args if isinstance(value, n.Call) and value.name == "ROW" else (value,)
