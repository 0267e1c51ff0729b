"""GROUP BY: windows, keys, aggregates, grouping sets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from anomaly_app.errors import SqlValidationError
from anomaly_app.expressions import nodes as n
from anomaly_app.plan.aggregate_calls import GROUPING, checked_aggregate, has_aggregates, is_aggregate, unfit_key
from anomaly_app.plan.analysis.context import Context
from anomaly_app.plan.analysis.old_windows import is_old_edge, is_old_window, old_edge, with_old_window
from anomaly_app.plan.analysis.relation import Relation, bare
from anomaly_app.plan.analysis.windowing import assignment, below_windows, edge_columns
from anomaly_app.plan.nodes import (
    WINDOW_END,
    WINDOW_START,
    WINDOW_TIME,
    Aggregate,
    AggregateCall,
    Calc,
    GroupingRows,
    Node,
    Union,
    WindowAggregate,
    WindowColumns,
)
from anomaly_app.plan.scope import Exact, Expression, Scope, free_name, names_of
from anomaly_app.schema import Column, DataType, Kind
from anomaly_app.sql.queries import Select, SelectItem
from anomaly_app.windows.assign import Sessions

Replaced = Callable[[n.Node], n.Node]


def grouped(
    context: Context, select: Select, items: Sequence[SelectItem], relation: Relation
) -> tuple[Relation, Replaced]:
    """The groups of a SELECT, and what makes expressions over them of expressions over its FROM.

    Raises:
        SqlValidationError: the groups are not those of a window, a name is no key, an aggregate is not defined.
    """
    return _Grouping(context, select, items, relation).grouped()


class _Grouping:
    def __init__(self, context: Context, select: Select, items: Sequence[SelectItem], relation: Relation) -> None:
        self.context, self.select, self.text = context, select, relation.text
        self.trees = [item.expr for item in items]
        if select.having is not None:
            self.trees.append(select.having)
        if select.qualify is not None:
            self.trees.append(select.qualify)
        self.old = [item for item in select.group_by if is_old_window(item)]
        self.relation = with_old_window(context, select, relation, self.old)
        self.scope = context.scope(self.relation)
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
        relation, names = self.context.with_columns(self.relation, keys)
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
            grouped = self.context.filtered(grouped, self._over_groups(self.select.having), "HAVING")
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
        scope = Scope(self.text, names_of(node.columns), self.context.dialect)
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
        pushed = None if about_edges else below_windows(node, self.text, self.context.dialect)
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
        if call.name in GROUPING:
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


def _plain(tree: n.Node) -> bool:
    """Whether an expression has columns only that can be resolved: no aggregate, no OVER."""
    return not any(isinstance(part, n.Call) and (part.over is not None or is_aggregate(part)) for part in n.walk(tree))
