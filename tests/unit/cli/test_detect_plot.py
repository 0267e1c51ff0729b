"""Pictures of ``anomaly detect``: what is in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anomaly_app.cli.detect import Judged
from anomaly_app.cli.detect_input import Series
from anomaly_app.cli.detect_plot import PANELS, create_figure, draw
from anomaly_app.schema import DOUBLE

ROWS = 60


class _Function:
    result = DOUBLE


def judged(rows: int, flagged: list[int], *, band: bool) -> Any:
    results: list[dict[str, Any]] = []
    for row in range(rows):
        if row < 10:
            results.append(dict.fromkeys(["forecast_value", "lower_bound", "upper_bound"] if band else ["score"]))
        elif band:
            results.append({"forecast_value": 5.0, "lower_bound": 3.0, "upper_bound": 7.0})
        else:
            results.append({"score": 1.0, "threshold": 2.0})
    flags: list[bool | None] = [None if row < 10 else row in flagged for row in range(rows)]
    return Judged(_Function(), results, flags, [None] * rows, {})  # type: ignore[arg-type]


def series(keys: int, values: int = 1) -> Series:
    rows = ROWS * keys
    points = np.random.default_rng(1).normal(5, 0.5, (rows, values))
    names = ("price", "items")[:values]
    times = np.arange(rows, dtype=np.int64) * 60_000
    numbers = np.arange(rows, dtype=np.int64) % keys
    return Series("ts", ("who",), names, (), [(f"k{n}",) for n in range(keys)], numbers, times, points, [], [], 0, 0)


def lines(panel: Any) -> dict[str, Any]:
    return {line.get_label(): line for line in panel.get_lines()}


def test_a_panel_has_the_series_its_band_and_its_anomalies() -> None:
    given = series(2)
    figure = create_figure(given, judged(2 * ROWS, [21, 50, 51], band=True))
    first, second = figure.axes
    assert (first.get_title("left"), second.get_title("left")) == ("who k0: 1 anomaly", "who k1: 2 anomalies")
    own = given.series == 1
    drawn = lines(second)
    assert np.array_equal(drawn["price"].get_ydata(), given.points[own, 0])
    assert np.array_equal(drawn["anomaly"].get_ydata(), given.points[[21, 51], 0])
    assert np.array_equal(drawn["anomaly"].get_xdata(), given.times[[21, 51]].astype("datetime64[ms]"))
    (band,) = second.collections
    heights = band.get_paths()[0].vertices[:, 1]
    assert heights.min() == 3.0 and heights.max() == 7.0
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["band", "forecast", "price", "anomaly"]


def test_several_values_are_drawn_as_score_and_threshold() -> None:
    (panel,) = create_figure(series(1, values=2), judged(ROWS, [30], band=False)).axes
    drawn = lines(panel)
    assert set(drawn) == {"score", "threshold", "anomaly"} and drawn["anomaly"].get_ydata().tolist() == [1.0]


def test_of_many_series_those_with_most_anomalies_are_drawn() -> None:
    keys = PANELS + 8
    rows = [row for row in range(10, ROWS * keys) if row % keys >= 8]
    figure = create_figure(series(keys), judged(ROWS * keys, rows, band=True))
    assert [panel.get_title("left").split(":")[0] for panel in figure.axes] == [f"who k{n}" for n in range(8, keys)]


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_the_file_is_a_picture(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a.{ending}"
    assert draw(path, series(1), judged(ROWS, [30, 40], band=True)) == f"1 of 1 series drawn in {path}"
    assert path.stat().st_size > 5_000
    if ending == "png":
        from matplotlib.image import imread

        pixels = imread(path)
        red = (pixels[:, :, 0] > 0.8) & (pixels[:, :, 1] < 0.25)
        assert pixels.shape[1] == 1_100 and pixels.shape[0] == 320
        assert red.sum() > 40
