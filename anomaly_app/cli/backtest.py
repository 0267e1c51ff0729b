"""``anomaly backtest``: what the rules of a job file would have told."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from anomaly_app.cli.options import Broker, ConfigFile, Json, Parameters, check_used, given_parameters, load
from anomaly_app.cli.output import note, print_json, progress

if TYPE_CHECKING:
    from anomaly_app.cli.backtest_run import Outcome, Range
    from anomaly_app.settings import LoadedSettings
    from anomaly_app.sql.parameters import Parameter


def backtest(
    jobs: Annotated[list[Path], typer.Argument(help="Job files.", exists=True, dir_okay=False, metavar="JOB...")],
    table: Annotated[
        list[str] | None,
        typer.Option(
            "--table", help="Rows of a table: a .csv (with header), .jsonl or .parquet file.", metavar="NAME=FILE"
        ),
    ] = None,
    begin: Annotated[
        str | None,
        typer.Option("--from", help="In place of files the topics, from this time on (UTC), or 'earliest'."),
    ] = None,
    end: Annotated[str | None, typer.Option("--to", help="Before this time; else to where the topics end now.")] = None,
    set: Parameters = None,
    against: Annotated[
        Path | None, typer.Option(help="Another version of the job, to compare.", exists=True, dir_okay=False)
    ] = None,
    against_set: Annotated[
        list[str] | None,
        typer.Option("--against-set", help="A parameter of the version that is compared.", metavar="NAME=VALUE"),
    ] = None,
    truth: Annotated[
        Path | None,
        typer.Option(help="What was wrong for certain: a line of JSON for each incident.", exists=True, dir_okay=False),
    ] = None,
    by: Annotated[str | None, typer.Option(help="Output column to count by; else storeId, or the key.")] = None,
    samples: Annotated[int, typer.Option(min=0, help="Alerts of each rule that are printed.")] = 5,
    html: Annotated[Path | None, typer.Option(help="Write a page with charts.", metavar="FILE")] = None,
    alerts: Annotated[
        Path | None, typer.Option(help="Write the alerts as lines of JSON, as the worker does.", metavar="FILE")
    ] = None,
    json: Json = False,
    broker: Broker = None,
    config: ConfigFile = None,
) -> None:
    """Tell which alerts jobs would have given on rows of files, or of a range of its topics: those of the worker.

    Example: anomaly backtest refunds.sql --table pos_events=pos.parquet --table staff_shifts=shifts.parquet

    Example: anomaly backtest refunds.sql --from '2026-01-01' --to '2026-02-01' --set retail.refund.count=4

    Example: anomaly backtest refunds.sql --table pos=pos.jsonl --table staff=shifts.jsonl --against mine.sql
    """
    from anomaly_app.alerts.encoding import encode
    from anomaly_app.alerts.truth import judge, read_truth
    from anomaly_app.cli.backtest_html import page
    from anomaly_app.cli.backtest_report import document, show
    from anomaly_app.errors import DataError

    if (begin is None) == (not table):
        raise typer.BadParameter("give the rows with --table, or --from a time in the topics of the job")
    if end is not None and begin is None:
        raise typer.BadParameter("--to needs --from")
    # What is wrong with files is told before a run that may be long.
    for path in (html, alerts):
        if path is not None and not path.parent.is_dir():
            raise DataError(f"{path}: there is no folder {path.parent}")
    incidents = None if truth is None else read_truth(truth.read_bytes().splitlines(), str(truth))
    run = _Runner(load(config, None, {"kafka.bootstrap_servers": broker}), _paths(table or ()), _range(begin, end))
    own, theirs = given_parameters(set), given_parameters(against_set)
    outcome = run.of(jobs, own)
    other: Outcome | None = None
    if against is not None or theirs:
        other = run.of(jobs, own | theirs) if against is None else run.of([against], theirs)
    scores, untold = None, Counter[str]()
    if incidents is not None:
        known = [one for one in incidents if not one.type or one.type in outcome.queries or one.type in outcome.text]
        untold.update(one.type for one in incidents if one not in known)
        scores = judge(outcome.alerts, known)
    told = document(outcome, other, scores, by, untold)
    if html is not None:
        html.write_text(page(told), "utf-8")
    if alerts is not None:
        alerts.write_bytes(b"".join(encode(alert) + b"\n" for alert in outcome.alerts))
    if json:
        print_json(told)
    else:
        show(told, samples)


@dataclass(frozen=True, slots=True)
class _Runner:
    """Runs job files over the same records.

    Args:
        loaded: the settings.
        paths: a file for each table; none for topics.
        between: what is read of topics.
    """

    loaded: LoadedSettings
    paths: Mapping[str, Path]
    between: Range

    def of(self, paths: Sequence[Path], given: Mapping[str, str]) -> Outcome:
        """What jobs would have told."""
        from anomaly_app.cli.backtest_run import together

        texts = [_text(path) for path in paths]
        known = {**self.loaded.settings.parameters, **given}
        used = {one.name for path, text in zip(paths, texts, strict=True) for one in _parameters(text, known, path)}
        check_used(given, used)
        return together([self._one(path, text, given) for path, text in zip(paths, texts, strict=True)])

    def _one(self, path: Path, text: str, given: Mapping[str, str]) -> Outcome:
        """Of one job; what is wrong in it is printed, and the end."""
        from anomaly_app.cli.backtest_run import over_files, over_topics
        from anomaly_app.errors import SqlError

        try:
            told = text, path.stem, str(path), self.loaded, given
            with progress("records") as bar:
                work = over_files(*told, self.paths, bar) if self.paths else over_topics(*told, self.between, bar)
                return asyncio.run(work)
        except SqlError as error:
            note(f"anomaly: {path}: {error}")
            raise typer.Exit(2) from error


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"{path} cannot be read: {error}", param_hint="JOB") from error


def _parameters(text: str, given: Mapping[str, str], path: Path) -> Sequence[Parameter]:
    from anomaly_app.errors import SqlError
    from anomaly_app.sql.parameters import substitute

    try:
        return substitute(text, given).parameters
    except SqlError as error:
        note(f"anomaly: {path}: {error}")
        raise typer.Exit(2) from error


def _paths(given: Sequence[str]) -> dict[str, Path]:
    found = {}
    for text in given:
        name, equals, path = text.partition("=")
        if not equals:
            raise typer.BadParameter(f"{text!r} should be NAME=FILE, such as sales=sales.csv", param_hint="--table")
        found[name.replace("`", "")] = Path(path)
    return found


def _range(begin: str | None, end: str | None) -> Range:
    from anomaly_app.alerts.truth import milliseconds
    from anomaly_app.cli.backtest_run import Range

    def read(said: str, option: str) -> int:
        try:
            return milliseconds(said)
        except ValueError:
            problem = f"{said!r} should be a time such as '2026-01-01 09:00:00'"
            raise typer.BadParameter(problem, param_hint=option) from None

    first = None if begin is None or begin == "earliest" else read(begin, "--from")
    return Range(first, None if end is None else read(end, "--to"))
