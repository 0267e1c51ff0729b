"""``anomaly explain``: what the queries of a job do, in words, and how they are run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from anomaly_app.cli.options import ConfigFile, Dialect, Json, Set, check_used, load, named_parameters, read_sql
from anomaly_app.cli.output import note, print_json

if TYPE_CHECKING:
    from anomaly_app.operators import Layout
    from anomaly_app.plan.query import PlannedQuery
    from anomaly_app.settings import Settings
    from anomaly_app.sql.parameters import Parameter

MAX_STATES = 40
"""States of a program that are printed; --json has all."""


def explain(
    sql: Annotated[str, typer.Argument(help="A job file, or the text of one.", metavar="JOB_OR_SQL")],
    source: Annotated[bool, typer.Option("--source", help="Print the generated Python too.")] = False,
    dialect: Dialect = "flink",
    json: Json = False,
    set: Set = None,
    config: ConfigFile = None,
) -> None:
    """Explain the queries of a job: in words, and as the plan that runs. Nothing runs.

    The words are about pattern, output, program, strategy and state. The plan has the logical tree, what follows for
    each node, and the operators.

    The text needs a CREATE TABLE for each table; its WITH (…) may be left out.

    Example: anomaly explain jobs/unusual_sales.sql

    Example: anomaly explain jobs/unusual_sales.sql --source
    """
    from anomaly_app.errors import SqlError
    from anomaly_app.sql.parameters import substitute

    text, name = read_sql(sql)
    try:
        settings = load(config, set).settings
        made = substitute(text, settings.parameters)
        check_used(named_parameters(set), (one.name for one in made.parameters))
        with made.located() as known:
            queries = [_query(*bound) for bound in _bind(known, dialect, settings)]
    except SqlError as error:
        note(f"anomaly: {name}: {error}")
        raise typer.Exit(2) from error
    if json:
        # Without parameters the list of queries is all that there is to tell.
        listed = [asdict(one) | {"type": one.type.value} for one in made.parameters]
        print_json({"parameters": listed, "queries": queries} if listed else queries)
        return
    if made.parameters:
        print("Parameters (--set parameters.NAME=VALUE)")
        _columns(_parameter(one) for one in made.parameters)
        print()
    for number, query in enumerate(queries):
        if number:
            print()
        _print(query, source)


def _bind(text: str, dialect: str, settings: Settings) -> list[tuple[str, str, PlannedQuery, Layout]]:
    """Name, table, operator factory and rows of each query."""
    from anomaly_app.jobs.binder import bind_job, bind_text
    from anomaly_app.operators import Layout
    from anomaly_app.sql import parse_statements
    from anomaly_app.sql.statements import CreateTable

    modules = settings.functions.modules
    creates = [statement for statement in parse_statements(text) if isinstance(statement, CreateTable)]
    if creates and not any(create.options for create in creates):
        bound = bind_text(text, {}, dialect, modules=modules, connections=settings.connection_options)
        tables = ", ".join(table.name for table in bound.tables) or "no table"
        layout = bound.layout if len(bound.tables) == 1 else Layout(())
        return [("query", tables, bound.factory, layout)]
    connections = settings.connection_options
    job = bind_job(text, name="job", dialect=dialect, modules=modules, connections=connections)
    found = []
    for plan in job.plans:
        for query in plan.queries:
            if not query.passes:
                tables = ", ".join(scan.table for scan in query.planned.scans)
                found.append((query.name, tables, query.planned, Layout(()) if plan.joint else plan.layout))
    return found


def _query(name: str, table: str, factory: PlannedQuery, layout: Layout) -> dict[str, Any]:
    from anomaly_app.patterns.explain import explain_rule
    from anomaly_app.plan.explain import explain_plan

    known = {"query": name, "table": table, "plan": explain_plan(factory)}
    measures = factory.measures
    output = [{"name": c.name, "type": str(c.type), "measure": measures.get(c.name, "")} for c in factory.output]
    if factory.rule is not None and factory.is_rule:
        return known | asdict(explain_rule(factory.rule, layout)) | {"output": output}
    return known | {
        "words": list(factory.words),
        "output": output,
        "reads": list(factory.reads),
        "state": factory.state,
        "source": dict(factory.source),
    }


def _print(query: dict[str, Any], source: bool) -> None:
    from anomaly_app.plan.explain import plan_lines

    print(f"{query['query']}: rows of {query['table']}\n")
    if "pattern" in query:
        print(f"PATTERN {query['pattern']}\n")
    first, *others = query["words"]
    print(f"{first[0].upper()}{first[1:]}:")
    for number, words in enumerate(others):
        print(f"  - {words}{'.' if number == len(others) - 1 else ';'}")
    for words in query.get("notes", ()):
        print(f"Note: {words}.")
    if "pattern" in query:
        _section("Conditions", ([c["variable"], c["text"] or "any row", _sight(c)] for c in query["conditions"]))
    _section("Output", ([c["name"], c["type"], c["measure"]] for c in query["output"]))
    if "pattern" in query:
        states = query["program"]
        _section("Program", (_state(state) for state in states[:MAX_STATES]))
        if len(states) > MAX_STATES:
            print(f"  … and {len(states) - MAX_STATES:,} more (--json has all)")
    _section("How it runs", _how(query))
    print()
    print("\n".join(plan_lines(query["plan"])))
    for name, text in query["source"].items() if source and "source" in query else ():
        print(f"\nGenerated: {name}\n")
        print("\n".join(f"  {line}".rstrip() for line in text.splitlines()))


def _parameter(parameter: Parameter) -> Sequence[str]:
    usual = "no SET" if not parameter.usual else f"SET says {parameter.usual}"
    return parameter.name, parameter.type.value, parameter.literal, f"from the settings; {usual}" * parameter.given


def _section(title: str, rows: Iterable[Sequence[str]]) -> None:
    """A heading and aligned columns below it."""
    print(f"\n{title}")
    _columns(rows)


def _columns(rows: Iterable[Sequence[str]]) -> None:
    cells = list(rows)
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print(f"  {line.rstrip()}")


def _sight(condition: dict[str, Any]) -> str:
    if not condition["text"]:
        return ""
    return "sees its row and neighbours only" if condition["path_independent"] else "sees the rows taken before"


def _state(state: dict[str, Any]) -> list[str]:
    what = f"behind {state['variable']}" if state["variable"] else "start"
    ends = {
        "yes": ["the match ends"],
        "at the end": ["the match ends if no row follows"],
        "in time": ["the match ends when time is over"],
        "no": [],
    }[state["accepts"]]
    return [state["state"], what, ", else ".join([*state["next"], *ends]) or "nothing: the attempt fails"]


def _how(query: dict[str, Any]) -> list[list[str]]:
    rows = []
    if "pattern" in query:
        rows.append(["strategy", f"{query['strategy']}: {query['why']}"])
        independent = "no condition sees" if query["path_independent"] else "some conditions see"
        rows.append(["conditions", f"{independent} which variables the rows before were taken as"])
        rows.append(["neighbours", f"reads {query['look_back']} before and {query['look_ahead']} behind the row"])
    rows += [["columns kept", ", ".join(query["reads"]) or "none"], ["state", query["state"]]]
    if "limits" in query:
        limits = query["limits"]
        rows.append(
            ["limits", f"{limits['rows_per_key']:,} rows and {limits['threads']:,} ways at once for an open attempt"]
        )
    return rows
