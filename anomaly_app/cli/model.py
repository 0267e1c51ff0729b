"""``anomaly model``: whether a model answers, how fast, and with what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from anomaly_app.cli.options import ConfigFile, Json, Set, load
from anomaly_app.cli.output import note, print_json, print_table

if TYPE_CHECKING:
    from anomaly_app.models.check import Checked
    from anomaly_app.models.model import Model
    from anomaly_app.settings import LoadedSettings

model = typer.Typer(
    no_args_is_help=True,
    help="Models of jobs.\n\nExample: anomaly model test fraud --rows payments.csv --job fraud.sql",
)


@model.callback()
def _group() -> None:
    """Models of jobs."""


@model.command("test")
def test_model(
    name: Annotated[str, typer.Argument(help="The model, perhaps with a version: fraud or 'fraud$2'.", metavar="NAME")],
    rows: Annotated[Path, typer.Option(help="Rows with the columns of its INPUT: .csv, .jsonl or .parquet.")],
    job: Annotated[
        list[Path] | None, typer.Option(help="Files with CREATE MODEL; else the jobs of the settings.")
    ] = None,
    loops: Annotated[int, typer.Option(help="Loops that ask at the same time.", min=1, max=1_000)] = 10,
    batch: Annotated[int, typer.Option(help="Rows of a call; a model in a file takes 1000 if this is 1.", min=1)] = 1,
    repeat: Annotated[int, typer.Option(help="How often each loop asks about all rows.", min=1)] = 1,
    json: Json = False,
    set: Set = None,
    config: ConfigFile = None,
) -> None:
    """Ask a model about rows of a file, in loops side by side, each about all of them, and tell how that went.

    Exit status 1 if it has given nothing for a row.

    Example: anomaly model test fraud --rows payments.csv --job fraud.sql --loops 10
    """
    from anomaly_app.errors import AnomalyError
    from anomaly_app.models.check import check

    try:
        found = _find(name, _files(job, load(config, set)), load(config, set))
        values, problems = _values(found, rows)
        for problem in problems:
            note(f"anomaly: {rows}: {problem}")
        checked = check(found, values, loops=loops, batch=batch, repeat=repeat)
    except AnomalyError as error:
        note(f"anomaly: {error}")
        raise typer.Exit(2) from None
    if json:
        print_json(_data(found, checked))
    else:
        _print(found, checked)
    if checked.errors:
        raise typer.Exit(1)


def _files(given: Sequence[Path] | None, loaded: LoadedSettings) -> Sequence[Path]:
    if given or loaded.settings.worker.jobs:
        return given or loaded.settings.worker.jobs
    raise typer.BadParameter("say where CREATE MODEL is: no job is in the settings", param_hint="--job")


def _find(name: str, files: Sequence[Path], loaded: LoadedSettings) -> Model:
    """The model, as the statements of some files have it."""
    from anomaly_app.errors import AnomalyError, SqlError
    from anomaly_app.jobs.catalog import Catalog
    from anomaly_app.jobs.define import define
    from anomaly_app.sql import parse_statements
    from anomaly_app.sql.commands import Drop
    from anomaly_app.sql.model_statements import OF_MODELS
    from anomaly_app.sql.parameters import substitute

    catalog = Catalog("")
    catalog.models.given = loaded.settings.connection_options
    for path in files:
        try:
            with substitute(path.read_text("utf-8"), loaded.settings.parameters).located() as catalog.text:
                for statement in parse_statements(catalog.text):
                    dropped = isinstance(statement, Drop) and statement.what in ("MODEL", "CONNECTION")
                    if isinstance(statement, OF_MODELS) or dropped:
                        define(statement, catalog)  # type: ignore[arg-type]  # both are definitions
        except SqlError as error:
            raise error.in_file(path) from None
        except (OSError, UnicodeDecodeError) as error:
            raise AnomalyError(f"{path} cannot be read: {error}") from None
    model = catalog.model(tuple(name.replace("`", "").split(".")))
    if model is None:
        raise AnomalyError(catalog.unknown_model(tuple(name.split("."))))
    return model


def _values(model: Model, path: Path) -> tuple[list[tuple[Any, ...]], list[str]]:
    from anomaly_app.cli.columns import read_columns
    from anomaly_app.cli.files import read_table
    from anomaly_app.errors import DataError

    table = read_table(path)
    folded = {name.lower(): name for name in table.names}
    columns = []
    for column in model.inputs:
        known = column.name if column.name in table.names else folded.get(column.name.lower())
        if known is None:
            problem = f"{path} has no column {column.name!r} of the INPUT of {model.title}"
            raise DataError(f"{problem}; it has {', '.join(table.names)}")
        columns.append((known, str(replace(column.type, nullable=True))))
    return read_columns(table, columns, str(path))


def _data(model: Model, checked: Checked) -> dict[str, Any]:
    return {
        "model": model.title,
        "provider": model.provider,
        "input": {column.name: str(column.type) for column in model.inputs},
        "output": {column.name: str(column.type) for column in model.outputs},
        "calls": checked.calls,
        "rows": checked.rows,
        "errors": checked.errors,
        "seconds": checked.seconds,
        "rows_per_s": checked.rows_per_s,
        "p50_ms": checked.percentile_ms(50),
        "p99_ms": checked.percentile_ms(99),
        "problems": dict(checked.problems),
        "first": [list(row) for row in checked.first],
    }


def _print(model: Model, checked: Checked) -> None:
    inputs = ", ".join(f"{column.name} {column.type}" for column in model.inputs)
    outputs = ", ".join(f"{column.name} {column.type}" for column in model.outputs)
    print(f"{model.title} ({model.provider})\n  INPUT ({inputs})\n  OUTPUT ({outputs})")
    for row in checked.first:
        print(f"  gives {', '.join(map(str, row))}")
    print_table(
        ("", ""),
        [
            ("calls", f"{checked.calls:,}"),
            ("rows", f"{checked.rows:,}, {checked.rows_per_s:,.0f} per second"),
            ("latency", f"p50 {checked.percentile_ms(50):.1f} ms, p99 {checked.percentile_ms(99):.1f} ms"),
            ("rows without an answer", f"{checked.errors:,}"),
        ],
    )
    for problem, count in checked.problems.most_common(5):
        print(f"{count:,} × {problem}")
