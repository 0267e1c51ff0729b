"""A lookup join as a vertex: a generated function from a row to the rows of the table that fit it."""

from __future__ import annotations

from operator import itemgetter

from anomaly_app.expressions.comparisons import comparable
from anomaly_app.expressions.typed import Code, Environment
from anomaly_app.graph.lookup import LookupIndex, match_number
from anomaly_app.graph.vertices import Expand, Transform, origin_of
from anomaly_app.operators import COLUMNS, Layout
from anomaly_app.plan.nodes import LookupJoin
from anomaly_app.plan.physical.builder import Builder
from anomaly_app.plan.physical.built import Built
from anomaly_app.plan.physical.calculation import row_codes


def look_up(builder: Builder, node: LookupJoin) -> Built:
    """The vertex of a lookup join."""
    below = builder.node(node.input)
    width = COLUMNS + len(below.layout.columns)
    env = Environment()
    tests, table = _columns_of_table(node, env)
    codes = row_codes(below.layout) | {node.theirs[name]: code for name, code in table.items()}
    asked, index = _index(builder, node, codes, env)
    if node.condition is not None:
        tests.append(node.condition.compile_condition(codes.__getitem__, env))
    own = [column for column in node.columns if column.name in {*node.theirs.values()} & builder.needs[id(node)]]
    values = [codes[column.name].source for column in own]
    source = _one(node, width, asked, tests, values) if node.is_unique else _several(node, width, asked, tests, values)
    env.names |= {"index": index, "origin_of": origin_of, "match_number": match_number}
    look_up = env.function("look_up", source)
    kind = Transform if node.is_unique else Expand
    vertex = builder.add(lambda: kind(look_up, width), [below.vertex], node.title)
    by_source = below.by_source and node.is_unique
    return Built(vertex, Layout((*below.layout.columns, *own)), below.in_order, below.time, by_source, below.with_(own))


def _one(node: LookupJoin, width: int, asked: str, tests: list[str], values: list[str]) -> str:
    """Source of a function from a row to the row that it becomes: it stays what it is, and so does its id."""
    row = [f"row[{place}]" for place in range(width)]
    nothing = "None"
    if node.kind == "LEFT":
        nothing = f"({', '.join([*row, *['None'] * len(values)])}, *row[{width}:])"
    lines = [
        "def look_up(row):",
        f"    found = index.rows.get({asked})",
        "    if found is None:",
        f"        return {nothing}",
        "    b = found[0]",
    ]
    for test in tests:
        lines += [f"    if not {test}:", f"        return {nothing}"]
    return "\n".join([*lines, f"    return ({', '.join([*row, *values])}, *row[{width}:])"])


def _several(node: LookupJoin, width: int, asked: str, tests: list[str], values: list[str]) -> str:
    """Source of a function from a row to the rows that it becomes; each remembers which of them it is."""
    places = _places(node)
    primary_key = [f"b[{places[name]}]," for name in node.scan.source.primary_key]
    number, each = (f"match_number(({' '.join(primary_key)}))", "b") if primary_key else ("n", "n, b")
    found = "found" if primary_key else "enumerate(found)"
    condition = f" if {' and '.join(tests)}" if tests else ""
    made = "".join(f"{value}, " for value in values)
    rows = f"[(*head, {made}origin_of(row, {width}, {number})) for {each} in {found}{condition}]"
    nothing = "()"
    if node.kind == "LEFT":
        nothing = f"[(*row[:{width}], {'None, ' * len(values)}origin_of(row, {width}, -1))]"
        rows += f" or {nothing}"
    lines = [
        "def look_up(row):",
        f"    found = index.rows.get({asked})",
        "    if found is None:",
        f"        return {nothing}",
        f"    head = row[:{width}]",
        f"    return {rows}",
    ]
    return "\n".join(lines)


def _places(node: LookupJoin) -> dict[str, int]:
    """Where the columns of the table stand in its rows."""
    return {column.name: place for place, column in enumerate(node.scan.source.columns, COLUMNS)}


def _columns_of_table(node: LookupJoin, env: Environment) -> tuple[list[str], dict[str, Code]]:
    """What must hold for a row ``b`` of the table, and the source of each column behind the filters and projections."""
    places = _places(node)
    codes = {column.name: Code(f"b[{places[column.name]}]", column.type) for column in node.scan.source.columns}
    tests: list[str] = []
    for calc in node.chain:
        below = codes
        if calc.condition is not None:
            tests.append(calc.condition.compile_condition(below.__getitem__, env))
        codes = {
            name: below[item.bare] if item.bare is not None else item.compile(below.__getitem__, env)
            for name, item in zip(calc.names, calc.items, strict=True)
        }
    return tests, codes


def _index(builder: Builder, node: LookupJoin, codes: dict[str, Code], env: Environment) -> tuple[str, LookupIndex]:
    """Source of what is looked up, and the rows of the table by that."""
    asked: list[str] = []
    found: list[str] = []
    columns: list[str] = []
    for key in node.keys:
        theirs = key.found.compile(codes.__getitem__, env)
        pair = comparable(env, builder.dialect, key.asked.compile(codes.__getitem__, env), theirs)
        assert pair is not None, "the analysis has checked it"
        asked.append(pair[0].source)
        found.append(pair[1].source)
        column = node.column_of_table(key)
        if column is not None and pair[1].source == theirs.source:
            columns.append(column)
    source = asked[0] if len(asked) == 1 else f"({', '.join(asked)})"
    if len(columns) == len(found):  # such an index serves every join that asks for these columns
        places = _places(node)
        return source, node.table.index(tuple(columns), itemgetter(*(places[name] for name in columns)))
    own = found[0] if len(found) == 1 else f"({', '.join(found)})"
    key_of = env.function("key_of", f"def key_of(b):\n    return {own}")
    return source, node.table.index(id(node), key_of)
