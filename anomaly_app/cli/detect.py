"""``anomaly detect``: anomalies in the series of a file, with the detectors of SQL."""

from __future__ import annotations

import json as json_text
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from anomaly_app.cli.detect_judge import Judged, judge
from anomaly_app.cli.output import note, plain, print_table

if TYPE_CHECKING:
    from anomaly_app.cli.detect_input import Series
    from anomaly_app.detectors import DetectorFunction

ONE_VALUE, SEVERAL_VALUES = "ML_DETECT_ANOMALIES", "DETECT_OUTLIERS"

_COLUMNS = {
    "forecast_value": "forecast",
    "lower_bound": "lower",
    "upper_bound": "upper",
    "score": "score",
    "threshold": "threshold",
}
"""What the table shows of a result, and under which heading."""


def detect(
    file: Annotated[Path, typer.Argument(help="A .csv (with header), .jsonl or .parquet file.", metavar="FILE")],
    value: Annotated[
        list[str] | None,
        typer.Option(
            "--value",
            help="Column that is judged, else the only one of numbers; several are judged together.",
            metavar="COLUMN",
        ),
    ] = None,
    time: Annotated[
        str | None, typer.Option(help="Column of times; else the only TIMESTAMP.", metavar="COLUMN")
    ] = None,
    by: Annotated[
        list[str] | None,
        typer.Option(help="A series for each value of this column; may be given more than once.", metavar="COLUMN"),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Draw the series, the band and the anomalies.", metavar="FILE.png")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON, one line a row.")] = False,
    all: Annotated[bool, typer.Option("--all", help="Print every row, not just the anomalies.")] = False,
    confidence: Annotated[
        float | None, typer.Option(help="Percentage of points that are usual, such as 99.", metavar="PERCENT")
    ] = None,
    function: Annotated[
        str | None,
        typer.Option(help=f"SQL function that judges; else {ONE_VALUE}, or {SEVERAL_VALUES} for several values."),
    ] = None,
    compare: Annotated[
        bool, typer.Option("--compare", help="Run the detectors of one value side by side: alarms a day and overlap.")
    ] = False,
    labels: Annotated[
        str | None, typer.Option(help="With --compare: column that is 1 in anomalies, 0 elsewhere.", metavar="COLUMN")
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(help="Of the function, such as minTrainingSize=50; may be repeated.", metavar="NAME=VALUE"),
    ] = None,
) -> None:
    """Find anomalies in the series of a file: each row is judged by the rows before it, in the order of the times.

    Example: anomaly detect orders.csv --value price --time ts --by customer_id --plot orders.png

    Example: anomaly detect latency.csv --value ms --time ts --compare --labels label --plot detectors.png

    Example: anomaly detect orders.csv --value price --value items --option method=trees --option timeOfDay=true --json
    """
    from anomaly_app.cli.detect_input import only_value, read_series
    from anomaly_app.cli.detect_rate import rate
    from anomaly_app.detectors import check_options

    if plot is not None:
        from anomaly_app.cli.detect_plot import require_matplotlib

        require_matplotlib(plot)
    if labels and not compare:
        raise typer.BadParameter("--labels is for --compare", param_hint="--labels")
    value = value or [only_value(file, (*(by or ()), *(each for each in (time, labels) if each)))]
    if compare:
        others = {"--function": function, "--option": option, "--confidence": confidence, "--json": json, "--all": all}
        for name, given_too in others.items():
            if given_too:
                raise typer.BadParameter(
                    f"{name} is not for --compare, which runs each detector with its defaults", param_hint=name
                )
        _compare(file, value, time, by or (), plot, labels)
        return
    known = _function(function or (ONE_VALUE if len(value) == 1 else SEVERAL_VALUES), len(value))
    given = _options(known, option or ())
    if confidence is not None:
        given["confidencePercentage"] = confidence
    check_options(known, given)  # what is wrong with them is said before a large file is read
    has_categories = any(one.name == "categories" for one in known.options)
    named = [name.strip() for name in str(given.get("categories", "")).split(",")] if has_categories else []
    series = read_series(file, value, time, by or (), named)
    if has_categories and series.categories:
        given["categories"] = ",".join(series.categories)
    options = check_options(known, given)
    if expected := rate(options, series):
        note(expected)
    judged = judge(known, options, series)
    if json:
        _print_lines(series, judged, all)
    else:
        _print_rows(series, judged, all)
    for problem in series.problems:
        note(f"{file}: {problem}")
    note(_summary(series, judged))
    if plot is not None:
        from anomaly_app.cli.detect_plot import draw

        note(draw(plot, series, judged))


