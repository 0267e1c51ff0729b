"""``anomaly check``: job files are read and bound, and nothing runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from anomaly_app.cli.options import ConfigFile, Dialect, Json, Set, check_used, load, named_parameters
from anomaly_app.cli.output import print_json

if TYPE_CHECKING:
    from anomaly_app.jobs.model import Job
    from anomaly_app.settings import LoadedSettings


def check(
    files: Annotated[list[Path], typer.Argument(help="Job files.", exists=True, dir_okay=False)],
    dialect: Dialect = "flink",
    json: Json = False,
    set: Set = None,
    config: ConfigFile = None,
) -> None:
    """Check job files without running them; exit status 1 if one of them is wrong.

    The settings are those that anomaly run would have: what they replace in a job is said.

    Example: anomaly check jobs/*.sql
    """
    loaded = load(config, set)
    reports = [_check(path, dialect, loaded) for path in files]
    if all(report["ok"] for report in reports):
        check_used(named_parameters(set), (name for report in reports for name in report["parameters"]))
    if json:
        print_json(reports)
    else:
        for report in reports:
            _print(report)
    if not all(report["ok"] for report in reports):
        raise typer.Exit(1)


def _check(path: Path, dialect: str, loaded: LoadedSettings) -> dict[str, Any]:
    from anomaly_app.errors import SettingsError, SqlError
    from anomaly_app.jobs.binder import bind_job
    from anomaly_app.jobs.precedence import settle

    report: dict[str, Any] = {"file": str(path), "ok": False}
    try:
        settings = loaded.settings
        job = bind_job(
            path.read_text("utf-8"),
            name=path.stem,
            path=str(path),
            dialect=dialect,
            modules=settings.functions.modules,
            parameters=settings.parameters,
            connections=settings.connection_options,
        )
        replaced = settle(loaded, [job]).warning
    except SqlError as error:
        message = {"code": error.code, "problem": error.problem, "line": error.line, "column": error.column}
        return report | {"error": message | {"text": str(error)}}
    except SettingsError as error:
        return report | {"error": {"code": error.code, "problem": error.problem, "text": str(error)}}
    except (OSError, UnicodeDecodeError) as error:
        return report | {
            "error": {"code": "file", "problem": f"cannot be read: {error}", "text": f"cannot be read: {error}"}
        }
    warnings = [*([replaced] if replaced else []), *job.warnings, *_missing(job), *_nameless(job)]
    refused = list(job.refused_by_flink)
    return report | {
        "ok": True,
        "version": job.version,
        "warnings": warnings,
        "refused_by_flink": refused,
        "parameters": {one.name: one.literal for one in job.parameters},
        "queries": _queries(job),
    }


def _missing(job: Job) -> list[str]:
    """Files of tables that are not here, though they may be where the job runs."""
    from anomaly_app.jobs.files import FileSource

    files = [lookup.source for lookup in job.lookups if isinstance(lookup.source, FileSource)]
    return [f"table {file.name}: there is no file {file.table.path} here" for file in files if not file.table.exists]


def _nameless(job: Job) -> list[str]:
    """Selections of whose alerts nobody can say what they are about."""
    return [
        f"the alerts of {query.name} have no key: to delivery they are one that comes again and again. "
        "SET 'anomaly.alerts.key' = '…' in front of it names the columns that they are about"
        for plan in job.plans
        for query in plan.queries
        if query.alerts.value != "none" and query.planned.alert_type == "selection"
        if query.about is None and not query.planned.key
    ]


def _queries(job: Job) -> list[dict[str, Any]]:
    return [
        {
            "name": query.name,
            "source": ", ".join(dict.fromkeys(plan.topics.values())),
            "sink": (query.sink.topic or query.sink.connector) if query.sink else None,
            "alerts": query.alerts.value,
            "partition_by": list(plan.partition_by),
            "routing": plan.routing.value,
            "description": query.planned.description,
        }
        for plan in job.plans
        for query in plan.queries
        if not query.passes
    ]


def _print(report: dict[str, Any]) -> None:
    if not report["ok"]:
        print(f"{report['file']}: {report['error']['text']}")
        return
    print(f"{report['file']}: right (version {report['version']})")
    for query in report["queries"]:
        print(f"  {query['name']}: {query['source']} -> {_where(query)}: {query['description']}")
    for warning in report["warnings"]:
        print(f"  warning: {warning}")
    for refusal in report["refused_by_flink"]:
        print(f"  Flink 2.3 refuses this: {refusal}")


def _where(query: dict[str, Any]) -> str:
    """Where the rows of a query go."""
    alerts = query["alerts"] != "none"
    if query["sink"] is None:
        return "alerts only" if alerts else "nowhere"
    return str(query["sink"]) if alerts else f"{query['sink']}, no alerts"
