"""GROUP BY: windows, keys, aggregates, grouping sets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from anomaly_app.errors import SqlValidationError
from anomaly_app.expressions import nodes as n
from anomaly_app.expressions.aggregates import AGGREGATES
from anomaly_app.expressions.tokens import Span
from anomaly_app.expressions.typed import Code, Dialect, Environment
from anomaly_app.plan.groups import Aggregate, GroupingRows
from anomaly_app.plan.nodes import (
    WINDOW_END,
    WINDOW_START,
    WINDOW_TIME,
    AggregateCall,
    Calc,
    Node,
    Union,
    WindowAggregate,
    WindowColumns,
)
from anomaly_app.plan.old_windows import is_old_edge, is_old_window, old_edge, with_old_window
from anomaly_app.plan.relation import Relation, bare
from anomaly_app.plan.scope import Exact, Expression, Scope, free_name, names_of
from anomaly_app.plan.windowing import assignment, below_windows, edge_columns
from anomaly_app.schema import TEXTS, WHOLE_NUMBERS, Column, DataType, Kind
from anomaly_app.sql.queries import Select, SelectItem, SetOperation
from anomaly_app.windows.accumulators import Accumulators
from anomaly_app.windows.assign import Sessions

if TYPE_CHECKING:
    from anomaly_app.plan.analysis import Analyzer

Replaced = Callable[[n.Node], n.Node]

_GROUPING = ("GROUPING", "GROUPING_ID")


def is_aggregate(node: n.Node) -> bool:
    """Whether a node is a call of an aggregate over a group."""
    return isinstance(node, n.Call) and node.over is None and (node.name in AGGREGATES or node.name in _GROUPING)


def has_aggregates(node: n.Node) -> bool:
    """Whether an expression has an aggregate over a group in it.

    Example:
        >>> from anomaly_app.expressions.parser import parse_expression
        >>> has_aggregates(parse_expression("1 + MAX(a)")), has_aggregates(parse_expression("ABS(a)"))
        (True, False)
    """
    return any(map(is_aggregate, n.walk(node)))


def grouped(
    analyzer: Analyzer, select: Select, items: Sequence[SelectItem], relation: Relation
) -> tuple[Relation, Replaced]:
    """The groups of a SELECT, and what makes expressions over them of expressions over its FROM.

    Raises:
        SqlValidationError: the groups are not those of a window, a name is no key, an aggregate is not defined.
    """
    return _Grouping(analyzer, select, items, relation).grouped()


class _Grouping:
    def __init__(self, analyzer: Analyzer, select: Select, items: Sequence[SelectItem], relation: Relation) -> None:
        self.analyzer, self.select, self.text = analyzer, select, relation.text
        self.trees = [item.expr for item in items]
        if select.having is not None:
            self.trees.append(select.having)
        if select.qualify is not None:
            self.trees.append(select.qualify)
        self.old = [item for item in select.group_by if is_old_window(item)]
        self.relation = with_old_window(analyzer, select, relation, self.old)
        self.scope = analyzer.scope(self.relation)
        self.known: dict[Any, Column] = {}
        """Keys and aggregates by the shape of their expression: the columns that they are behind the groups."""
        self.window: WindowColumns | None = None
        """That makes the groups complete; None without."""
        self.aggregates: list[AggregateCall] = []

    def fail(self, node: n.Node, problem: str) -> SqlValidationError:
        return SqlValidationError(problem, self.text, *node.span)

    # --- the whole --------------------------------------------------------------------------------

    def grouped(self) -> tuple[Relation, Replaced]:
        self._check_groups()
        keys = self._keys_beside_window()
        self.window = self.relation.node.window if keys is not None else None
        if keys is None:
            keys = self.select.group_by
        relation, names = self.analyzer.with_columns(self.relation, keys)
        self._check_keys(keys, names, relation)
        for tree in self.trees:
            self._collect(tree)
        self._note_keys(keys, names, relation)
        if self.window is not None:
            node = self._aggregate(relation, keys, names, self.window)
        else:
            node = self._changing(relation, names)
        grouped = replace(relation, node=node, names=names_of(node.columns))
        if self.select.having is not None:
            grouped = self.analyzer.filtered(grouped, self._over_groups(self.select.having), "HAVING")
        return grouped, self._over_groups

    def _aggregate(
        self, relation: Relation, keys: Sequence[n.Node], names: Sequence[str], window: WindowColumns
    ) -> Node:
        sets = self.select.grouping_sets
        if sets is None:
            return self._one_set(relation, keys, names, window, tuple(range(len(keys))))
        places = {id(item): place for place, item in enumerate(keys)}
        branches = []
        for members in sets:
            chosen = [self.select.group_by[place] for place in members]
            branches.append(
                self._one_set(relation, keys, names, window, tuple(places[id(k)] for k in chosen if id(k) in places))
            )
        if len(branches) == 1:
            return branches[0]
        first = branches[0]
        return Union(
            columns=tuple(
                replace(column, type=column.type.with_nullable(any(b.columns[k].type.nullable for b in branches)))
                for k, column in enumerate(first.columns)
            ),
            rowtimes=first.rowtimes, proctimes=first.proctimes, window=first.window, span=self.select.span,
            text=self.text, branches=tuple(branches),
        )  # fmt: skip

    def _one_set(
        self, relation: Relation, keys: Sequence[n.Node], names: Sequence[str], window: WindowColumns,
        members: tuple[int, ...],
    ) -> Node:  # fmt: skip
        """The groups by some of the keys; the columns of the others are NULL."""
        node = self._groups(relation, [names[place] for place in members], [self.keys[p] for p in members], window)
        if self.select.grouping_sets is None:
            return node
        scope = Scope(self.text, names_of(node.columns), self.analyzer.dialect)
        items: list[Expression] = []
        columns: list[Column] = []
        for place, key in enumerate(self.keys):
            if place in members:
                items.append(bare(key, scope))
            else:
                null = n.Cast(keys[place].span, n.Literal(keys[place].span, None, DataType(Kind.NULL)), key.type, False)
                items.append(scope.expression(null))
            columns.append(replace(key, type=key.type.with_nullable(True)))
        for column in node.columns:
            if column.name not in {key.name for key in self.keys}:
                items.append(bare(column, scope))
                columns.append(column)
        for column, tree in self._groupings(members):
            items.append(scope.expression(tree))
            columns.append(column)
        return Calc(
            columns=tuple(columns), rowtimes=node.rowtimes, proctimes=node.proctimes, window=node.window,
            span=self.select.span, text=self.text, input=node, condition=None, items=tuple(items),
        )  # fmt: skip

    def _groups(
        self, relation: Relation, names: Sequence[str], keys: Sequence[Column], window: WindowColumns
    ) -> WindowAggregate:
        node = relation.node
        reads = {name for call in self.aggregates for one in (call.value, call.condition) if one for name in one.reads}
        about_edges = window.start in reads or window.end in reads or window.time in reads
        pushed = None if about_edges else below_windows(node, self.text, self.analyzer.dialect)
        if pushed is not None and pushed[0].updating:
            pushed = None  # each row brings its windows: so it can be taken out of those that are open
        if pushed is not None:
            source, assign = pushed
            time, attached = assign.time, None
            attribute = source.column(time)
            is_rowtime = time in source.rowtimes
        else:
            source, attached = node, window
            time = window.time or window.end or ""
            attribute = node.column(time)
            is_rowtime = not node.proctimes or bool(node.rowtimes)
        edges = edge_columns(source, attribute.name, {key.name for key in keys})
        if pushed is None:
            type_ = DataType(attribute.type.kind, 3, nullable=False)
            edges = (edges[0], edges[1], replace(edges[2], type=type_))
        if self.old:
            edges = (edges[0], edges[1], replace(edges[2], type=edges[2].type.with_nullable(True)))
        self.edges = edges
        columns = (*keys, *edges, *(self.known[n.shape(call.call)] for call in self.aggregates))
        return WindowAggregate(
            columns=columns,
            rowtimes=frozenset({edges[2].name}) if is_rowtime else frozenset(),
            proctimes=frozenset() if is_rowtime else frozenset({edges[2].name}),
            window=WindowColumns(edges[0].name, edges[1].name, edges[2].name, window.windows), span=self.select.span,
            text=self.text, input=source, keys=tuple(names), key_names=tuple(key.name for key in keys),
            aggregates=tuple(self.aggregates), windows=window.windows, time=time, attached=attached,
        )  # fmt: skip

    # --- without a window -------------------------------------------------------------------------

    def _changing(self, relation: Relation, names: Sequence[str]) -> Node:
        """Groups that are told whenever they change."""
        sets, node, key_columns = self.select.grouping_sets, relation.node, list(self.keys)
        constants: list[Column] = []
        if sets is not None:
            rows = self._grouping_rows(relation, names, sets)
            node, names = rows, (*rows.names[len(relation.node.columns) :],)
            key_columns = [replace(key, type=key.type.with_nullable(True)) for key in self.keys]
            constants = [rows.column(name) for name in names[len(key_columns) :]]
        written = ", ".join(self.text[slice(*item.span)] for item in self.select.group_by)
        why = f"the groups of GROUP BY {written} change" if written else "an aggregate without GROUP BY changes"
        is_final = not self.aggregates and not node.updating
        return Aggregate(
            columns=(*key_columns, *constants, *(self.known[n.shape(call.call)] for call in self.aggregates)),
            updating="" if is_final else node.updating if not self.aggregates else f"{why} with every row",
            span=self.select.span, text=self.text, input=node, keys=tuple(names),
            key_names=(*(column.name for column in (*key_columns, *constants)),), aggregates=tuple(self.aggregates),
        )  # fmt: skip

    def _grouping_rows(
        self, relation: Relation, names: Sequence[str], sets: tuple[tuple[int, ...], ...]
    ) -> GroupingRows:
        """Each row once for each grouping set."""
        node = relation.node
        taken = [*node.names, *(column.name for column in self.known.values())]
        added: list[Column] = []
        for name in names:
            column = node.column(name)
            added.append(Column(free_name(f"${name}", taken), column.type.with_nullable(True)))
            taken.append(added[-1].name)
        number = Column(free_name("$set", taken), DataType(Kind.INT, nullable=False))
        by_set = [self._groupings(members) for members in sets]
        constants = []
        for place, (column, _) in enumerate(by_set[0]):
            values = [groupings[place][1] for groupings in by_set]
            constants.append((column, tuple(one.value for one in values if isinstance(one, n.Literal))))
        return GroupingRows(
            columns=(*node.columns, *added, number, *(column for column, _ in constants)), rowtimes=node.rowtimes,
            proctimes=node.proctimes, updating=node.updating, span=self.select.span, text=self.text, input=node,
            keys=tuple(names), added=tuple(column.name for column in added), sets=sets, number=number.name,
            constants=tuple((column.name, values) for column, values in constants),
        )  # fmt: skip

    # --- windows ----------------------------------------------------------------------------------

    def _edge(self, item: n.Node, window: WindowColumns | None) -> str:
        """Which edge of the window an item of GROUP BY is; "" for none."""
        if window is None or not isinstance(item, n.ColumnRef):
            return ""
        column, fields = self.scope.resolve(item)
        if fields:
            return ""
        edges = {window.start: "start", window.end: "end", window.time: "time"}
        return edges.get(column.name, "")

    def _keys_beside_window(self) -> Sequence[n.Node] | None:
        """What GROUP BY names besides the window of its rows; None if its groups are not complete with a window."""
        if self.old:
            return [item for item in self.select.group_by if item not in self.old]
        window = self.relation.node.window
        edges = {id(item): self._edge(item, window) for item in self.select.group_by}
        if not {"start", "end"} <= set(edges.values()):
            return None
        keys = [item for item in self.select.group_by if not edges[id(item)]]
        assign = assignment(self.relation.node)
        if assign is not None and isinstance(assign.windows, Sessions):
            # Sessions of other keys than those of the groups end at other times than the groups.
            bare = {self.scope.expression(key).bare for key in keys}
            return keys if bare == set(assign.keys) else None
        return keys

    def _check_groups(self) -> None:
        select = self.select
        for item in select.group_by:
            if isinstance(item, n.ColumnRef):
                self.scope.resolve(item)  # an unknown name is the first thing to say
        if not select.group_by and not any(map(has_aggregates, self.trees)):
            assert select.having is not None
            raise self.fail(select.having, "HAVING is about groups, and there is no GROUP BY: WHERE is about rows")

    def _check_keys(self, keys: Sequence[n.Node], names: Sequence[str], relation: Relation) -> None:
        for key, name in zip(keys, names, strict=True):
            problem = unfit_key(relation.node.column(name).type)
            if problem:
                raise self.fail(key, problem)

    # --- names --------------------------------------------------------------------------------------

    def _note_keys(self, keys: Sequence[n.Node], names: Sequence[str], relation: Relation) -> None:
        taken: list[str] = [column.name for column in self.known.values()]
        if self.window is not None:
            taken += [WINDOW_START, WINDOW_END, WINDOW_TIME]
        self.keys: list[Column] = []
        for key, name in zip(keys, names, strict=True):
            own = free_name(name, taken)
            taken.append(own)
            column = Column(own, relation.node.column(name).type)
            self.keys.append(column)
            self.known.setdefault(self._shape(key), column)

    def _shape(self, tree: n.Node) -> Any:
        """What an expression says, with columns called by what they mean: equal for ``t.a`` and ``a``."""

        def resolved(part: n.Node) -> n.Node:
            if not isinstance(part, n.ColumnRef):
                return part
            column, fields = self.scope.resolve(part)
            return n.ColumnRef(part.span, (column.name, *fields))

        return n.shape(n.rewritten(tree, resolved))

    def _over_groups(self, tree: n.Node) -> n.Node:
        """An expression over the groups, of one over the rows."""
        if isinstance(tree, n.Call) and (is_aggregate(tree) or is_old_edge(tree)):
            known = self.known.get(n.shape(tree)) or self.edges[old_edge(tree, self.old, self.text)]
            return Exact.to(tree.span, known)
        if isinstance(tree, n.Call) and tree.over is not None:
            return self._children_over_groups(tree)
        if is_old_window(tree):
            assert isinstance(tree, n.Call)
            hint = f"{tree.name}_START" if self.old else WINDOW_START
            raise self.fail(tree, f"{tree.name} stands in GROUP BY only; {hint} gives the window's start")
        edge = self._edge(tree, self.window) if isinstance(tree, n.ColumnRef) else ""
        if edge and not self.old:
            return Exact.to(tree.span, self.edges[("start", "end", "time").index(edge)])
        if not isinstance(tree, n.Literal):
            key = self.known.get(self._shape(tree)) if _plain(tree) else None
            if key is not None:
                return Exact.to(tree.span, key)
        if isinstance(tree, n.ColumnRef):
            column, _ = self.scope.resolve(tree)
            problem = (
                f"{column.name} is neither in GROUP BY nor inside an aggregate: a group has many values of it, "
                f"say which, as in MAX({column.name}) or LAST_VALUE({column.name})"
            )
            raise self.fail(tree, problem)
        return self._children_over_groups(tree)

    def _children_over_groups(self, tree: n.Node) -> n.Node:
        changed = {id(child): self._over_groups(child) for child in n.children(tree)}
        return n.with_children(tree, lambda child: changed[id(child)])

    def _groupings(self, members: tuple[int, ...]) -> list[tuple[Column, n.Node]]:
        """GROUPING(…) of one grouping set: constants."""
        found: list[tuple[Column, n.Node]] = []
        for shape, call in self.grouping_calls.items():
            bits = 0
            for arg in call.args:
                key = self.known.get(self._shape(arg))
                if key is None or key not in self.keys:
                    raise self.fail(arg, f"{call.name} takes keys of GROUP BY")
                bits = bits * 2 + (self.keys.index(key) not in members)
            type_ = DataType(Kind.BIGINT, nullable=False)
            found.append((self.known[shape], n.Literal(call.span, bits, type_)))
        return found

    # --- aggregates ---------------------------------------------------------------------------------

    def _collect(self, tree: n.Node) -> None:
        """Note the aggregates of an expression, each once."""
        self.grouping_calls: dict[Any, n.Call] = getattr(self, "grouping_calls", {})
        if isinstance(tree, n.Call) and is_aggregate(tree):
            shape = n.shape(tree)
            if shape not in self.known:
                self.known[shape] = self._aggregate_column(tree)
            return
        for child in n.children(tree):
            self._collect(child)

    def _aggregate_column(self, call: n.Call) -> Column:
        name = f"${len(self.known)}"
        if call.name in _GROUPING:
            if self.select.grouping_sets is None:
                raise self.fail(call, f"{call.name} is for GROUPING SETS, ROLLUP and CUBE")
            self.grouping_calls[n.shape(call)] = call
            return Column(name, DataType(Kind.BIGINT, nullable=False))
        sets = self.select.grouping_sets
        # In type, a group of all rows may be one of none.
        has_rows = self.window is not None or (bool(self.select.group_by) if sets is None else () not in sets)
        aggregate, type_ = checked_aggregate(call, self.scope, name, has_rows=has_rows)
        self.aggregates.append(aggregate)
        return Column(name, type_)


def distinct_rows(node: Node, span: Span, text: str) -> Aggregate:
    """Each row of a node once."""
    _check_columns("DISTINCT", node.columns, span, text)
    return Aggregate(
        columns=node.columns, updating=node.updating, span=span, text=text, input=node, keys=node.names,
        key_names=node.names, aggregates=(),
    )  # fmt: skip


def side_counts(
    analyzer: Analyzer, union: Node, columns: Sequence[Column], side: Column, tree: SetOperation
) -> Aggregate:
    """Each row once, and behind its columns how often it is there on either side."""
    _check_columns(tree.kind, columns, tree.span, tree.text)
    scope = Scope(tree.text, names_of(union.columns), analyzer.dialect)
    calls: list[AggregateCall] = []
    counts: list[Column] = []
    for number in range(2):
        of_side = n.Binary(tree.span, "=", Exact.to(tree.span, side), n.Literal(tree.span, number, side.type))
        call = n.Call(tree.span, "COUNT", filter=of_side)
        one, type_ = checked_aggregate(call, scope, free_name(f"$count{number}", union.names))
        calls.append(one)
        counts.append(Column(one.name, type_))
    names = tuple(column.name for column in columns)
    return Aggregate(
        columns=(*columns, *counts), updating=f"{tree.kind} takes rows back as others come", span=tree.span,
        text=tree.text, input=union, keys=names, key_names=names, aggregates=tuple(calls),
    )  # fmt: skip


def _check_columns(what: str, columns: Sequence[Column], span: Span, text: str) -> None:
    for column in columns:
        problem = unfit_key(column.type)
        if problem:
            raise SqlValidationError(f"{what} of column {column.name}: {problem}", text, *span)


def unfit_key(type_: DataType) -> str:
    """Why values of a type cannot be the key of a group; "" if they can."""
    waiting = [type_]
    while waiting:
        one = waiting.pop()
        if one.kind in (Kind.MAP, Kind.ARRAY):
            return f"a key cannot be {type_.with_nullable(True)}: its elements, or CAST(… AS STRING), can"
        waiting += [field for _, field in one.fields]
    return ""


def checked_aggregate(
    call: n.Call, scope: Scope, name: str, *, has_rows: bool = True
) -> tuple[AggregateCall, DataType]:
    """An aggregate with its arguments checked, and the type of its result; raises ``SqlValidationError``.

    Args:
        call: as written.
        scope: what names mean in its arguments.
        name: of its column.
        has_rows: no group is without rows.
    """
    if call.semantics:
        raise scope.fail(call, f"{call.semantics} may stand inside MATCH_RECOGNIZE only")
    most = 2 if call.name == "LISTAGG" else 1
    rows = call.name == "COUNT" and (not call.args or isinstance(call.args[0], n.Star))
    if not 1 <= len(call.args) <= most and not rows:
        raise scope.fail(call, f"{call.name} takes one argument, not {len(call.args)}")
    for arg in call.args:
        inner = next((part for part in n.walk(arg) if is_aggregate(part)), None)
        if inner is not None:
            assert isinstance(inner, n.Call)
            raise scope.fail(inner, f"{inner.name} cannot stand inside {call.name}")
    value = None if rows else scope.expression(call.args[0])
    condition = scope.expression(call.filter, "the FILTER") if call.filter is not None else None
    if len(call.args) == 2:
        separator = call.args[1]
        if not isinstance(separator, n.Literal) or separator.type.kind not in TEXTS:
            raise scope.fail(separator, "the separator of LISTAGG must be a text, written out")
    aggregate = AggregateCall(name, call, value, condition)
    env = Environment()
    result = add_to(
        Accumulators(env, scope.dialect, gap_ms=None, merges=False), aggregate, scope.typed, env, scope.dialect
    )
    if result is None:
        shown = str(value.type.with_nullable(True)) if value is not None else "rows"
        hint = ": CAST it to a number" if value is not None and value.type.kind in TEXTS else ""
        what = "DISTINCT " if call.distinct else ""
        raise scope.fail(call, f"{call.name} of {what}{shown} is not defined{hint}")
    type_ = result.type
    if call.name in OF_SOME and has_rows and call.filter is None and value is not None and not value.type.nullable:
        type_ = type_.with_nullable(False)
    return aggregate, type_


OF_SOME = frozenset({"SUM", "AVG", "MIN", "MAX", "FIRST_VALUE", "LAST_VALUE"})
"""Aggregates that are NULL only if all values are: a group has a row, and so has the frame of an OVER."""


class Adds(Protocol):
    """What collects the aggregates of groups: accumulators of some kind."""

    def add(
        self, name: str, value: Code | None, *, keep: str = "", distinct: bool = False, separator: Code | None = None
    ) -> Code | None:
        """Source of an aggregate of a group; None if it is not defined for that type."""
        ...


def add_to(
    accumulators: Adds, aggregate: AggregateCall, codes: Callable[[str], Code], env: Environment, dialect: Dialect
) -> Code | None:
    """Add an aggregate to the accumulators of a group; its source, None if it is not defined for that type."""
    call, value = aggregate.call, aggregate.value
    with env.apart("u"):
        compiled = value.compile(codes, env) if value is not None else None
    with env.apart("w"):
        keep = aggregate.condition.compile_condition(codes, env) if aggregate.condition is not None else ""
    if call.distinct and compiled is not None and compiled.type.kind in (Kind.ARRAY, Kind.MAP, Kind.ROW):
        return None
    separator = None
    if len(call.args) == 2:
        literal = call.args[1]
        assert isinstance(literal, n.Literal)
        separator = Code(repr(literal.value), literal.type, literal.value)
    code = accumulators.add(call.name, compiled, keep=keep, distinct=call.distinct, separator=separator)
    if code is None or compiled is None or not _is_whole(call.name, compiled.type, dialect):
        return code
    return Code(f"(None if {code.source} is None else int({code.source}))", compiled.type.with_nullable(True))


def _is_whole(name: str, type_: DataType, dialect: Dialect) -> bool:
    """Whether a deviation or variance is of the type of its values, cut towards zero, as in Flink."""
    spread = name in ("VARIANCE", "STDDEV") or (name.startswith(("VAR_", "STDDEV_")) and name != "STDDEV_WITHOUT_MAX")
    return spread and dialect is Dialect.FLINK and type_.kind in WHOLE_NUMBERS


def _plain(tree: n.Node) -> bool:
    """Whether an expression has columns only that can be resolved: no aggregate, no OVER."""
    return not any(isinstance(part, n.Call) and (part.over is not None or is_aggregate(part)) for part in n.walk(tree))
