"""Groups that change as vertices: GROUP BY without a window, DISTINCT, grouping sets, copies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from anomaly_app.changes import with_change
from anomaly_app.expressions.typed import Code, Environment
from anomaly_app.graph.aggregate import AggregatePlan, ChangingGroups
from anomaly_app.graph.vertices import Expand, origin_of
from anomaly_app.operators import COLUMNS, Layout, Row
from anomaly_app.plan.aggregate_calls import add_to
from anomaly_app.plan.nodes import Aggregate, Calc, Copies, GroupingRows, Node
from anomaly_app.plan.physical.builder import Builder
from anomaly_app.plan.physical.built import Built
from anomaly_app.plan.physical.calculation import compile_calcs, row_codes
from anomaly_app.plan.physical.keys import value_of_key
from anomaly_app.schema import CHANGE
from anomaly_app.windows.tallies import Tallies


def aggregated(builder: Builder, node: Aggregate, chain: Sequence[Calc]) -> Built:
    """The vertex of groups, with the conditions and projections that stand above them.

    These are part of the groups: so a group that does not pass any more is taken back, and one of which nothing that is
    seen has changed is not told again.
    """
    below = builder.node(node.input)
    layout = below.layout
    codes, env = row_codes(layout), Environment()
    change = layout.index(CHANGE) if node.input.updating else None
    tallies = Tallies(env, builder.dialect, change=change, expires=builder.ttl_ms is not None)
    results = [add_to(tallies, call, codes.__getitem__, env, builder.dialect) for call in node.aggregates]
    keys = [value_of_key(codes[name], env) for name in node.keys]
    single = len(keys) == 1
    key = keys[0] if single else f"({''.join(f'{one}, ' for one in keys)})"
    program = tallies.program(key)
    values = ["key"] if single else [f"key[{place}]" for place in range(len(keys))]
    values += [code.source for code in results if code is not None]
    last: Node = chain[-1] if chain else node
    wanted = builder.wanted(last)
    given = {column.name: Code(value, column.type) for column, value in zip(node.columns, values, strict=True)}
    lines = ["def finish(a, key):", *(f"    {line}" for line in tallies.results()), *_result(given, chain, wanted, env)]
    finish = env.function("finish", "\n".join(lines))
    builder.source["groups"] = "\n\n".join([program.source, "\n".join(lines)])
    columns = tuple(last.column(name) for name in wanted)
    plan = AggregatePlan(
        layout, change, program, finish, env.function("key_of", f"def key_of(row):\n    return {key}"),
        tuple(node.input.column(name) for name in node.keys), bool(node.updating), builder.ttl_ms,
    )  # fmt: skip
    vertex = builder.add(
        lambda: ChangingGroups(plan), [below.vertex], "; ".join([node.title, *(c.title for c in chain)])
    )
    out = Layout(with_change(columns) if node.updating else columns)
    return Built(vertex, out, False, None, False)


def _result(given: Mapping[str, Code], chain: Sequence[Calc], wanted: Sequence[str], env: Environment) -> list[str]:
    """Statements that give the wanted columns behind conditions and projections."""
    codes = dict(given)
    for calc in chain:
        if calc.condition is not None or any(item.bare is None for item in calc.items):
            break
        codes = {name: codes[old] for name, old in calc.origins.items()}
    else:
        return [f"    return ({''.join(f'{codes[name].source}, ' for name in wanted)})"]
    names = {name: Code(f"c{number}", code.type) for number, (name, code) in enumerate(given.items())}
    project, _ = compile_calcs(chain, names, wanted, parameters=", ".join(code.source for code in names.values()))
    return [f"    return {env.constant(project)}({', '.join(code.source for code in given.values())})"]


def grouping_rows(builder: Builder, node: GroupingRows) -> Built:
    """The vertex that gives each row once for each grouping set."""
    below = builder.node(node.input)
    layout = below.layout
    width = COLUMNS + len(layout.columns)
    places = [layout.index(name) for name in node.keys]
    constants = [[values[number] for _, values in node.constants] for number in range(len(node.sets))]
    tails = [(set(members), (number, *constants[number])) for number, members in enumerate(node.sets)]

    def expand(row: Row) -> list[Row]:
        keys = [row[place] for place in places]
        return [
            (
                *row[:width],
                *[key if place in members else None for place, key in enumerate(keys)],
                *tail,
                origin_of(row, width, tail[0]),
            )
            for members, tail in tails
        ]

    vertex = builder.add(lambda: Expand(expand, width), [below], node.title)
    added = node.columns[len(node.input.columns) :]
    result = Layout((*layout.columns, *added))
    return Built(vertex, result, below.in_order, below.time, False, below.with_(added))


def copies(builder: Builder, node: Copies) -> Built:
    """The vertex that gives each row as often as it says."""
    below = builder.node(node.input)
    width = COLUMNS + len(below.layout.columns)
    count = below.layout.index(node.count)

    def expand(row: Row) -> list[Row]:
        return [(*row[:width], origin_of(row, width, number)) for number in range(row[count])]

    vertex = builder.add(lambda: Expand(expand, width), [below], node.title)
    return Built(vertex, below.layout, False, None, False, below.some)
