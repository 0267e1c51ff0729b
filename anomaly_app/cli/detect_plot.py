"""Pictures of series with what a detector said: a panel for each, the band, the anomalies."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anomaly_app.errors import DataError

if TYPE_CHECKING:
    from anomaly_app.cli.detect import Judged
    from anomaly_app.cli.detect_input import Series
    from anomaly_app.detectors import Integers

PANELS = 12
"""More series than these do not fit a page; those with most anomalies are drawn."""
_WIDTH, _HEIGHT = 11.0, 2.6
"""Inches of a panel."""


def require_matplotlib(path: Path) -> None:
    """Complain before the work is done, if the picture cannot be drawn or has no place to go to.

    Raises:
        DataError: matplotlib is missing, cannot draw files of that ending, or there is no such folder.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
    except ImportError as error:
        raise DataError("--plot needs matplotlib: pip install anomaly-app[plot]") from error
    endings = sorted(FigureCanvasAgg.get_supported_filetypes())
    if path.suffix.lower().removeprefix(".") not in endings:
        raise DataError(f"{path}: the name of a picture should end in .png, or one of {', '.join(endings)}")
    if not path.parent.is_dir():
        raise DataError(f"{path}: there is no folder {path.parent}")


def draw(path: Path, series: Series, judged: Judged) -> str:
    """Draw a picture into a file.

    Args:
        path: of the file; its ending says what kind of picture.
        series: rows.
        judged: what was said of each.

    Returns:
        What was drawn, in words.

    Raises:
        DataError: the file cannot be written.
    """
    figure = create_figure(series, judged)
    try:
        figure.savefig(path)
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error.strerror}") from error
    drawn = len(figure.axes)
    return f"{drawn:,} of {len(series.keys):,} series drawn in {path}" if series.by else f"drawn in {path}"


def create_figure(series: Series, judged: Judged) -> Any:
    """A ``matplotlib.figure.Figure`` with a panel for each of the series that have most anomalies.

    It belongs to no window and to no global state of matplotlib.
    """
    import numpy as np
    from matplotlib.figure import Figure

    flagged = np.array([flag is True for flag in judged.flags])
    counts = np.bincount(series.series[flagged], minlength=len(series.keys))
    chosen = sorted(np.argsort(-counts, kind="stable")[:PANELS].tolist())
    figure = Figure(figsize=(_WIDTH, _HEIGHT * len(chosen) + 0.6), layout="constrained")
    panels = figure.subplots(len(chosen), squeeze=False)[:, 0]
    for number, panel in zip(chosen, panels, strict=True):
        rows = np.flatnonzero(series.series == number)
        _panel(panel, series, judged, rows, rows[flagged[rows]])
        name = ", ".join(f"{column} {value}" for column, value in zip(series.by, series.keys[number], strict=True))
        found = "1 anomaly" if counts[number] == 1 else f"{counts[number]:,} anomalies"
        panel.set_title(f"{name}: {found}" if name else found, loc="left", fontsize="medium")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper right", ncols=4, fontsize="small")
    return figure


def _panel(panel: Any, series: Series, judged: Judged, rows: Integers, flagged: Integers) -> None:
    import numpy as np
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    times = series.times.astype("datetime64[ms]")

    def column(name: str) -> Any:
        return np.array([_number(judged.results[row].get(name)) for row in rows.tolist()])

    line, label = series.points[:, 0], series.values[0]
    if "lower_bound" in judged.results[0]:
        if len(series.values) > 1:  # the band is that of the value which is farthest out
            line, label = np.full(len(series), np.nan), "value"
            line[rows] = column("actual_value")
        panel.fill_between(
            times[rows], column("lower_bound"), column("upper_bound"), color="tab:blue", alpha=0.15, lw=0, label="band"
        )
        panel.plot(times[rows], column("forecast_value"), color="tab:blue", lw=0.8, label="forecast")
    elif len(series.values) > 1:
        line, label = np.full(len(series), np.nan), "score"
        line[rows] = column("score")
        panel.plot(times[rows], column("threshold"), color="tab:blue", lw=0.8, label="threshold")
    panel.plot(times[rows], line[rows], color="0.25", lw=0.8, marker="." if len(rows) < 200 else None, label=label)
    panel.plot(times[flagged], line[flagged], ls="none", marker="o", ms=5, color="tab:red", label="anomaly")
    panel.set_ylabel(label)
    panel.margins(x=0.01)
    locator = AutoDateLocator()
    panel.xaxis.set_major_locator(locator)
    panel.xaxis.set_major_formatter(ConciseDateFormatter(locator))


def _number(value: Any) -> float:
    return value if isinstance(value, float) else math.nan
