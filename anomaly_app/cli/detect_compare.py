"""``anomaly detect --compare``: the detectors of one value side by side on a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anomaly_app.cli.detect_judge import Judged, judge
from anomaly_app.errors import DataError

if TYPE_CHECKING:
    from anomaly_app.cli.detect_input import Series
    from anomaly_app.detectors import Integers

COMPARED: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("ML_DETECT_ANOMALIES", "ML_DETECT_ANOMALIES", {}),
    ("ML_DETECT_ANOMALIES, one in 1440", "ML_DETECT_ANOMALIES", {"sensitivity": 7.0}),
    ("ML_DETECT_ANOMALIES_ROBUST", "ML_DETECT_ANOMALIES_ROBUST", {}),
    ("ANOMALY_SCORE", "ANOMALY_SCORE", {}),
    ("ANOMALY_SCORE, history 0", "ANOMALY_SCORE", {"history": 0}),
)
"""Name in the table, function and options."""
APART, CLOSE = 30, 5
"""Rows between alarms that are one, and between labels of one event; rows around an event that an alarm may be in."""
DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Compared:
    """What one detector said.

    Args:
        name: in the table.
        judged: of each row.
        alarms: first row of each alarm.
    """

    name: str
    judged: Judged
    alarms: Integers


def compare(series: Series) -> list[Compared]:
    """Run all of :data:`COMPARED` with their defaults."""
    from anomaly_app.detectors import check_options
    from anomaly_app.plan.detector_functions import functions

    known, found = functions(), []
    for name, function, given in COMPARED:
        judged = judge(known[function], check_options(known[function], given), series)
        found.append(Compared(name, judged, alarms(series, flagged(judged))))
    return found


def flagged(judged: Judged) -> Any:
    """Whether each row is an anomaly."""
    import numpy as np

    return np.array([flag is True for flag in judged.flags], dtype=np.bool_)


def alarms(series: Series, rows: Any) -> Integers:
    """First rows of stretches of some rows of a series with gaps of at most :data:`APART` of its rows, in order."""
    import numpy as np

    first: list[int] = []
    for number in range(len(series.keys)):
        own = np.flatnonzero(series.series == number)
        places = np.flatnonzero(rows[own])
        new = np.append(True, np.diff(places) > APART)[: len(places)]
        first += own[places[new]].tolist()
    return np.array(sorted(first), dtype=np.int64)


def table(series: Series, compared: Sequence[Compared], labels: Any = None) -> tuple[list[str], list[list[str]]]:
    """Headings and rows: alarms a day, the share of them that each other detector tells, too, events found.

    Args:
        series: rows.
        compared: what the detectors said.
        labels: whether each row is labelled as an anomaly; None if that is not known.
    """
    import numpy as np

    numbers = np.unique(series.series).tolist()
    days = sum(max(int(np.ptp(series.times[series.series == number])), 1) / DAY_MS for number in numbers)
    events = near(series, labels, CLOSE) if labels is not None else None
    headings = ["detector", "alarms a day", "rows", *(f"in {number}" for number in range(1, len(compared) + 1))]
    if events is not None:
        headings += ["events found", "false a day"]
    lines = []
    for number, one in enumerate(compared, 1):
        rows = flagged(one.judged)
        cells = [f"{number} {one.name}", f"{len(one.alarms) / days:.2f}", str(int(rows.sum()))]
        for other in compared:
            shared = near(series, flagged(other.judged), APART)[one.alarms]
            cells.append("" if other is one else f"{100 * shared.mean():.0f} %" if len(shared) else "-")
        if events is not None:
            cells += [_found(series, labels, rows), f"{len(alarms(series, rows & ~events)) / days:.2f}"]
        lines.append(cells)
    return headings, lines


def near(series: Series, rows: Any, within: int) -> Any:
    """Whether each row is, in its series, at most so many rows from one of some rows."""
    import numpy as np

    close = np.zeros(len(series), dtype=np.bool_)
    for number in range(len(series.keys)):
        own = np.flatnonzero(series.series == number)
        reach = np.convolve(rows[own].astype(float), np.ones(2 * within + 1))[within : within + len(own)]
        close[own] = reach > 0.5
    return close


def _found(series: Series, labels: Any, rows: Any) -> str:
    """How many stretches of labelled rows have an alarm in or close to them."""
    import numpy as np

    found = events = 0
    for number in range(len(series.keys)):
        own = np.flatnonzero(series.series == number)
        places, told = np.flatnonzero(labels[own]), np.flatnonzero(rows[own])
        if len(places):
            cuts = np.flatnonzero(np.diff(places) > APART)
            for first, last in zip(places[np.append(0, cuts + 1)], places[np.append(cuts, -1)], strict=True):
                events += 1
                found += bool(((told >= first - CLOSE) & (told <= last + CLOSE)).any())
    return f"{found} of {events}"


def draw_compared(path: Path, series: Series, compared: Sequence[Compared], labels: Any = None) -> str:
    """One picture: the series with most alarms, and below it a line of marks for each detector.

    Raises:
        DataError: the file cannot be written.
    """
    import numpy as np
    from matplotlib.figure import Figure

    counts = sum(np.bincount(series.series[one.alarms], minlength=len(series.keys)) for one in compared)
    own = np.flatnonzero(series.series == int(np.argmax(counts)))
    times = series.times.astype("datetime64[ms]")
    figure = Figure(figsize=(11.0, 5.0), layout="constrained")
    panel, marks = figure.subplots(2, sharex=True, height_ratios=[3, 1])
    panel.plot(times[own], series.points[own, 0], color="0.25", lw=0.8)
    panel.set_ylabel(series.values[0])
    if labels is not None:
        inside = own[labels[own]]
        panel.plot(times[inside], series.points[inside, 0], ls="none", marker=".", color="tab:orange", label="labelled")
        panel.legend(loc="upper right", fontsize="small")
    for place, one in enumerate(compared):
        rows = own[flagged(one.judged)[own]]
        marks.plot(times[rows], np.full(len(rows), -place), ls="none", marker="|", ms=10, color=f"C{place}")
    marks.set_yticks(range(0, -len(compared), -1), [one.name for one in compared], fontsize="small")
    marks.margins(x=0.01, y=0.2)
    try:
        figure.savefig(path)
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error.strerror}") from error
    return f"drawn in {path}"
