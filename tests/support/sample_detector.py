"""A small detector for the tests of SQL and of the operator: mean and three deviations of all that was seen."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from anomaly_app.detectors import DetectorFunction, Floats, Integers, Option
from anomaly_app.errors import OptionError
from anomaly_app.jobs import detector_functions
from anomaly_app.schema import BOOLEAN, DOUBLE, INT, TIMESTAMP_3, DataType, Kind

FIELDS = (
    ("timestamp", TIMESTAMP_3),
    ("actual_value", DOUBLE),
    ("forecast_value", DOUBLE),
    ("lower_bound", DOUBLE),
    ("upper_bound", DOUBLE),
    ("is_anomaly", BOOLEAN),
    ("seen", INT),
    ("total", DOUBLE),
)
RESULT = DataType(Kind.ROW, fields=FIELDS)


@dataclass
class BandVerdicts:
    rows: list[tuple[Any, ...]]
    names: Sequence[str]

    def values(self) -> list[Any]:
        return self.rows

    def flags(self) -> list[bool | None]:
        return [row[5] for row in self.rows]

    def scores(self) -> list[float | None]:
        return [None if row[2] is None else abs(row[1] - row[2]) / max(row[4] - row[2], 1e-9) for row in self.rows]

    def explain(self, number: int) -> str:
        _, value, forecast, low, high, *_ = self.rows[number]
        side, bound = ("above the upper", high) if value > high else ("below the lower", low)
        return f"{'+'.join(self.names)} {value:g} is {side} bound {bound:.2f} (forecast {forecast:.2f})"


class BandDetector:
    """The sum of the values of a point, judged by mean and standard deviation of the earlier ones."""

    def __init__(self, options: Mapping[str, Any], names: Sequence[str]) -> None:
        if options["low"] is not None and options["low"] > options["minTrainingSize"]:
            raise OptionError("low", f"low {options['low']} is above minTrainingSize {options['minTrainingSize']}")
        self.width, self.names, self.options = len(names), names, options
        self.state: list[tuple[int, float, float]] = []
        self.changed: set[int] = set()

    def grow(self, series: int) -> None:
        self.state += [(0, 0.0, 0.0)] * (series - len(self.state))

    def update(self, series: Integers, times: Integers, points: Floats) -> BandVerdicts:
        assert points.shape == (len(series), self.width)
        rows = []
        for number, time, point in zip(series.tolist(), times.tolist(), points.tolist(), strict=True):
            value = sum(point)
            count, total, squares = self.state[number]
            missing = math.isnan(value)
            if missing or count < self.options["minTrainingSize"]:
                rows.append((time, None if missing else value, None, None, None, None, count, total))
            else:
                mean = total / count
                half = self.options["width"] * math.sqrt(max(squares / count - mean * mean, 0.0))
                outside = abs(value - mean) > half
                rows.append((time, value, mean, mean - half, mean + half, outside, count, total))
            if math.isfinite(value):
                self.state[number] = (count + 1, total + value, squares + value * value)
                self.changed.add(number)
        return BandVerdicts(rows, self.names)

    def changes(self, series: int) -> Iterator[tuple[bytes, bytes | None]]:
        if series in self.changed:
            self.changed.discard(series)
            count, total, squares = self.state[series]
            yield b"sums", struct.pack(">qdd", count, total, squares)
            # Of an entry that comes and goes, and of one whose name differs from series to series.
            yield b"odd", b"x" if count % 2 else None
            yield b"%d" % (count // 4), b"y"

    def restore(self, series: int, entries: Iterable[tuple[bytes, bytes]]) -> None:
        for name, value in entries:
            if name == b"sums":
                self.state[series] = struct.unpack(">qdd", value)

    def forget(self, series: int) -> None:
        self.state[series] = (0, 0.0, 0.0)
        self.changed.discard(series)


OPTIONS = (
    Option("horizon", int, 1, "periods ahead", lambda value: value > 0, "a whole number from 1 on"),
    Option("minTrainingSize", int, 3, "rows", lambda value: value > 1, "a whole number from 2 on"),
    Option("confidencePercentage", float, 99.0, "", lambda value: 0 < value < 100, "a number between 0 and 100"),
    Option("width", float, 3.0, "standard deviations"),
    Option("low", int, None, "must be below minTrainingSize"),
)
BAND = DetectorFunction("ML_DETECT_ANOMALIES", OPTIONS, RESULT, BandDetector)
BAND_OF_ROW = DetectorFunction("ML_DETECT_ANOMALIES_ROBUST", OPTIONS, RESULT, BandDetector, multivariate=True)
SAMPLE_FUNCTIONS = {function.name: function for function in (BAND, BAND_OF_ROW)}


def use_sample_functions(monkeypatch: pytest.MonkeyPatch) -> None:
    """SQL knows the sample detectors and no others."""
    monkeypatch.setattr(detector_functions, "functions", lambda: SAMPLE_FUNCTIONS)
