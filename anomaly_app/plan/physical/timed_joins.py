"""Joins by time as vertices: one generated function for each side finds the pairs and makes the rows of the result."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import replace

from anomaly_app.expressions.typed import FAILURES, Code, Environment
from anomaly_app.graph.found import Role
from anomaly_app.graph.interval_join import Hold, IntervalJoinPlan, IntervalJoinRows, IntervalSide, Meet, stretch_of
from anomaly_app.graph.temporal_join import Join, TemporalJoinPlan, TemporalJoinRows
from anomaly_app.operators import COLUMNS, Layout, Row
from anomaly_app.plan.nodes import Calc, Detect, IntervalJoin, Limit, Match, Over, Rank, TemporalJoin, TimedJoin, walk
from anomaly_app.plan.physical.builder import Builder
from anomaly_app.plan.physical.built import Built
from anomaly_app.plan.physical.calculation import compile_calcs, row_codes
from anomaly_app.plan.physical.keys import key_of, layout_column
from anomaly_app.plan.pruning import is_stateless
from anomaly_app.schema import BIGINT, CHANGE

_BY_ORDER = (Match, Detect, Over, Rank, Limit)
"""Nodes whose result hangs on the order of rows of one time."""


def interval(builder: Builder, node: IntervalJoin, chain: Sequence[Calc]) -> Built:
    """The vertex of an interval join.

    Args:
        builder: of the graph.
        node: the join.
        chain: filters and projections above it, the innermost first, that its rows pass at once.
    """
    sides = [builder.timed(builder.node(below), time) for below, time in zip(node.inputs, node.times, strict=True)]
    pairs = Pairs(node, sides, chain, builder.wanted(chain[-1] if chain else node))
    pairs.tell(builder)
    # A row that none can meet any more when it comes is not held: the watermark in front of it must be known.
    builder.splits_at = max(builder.splits_at, -node.high, node.low)
    if not pairs.in_turn and any(isinstance(one, _BY_ORDER) for one in walk(builder.result)):
        builder.one_by_one = True  # which pair comes first would hang on batches
    plans = []
    for place, (built, reach) in enumerate(zip(sides, node.reaches, strict=True)):
        layout, names = built.layout, [pair[place] for pair in node.keys]
        hold, meet = _hold(node, pairs, place), _meet(node, pairs, place)
        alone = pairs.alone(place) if pairs.is_outer(place) else None
        strict = [name for name, null_equal in zip(names, node.null_equal, strict=True) if not null_equal]
        places = tuple(map(layout.index, strict))
        plans.append(IntervalSide(layout, built.reads, key_of(layout, names), places, reach, hold, meet, alone))
    stretch, most = stretch_of(node.low, node.high), builder.limits.rows_per_key
    plan = IntervalJoinPlan(plans[0], plans[1], node.hold, stretch, most, pairs.in_turn)
    vertex = builder.add(lambda: IntervalJoinRows(plan), sides, node.title)
    return Built(vertex, pairs.layout, False, pairs.time, False)


def temporal(builder: Builder, node: TemporalJoin, chain: Sequence[Calc]) -> Built:
    """The vertex of a temporal join.

    Args:
        builder: of the graph.
        node: the join.
        chain: filters and projections above it, the innermost first, that its rows pass at once.
    """
    wanted = builder.wanted(chain[-1] if chain else node)
    left, right = (builder.timed(builder.node(b), time) for b, time in zip(node.inputs, node.times, strict=True))
    names = node.wanted(1, builder.needs[id(node)])
    table = Layout(tuple(column for column in node.table if column.name in names))
    pairs = Pairs(node, [left, replace(right, layout=table)], chain, wanted)
    pairs.tell(builder)
    keys = [theirs for _, theirs in node.table_keys]
    change = right.layout.index(CHANGE) if node.right.updating else None
    version, deletion = _versions(node, right, table, keys)
    plan = TemporalJoinPlan(
        left.layout, left.reads, change, version, deletion, table, names, key_of(table, keys),
        tuple(layout_column(table, key) for key in keys), _join(node, pairs, builder.ttl_ms), builder.ttl_ms,
    )  # fmt: skip
    vertex = builder.add(lambda: TemporalJoinRows(plan), [left, right], node.title)
    return Built(vertex, pairs.layout, False, pairs.time, False)


def _versions(
    node: TemporalJoin, right: Built, table: Layout, keys: Sequence[str]
) -> tuple[Callable[[Row], Row | None], Callable[[Row], Row]]:
    """From a row of the right to a version, and to one that has a key and nothing else."""
    width = COLUMNS + len(right.layout.columns)
    codes = row_codes(right.layout)
    if node.number is not None:
        codes[node.number] = Code("1", BIGINT, 1)
    names = [column.name for column in table.columns]
    blank = [codes[str(node.base(name))].source if name in keys else "None" for name in names]
    head, tail = ["row[0]", "row[1]"], f"*row[{width}:]"
    values = ", ".join([*head, *blank, tail])
    deletion = Environment().function("deletion", f"def deletion(row):\n    return ({values})")
    if node.chain:
        version, _ = compile_calcs(node.chain, codes, names, before=head, behind=f"row[{width}:]")
        return version, deletion
    values = ", ".join([*head, *(codes[name].source for name in names), tail])
    return Environment().function("version", f"def version(row):\n    return ({values})"), deletion


def _join(node: TemporalJoin, pairs: Pairs, ttl_ms: int | None) -> Join:
    """The function that joins rows of the left: see :data:`anomaly_app.graph.temporal_join.Join`."""
    env = Environment()
    layout = pairs.sides[0].layout
    key, is_null = _key(layout, [mine for mine, _ in node.keys], [False] * len(node.keys), "a")
    condition, right = pairs.condition(env), env.use(bisect_right)
    failures, failed = env.constant(FAILURES), "fail(error, a)"
    lines = [
        "def join(ready, reached, versions, touched, out, fail):",
        f"    append, plain = out.append, len(ready[0][2]) == {COLUMNS + len(layout.columns)}",
        *["    now = {}"] * (ttl_ms is not None),
        "    for time, _, a in ready:",
        "        b = None",
        f"        key = {key}",
        f"        held = versions.get(key){f' if not ({is_null}) else None' if is_null else ''}",
        "        if held is not None:",
        "            version = held[-1]",
        "            if version[0] > time:",
        f"                place = {right}(held, (time + 1,))",
        "                version = held[place - 1] if place else None",
        # A late row sees the last version at or before the watermark, and no older one.
        f"            if time <= reached and version is not held[{right}(held, (reached + 1,)) - 1]:",
        "                version = None",
        "            if version is not None and version[3]:",
        "                b = version[2]",
    ]
    if ttl_ms is not None:
        lines += [
            "                last = touched.get(key, version[0])",
            f"                if time - (last if last > version[0] else version[0]) > {ttl_ms}:",
            "                    b = None",
            "                elif time >= last:",
            "                    touched[key] = now[key] = time",
        ]
    give = pairs.give(env, failed)
    if condition:
        lines += [
            "        if b is not None:", "            try:", f"                if not {condition}:",
            "                    b = None", f"            except {failures} as error:", f"                {failed}",
            "                continue",
        ]  # fmt: skip
    lines += ["        if b is not None:", *_indented(give, 3)]
    if node.kind == "LEFT":
        lines += [
            "        else:", "            try:", f"                result = {env.constant(pairs.alone(0))}(a)",
            f"            except {failures} as error:", f"                {failed}", "            else:",
            "                if result is not None:", "                    append(result)",
        ]  # fmt: skip
    lines.append(f"    return {'now' if ttl_ms is not None else '()'}")
    function: Join = env.function("join", "\n".join(lines))
    return function


class Pairs:
    """How two rows become one of the result, or none: as generated source.

    Args:
        node: the join.
        sides: its inputs.
        chain: filters and projections above it.
        wanted: names of the columns of the last of them, or of the join, that somebody needs.
    """

    def __init__(self, node: TimedJoin, sides: Sequence[Built], chain: Sequence[Calc], wanted: Sequence[str]) -> None:
        self.node, self.sides, self._chain = node, sides, chain
        self._wanted = wanted
        self._tells = ""
        self.in_turn = is_stateless(node.left) and is_stateless(node.right)
        own = {column.name: column for column in node.columns}
        self._codes = {
            name: Code(source, own[name].type) for place in (0, 1) for name, source in self._places(place).items()
        }
        last = chain[-1] if chain else node
        self.layout = Layout(tuple(last.column(name) for name in wanted))
        self.time = node.row_time
        for calc in chain:
            self.time = calc.moved_to(self.time)

    def tell(self, builder: Builder) -> None:
        """Rows of the query tell the rows that they are made of, if they come from here as they are."""
        if builder.result is not (self._chain[-1] if self._chain else self.node) or builder.uses.get(
            id(builder.result)
        ):
            return
        self._tells = "a, b, "
        roles = zip(self.node.aliases, self.sides, strict=True)
        builder.roles = tuple(Role(alias, built.layout) for alias, built in roles)

    def is_outer(self, place: int) -> bool:
        """Whether rows of a side come out though they have met none."""
        return self.node.kind in (("LEFT", "FULL"), ("RIGHT", "FULL"))[place]

    def other_way(self, place: int) -> list[str]:
        """Lines that go on where the other one of two rows that are both new is to find this pair: the later one."""
        if self.in_turn:
            return [f"if their >= first_new and {'b[1] >= a[1]' if place == 0 else 'a[1] > b[1]'}:", "    continue"]
        return ["if their >= first_new:", "    continue"] if place == 0 else []

    def _places(self, place: int) -> dict[str, str]:
        """Source of the columns of a side, as they are called behind the join."""
        columns = self.sides[place].layout.columns
        names = [self.node.theirs[c.name] if place else c.name for c in columns]
        return {name: f"{'ab'[place]}[{number}]" for number, name in enumerate(names, COLUMNS)}

    def condition(self, env: Environment) -> str:
        """Source that is truthy if the further condition holds for a and b; "" for none."""
        if self.node.condition is None:
            return ""
        types = {column.name: column.type for column in self.node.left.columns}
        types |= {self.node.theirs[column.name]: column.type for column in self.node.right_columns}
        codes = {name: Code(code.source, types[name]) for name, code in self._codes.items()}
        return self.node.condition.compile_condition(codes.__getitem__, env)

    def give(self, env: Environment, failed: str) -> list[str]:
        """Lines that append what two rows ``a`` and ``b`` become, if that is a row.

        Args:
            env: of the function in which they stand; ``plain`` says there that nothing stands behind the columns of
                source rows.
            failed: what is to be done with an ``error``.
        """
        time = {"INNER": "a[0]", "LEFT": "a[0]", "RIGHT": "b[0]", "FULL": "a[0] if a[0] > b[0] else b[0]"}
        time_of = time[self.node.kind]
        origins, first = self._origins()
        if self._inlined:
            values = "".join(f"{source}, " for source in self._sources(env))
            made = [
                f"append(({time_of}, {row}[1], {values}{self._tells}{o}))" for row, o in zip("ab", origins, strict=True)
            ]
            lines = [f"if {first}:", f"    {made[0]}", "else:", f"    {made[1]}"] if first else [made[0]]
        else:
            before = [time_of, f"a[1] if {first} else b[1]" if first else "a[1]"]
            origin = f"({origins[0]}) if {first} else ({origins[1]})" if first else origins[0]
            pair = env.constant(self._compiled("a, b, plain", before, f"{self._tells}{origin}"))
            lines = [f"result = {pair}(a, b, plain)", "if result is not None:", "    append(result)"]
        return ["try:", *_indented(lines, 1), f"except {env.constant(FAILURES)} as error:", f"    {failed}"]

    def _origins(self) -> tuple[Sequence[str], str]:
        """Source of the origin of a pair, if its first row came last and if its second did, and of which it is.

        Of a version it does not hang on when it became known: the row that asks for it is the one that brings the pair.
        """
        (path_a, place_a), (path_b, place_b) = self._origin(0), self._origin(1)
        if isinstance(self.node, TemporalJoin):
            return [f"(({path_a},), *{place_a})"] * 2, ""
        origins = [f"(({path_a}, {path_b}), *{place})" for place in (place_a, place_b)]
        if all(built.by_source for built in self.sides):
            origins = [f"((a[1], b[1]), {row}[1]) if plain else {o}" for row, o in zip("ab", origins, strict=True)]
        return origins, "a[1] > b[1]"

    @property
    def _inlined(self) -> bool:
        """Whether nothing is filtered, and each value is computed once."""
        chain = self._chain
        simple = all(item.bare is not None for calc in chain[:-1] for item in calc.items)
        return simple and all(calc.condition is None for calc in chain)

    def _sources(self, env: Environment) -> list[str]:
        """Source of the columns of the result."""
        codes = self._codes
        for calc in self._chain:
            last = calc is self._chain[-1]
            named = [
                (name, item) for name, item in zip(calc.names, calc.items, strict=True) if item.reads <= codes.keys()
            ]
            codes = {
                name: codes[item.bare] if item.bare is not None else item.compile(codes.__getitem__, env)
                for name, item in named
                if not last or name in self._wanted
            }
        return [codes[name].source for name in self._wanted]

    def alone(self, place: int) -> Callable[[Row], Row | None]:
        """From a row of a side, and NULLs, to one of the result."""
        row, other = "ab"[place], "ba"[place]
        path, behind = self._origin(place)
        nothing = "None, " * (COLUMNS + len(self.sides[1 - place].layout.columns))
        tells = self._tells.replace(other, "None")
        before = [f"{row}[0]", f"{row}[1]"]
        return self._compiled(f"{row}, {other}=({nothing})", before, f"{tells}(({path},), *{behind})")

    def _origin(self, place: int) -> tuple[str, str]:
        """Source of the path of the origin of a row, and of where its last source row stood."""
        row, built = "ab"[place], self.sides[place]
        width = COLUMNS + len(built.layout.columns)
        if built.by_source:
            # Behind a repartition the position hangs on how rows came together in frames: there the source counts,
            # which stands behind the row. Of the first partition it is the offset alone, as without a repartition.
            behind = f"{row}[{width}:] if {row}[{width}] else {row}[{width + 1}:]"
            return f"*(({behind}) if len({row}) > {width} else {row}[1:2])", f"({row}[1], *{row}[{width}:])"
        return f"*{row}[{width}][0], {row}[{width}][1]", f"{row}[{width}][1:]"

    def _compiled(self, parameters: str, before: Sequence[str], origin: str) -> Callable[..., Row | None]:
        if self._chain:
            function, _ = compile_calcs(
                self._chain, self._codes, self._wanted, parameters=parameters, before=before, after=[origin]
            )
            return function
        env = Environment()
        values = ", ".join([*before, *self._sources(env), origin])
        made: Callable[..., Row] = env.function("pair", f"def pair({parameters}):\n    return ({values})")
        return made


def _hold(node: IntervalJoin, pairs: Pairs, place: int) -> Hold:
    """The function that holds rows of one side: see :data:`anomaly_app.graph.interval_join.Hold`."""
    env = Environment()
    layout = pairs.sides[place].layout
    key, is_null = _key(layout, [pair[place] for pair in node.keys], node.null_equal)
    outer = pairs.is_outer(place)
    lines = [
        "def hold(rows, reached, own, fail):",
        "    index, most = own.index, own.most",
        f"    number, floor, entries = own.next, reached - {env.constant(node.reaches[place])}, []",
        "    append = entries.append",
        *["    alone = own.alone.add"] * outer,
        "    for row in rows:",
        f"        time, key = row[0], {key}",
        "        if time <= floor:",
        "            append((time, -1, row))",
        "            continue",
    ]
    if is_null:
        lines.append(f"        if {is_null}:")
        if outer:
            lines += [
                "            entry = (time, number, row)",
                "            append(entry)",
                "            alone(number)",
            ]
            lines.append("            number += 1")
        lines.append("            continue")
    lines += [
        "        held = index.get(key)",
        "        if held is None:",
        "            entry = (time, number, row)",
        "            index[key] = [entry]",
        "        elif len(held) >= most:",
        "            own.overflow(key, fail, row)",
        "            append((time, -1, row))",
        "            continue",
        "        else:",
        "            entry = (time, number, row)",
        "            if time >= held[-1][0]:",
        "                held.append(entry)",
        "            else:",
        f"                held.insert({env.use(bisect_left)}(held, entry), entry)",
        "        append(entry)",
        *["        alone(number)"] * outer,
        "        number += 1",
        "    own.next = number",
        "    return entries",
    ]
    function: Hold = env.function("hold", "\n".join(lines))
    return function


def _meet(node: IntervalJoin, pairs: Pairs, place: int) -> Meet:
    """The function that finds pairs for rows of one side: see :data:`anomaly_app.graph.interval_join.Meet`."""
    env = Environment()
    mine, their = "ab"[place], "ba"[place]
    low, high = (node.low, node.high) if place == 0 else (-node.high, -node.low)
    outer, others_outer = pairs.is_outer(place), pairs.is_outer(1 - place)
    layout = pairs.sides[place].layout
    key, is_null = _key(layout, [pair[place] for pair in node.keys], node.null_equal, mine)
    condition, left = pairs.condition(env), env.use(bisect_left)
    alone, failures, failed = pairs.alone(place), env.constant(FAILURES), f"fail(error, {mine})"
    lines = [
        "def meet(entries, reached, own, other, first_new, out, fail):",
        "    others, append = other.index, out.append",
        f"    plain = len(entries[0][2]) == {COLUMNS + len(layout.columns)}",
        *["    alone = own.alone"] * outer,
        *["    their_alone, their_stored, their_met = other.alone, other.stored, other.met.append"] * others_outer,
        f"    for time, {'number' if outer else '_'}, {mine} in entries:",
        *["        met = False"] * outer,
    ]
    find = [
        f"found = others.get({key})",
        "if found is not None:",
        f"    first, last = (time if time > reached else reached) + {env.constant(low)}, time + {env.constant(high)}",
        "    if found[0][0] < first or found[-1][0] > last:",
        f"        place = {left}(found, (first,))",
        f"        found = found[place:{left}(found, (last + 1,), place)]",
        f"    for _, their, {their} in found:",
        *_indented(pairs.other_way(place), 2),
    ]
    if condition:
        find += [
            "        try:", f"            if not {condition}:", "                continue",
            f"        except {failures} as error:", f"            {failed}", "            continue",
        ]  # fmt: skip
    find += ["        met = True"] * outer
    if others_outer:
        find += [
            "        if their in their_alone:", "            their_alone.discard(their)",
            "            if their < their_stored:", "                their_met(their)",
        ]  # fmt: skip
    find += _indented(pairs.give(env, failed), 2)
    lines += [f"        if not ({is_null}):", *_indented(find, 3)] if is_null else _indented(find, 2)
    if outer:
        lines += [
            "        if met:", "            alone.discard(number)", "        elif number < 0:", "            try:",
            f"                result = {env.constant(alone)}({mine})", f"            except {failures} as error:",
            f"                {failed}", "            else:", "                if result is not None:",
            "                    append(result)",
        ]  # fmt: skip
    function: Meet = env.function("meet", "\n".join(lines))
    return function


def _key(layout: Layout, names: Sequence[str], null_equal: Sequence[bool], row: str = "row") -> tuple[str, str]:
    """Source of the key of a row, and of whether it equals none; "" if it never does."""
    places = [f"{row}[{layout.index(name)}]" for name in names]
    types = [layout_column(layout, name).type for name in names]
    nullable = [type_.nullable and not equal for type_, equal in zip(types, null_equal, strict=True)]
    tests = [f"{place} is None" for place, may_be in zip(places, nullable, strict=True) if may_be]
    return places[0] if len(places) == 1 else f"({', '.join(places)})", " or ".join(tests)


def _indented(lines: Sequence[str], depth: int) -> list[str]:
    return [f"{'    ' * depth}{line}" for line in lines]