def _compare(
    file: Path, value: Sequence[str], time: str | None, by: Sequence[str], plot: Path | None, labels: str | None
) -> None:
    from anomaly_app.cli.detect_compare import compare, draw_compared, table
    from anomaly_app.cli.detect_input import read_labels, read_series

    if len(value) != 1:
        raise typer.BadParameter("--compare is for one --value", param_hint="--compare")
    named = [labels] if labels else []
    series = read_series(file, [*value, *named], time, by, named)
    marked = read_labels(file, series) if labels else None
    series = replace(series, values=series.values[:1], points=series.points[:, :1])
    compared = compare(series)
    print_table(*table(series, compared, marked))
    for problem in series.problems:
        note(f"{file}: {problem}")
    if marked is not None and not marked.any():
        note(f"no row has 1 in {labels!r}: there is no event to find, and every alarm counts as a false one")
    note(f"{len(series):,} rows; alarms within 30 rows are one; 'in 2': share of them that detector 2 tells, too")
    if plot is not None:
        note(draw_compared(plot, series, compared, marked))


def _function(name: str, values: int) -> DetectorFunction:
    from anomaly_app.plan.detector_functions import functions

    known = functions()
    found = known.get(name.upper())
    if found is None:
        have = ", ".join(sorted(known))
        raise typer.BadParameter(f"{name!r} is no detector; there are {have}", param_hint="--function")
    if values > 1 and not found.multivariate:
        several = ", ".join(sorted(other.name for other in known.values() if other.multivariate))
        problem = f"{found.name} takes one value, but --value is given {values} times; several are for {several}"
        raise typer.BadParameter(problem, param_hint="--function")
    return found


def _options(function: DetectorFunction, given: Sequence[str]) -> dict[str, Any]:
    """Texts ``name=value`` as options of their types; those that are wrong are left to be complained of."""
    types = {option.name: option.type for option in function.options}
    options: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals:
            problem = f"{text!r} should be NAME=VALUE, such as minTrainingSize=50"
            raise typer.BadParameter(problem, param_hint="--option")
        options[name.strip()] = _typed(value.strip(), types.get(name.strip(), str))
    return options


def _typed(value: str, type_: type) -> Any:
    if type_ is bool:
        return {"true": True, "false": False}.get(value.lower(), value)
    if type_ in (int, float):
        try:
            return type_(value)
        except ValueError:
            return value
    return value


def _chosen(judged: Judged, all_: bool) -> Iterator[int]:
    return (row for row, flag in enumerate(judged.flags) if flag or all_)


def _print_lines(series: Series, judged: Judged, all_: bool) -> None:
    types = {name: str(type_) for name, type_ in judged.function.result.fields}
    for row in _chosen(judged, all_):
        result = {name: _plain(value, types.get(name, "")) for name, value in judged.results[row].items()}
        line = {
            "row": dict(zip((series.time, *series.by, *series.values), _cells(series, row), strict=True)),
            "is_anomaly": judged.flags[row],
            "score": judged.scores[row],
            "result": result,
            "explanation": judged.explanations.get(row),
        }
        print(json_text.dumps(line, ensure_ascii=False, default=str))


def _print_rows(series: Series, judged: Judged, all_: bool) -> None:
    shown = [name for name in _COLUMNS if judged.results and name in judged.results[0]]
    # A band says why a row is an anomaly; a score does not.
    reasons = "lower_bound" not in shown
    columns = [series.time, *series.by, *series.values, *(_COLUMNS[name] for name in shown)]
    columns += ["anomaly"] * all_ + ["because"] * reasons
    rows = []
    for row in _chosen(judged, all_):
        cells = ["" if cell is None else str(cell) for cell in _cells(series, row)]
        cells += [_short(judged.results[row][name]) for name in shown]
        cells += [{None: "", True: "TRUE", False: "FALSE"}[judged.flags[row]]] * all_
        rows.append(cells + [judged.explanations.get(row, "")] * reasons)
    if rows:
        print_table(columns, rows)


def _cells(series: Series, row: int) -> list[Any]:
    from anomaly_app.conversions import timestamp_to_text

    time = timestamp_to_text(int(series.times[row]), 3).removesuffix(".000")
    return [time, *series.keys[series.series[row]], *series.shown[row]]


def _short(value: Any) -> str:
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)


def _plain(value: Any, type_: str) -> Any:
    from anomaly_app.conversions import timestamp_to_text

    if isinstance(value, int) and type_.startswith("TIMESTAMP"):
        return timestamp_to_text(value, 3)
    return plain(value, type_)


def _summary(series: Series, judged: Judged) -> str:
    """One line: what became of the rows of the file."""
    import numpy as np

    rows, flagged = len(series) + series.untimed, sum(flag is True for flag in judged.flags)
    gaps = (np.isnan(series.points).sum(axis=1) > 0).tolist()
    missing = sum(gaps) - (series.unreadable - series.untimed)
    waiting = sum(flag is None and not gap for flag, gap in zip(judged.flags, gaps, strict=True))
    parts = [f"{rows:,} rows" + (f" of {len(series.keys):,} series" if series.by else "")]
    parts += [f"{flagged:,} anomalies", f"{waiting:,} warming up", f"{series.unreadable:,} unreadable"]
    if missing:
        parts.append(f"{missing:,} without a value")
    few = ": too few for a verdict; --option minTrainingSize=… asks for fewer"
    return ", ".join(parts) + (few if waiting and all(flag is None for flag in judged.flags) else "")
