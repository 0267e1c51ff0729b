"""``anomaly detect`` says first how many alarms a day are to be expected of the data at hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from anomaly_app.cli import main

MINUTE = 60_000
START = 1_767_225_600_000


def first_line(path: Path, capsys: pytest.CaptureFixture[str], rows: list[tuple[int, str]], *more: str) -> str:
    file = path / "x.csv"
    lines = [f"{START + time},{key},{50 + number % 7}" for number, (time, key) in enumerate(rows)]
    file.write_text("\n".join(["ts,key,v", *lines]) + "\n")
    assert main(["detect", str(file), "--value", "v", "--time", "ts", *more]) == 0
    return capsys.readouterr().err.splitlines()[0]


def regular(step: int, key: str = "a", rows: int = 200) -> list[tuple[int, str]]:
    return [(number * step, key) for number in range(rows)]


def test_one_a_day_is_one_alarm_and_needs_no_other_confidence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = first_line(tmp_path, capsys, regular(MINUTE), "--option", "sensitivity=7")
    assert told == "99.93 % leaves 1 alarm a day by design, at a point in 1 min"


def test_one_series(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = first_line(tmp_path, capsys, regular(10_000))
    assert told == "99 % leaves 86 alarms a day by design, at a point in 10 s; --confidence 99.988 leaves one"


def test_a_gap_is_not_the_pace_but_odd_intervals_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gap = [(time + (30 * 86_400_000 if time > 100 * MINUTE else 0), key) for time, key in regular(MINUTE)]
    assert "14 alarms a day by design, at a point in 1 min" in first_line(tmp_path, capsys, gap)
    times = np.cumsum(np.random.default_rng(1).exponential(5 * MINUTE, 4_000)).astype(int)
    told = first_line(tmp_path, capsys, [(int(time), "a") for time in times])
    assert "2.9 alarms a day by design" in told, "not those of the median distance"


def test_many_series_each_with_its_own_pace(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [*regular(MINUTE, "a"), *regular(60 * MINUTE, "b"), *regular(60 * MINUTE, "c"), (0, "alone")]
    told = first_line(tmp_path, capsys, rows, "--by", "key")
    assert told.startswith("99 % leaves 0.24 to 14 alarms a day by design, for each series at a point in 1 h to 1 min")
    assert "15 for all 3; --confidence 99.931 leaves at most one for each" in told


def test_without_an_interval_it_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = first_line(tmp_path, capsys, [(0, "a")] * 200)
    assert told.startswith("99 % leaves one row in 100 as an alarm by design; how many a day is not known")


@pytest.mark.parametrize(
    ("option", "alarms"),
    [
        ("direction=up", "7.2"),
        ("upperBoundConfidencePercentage=99.9", "7.9"),
        ("sensitivity=7", "1"),
        ("confidencePercentage=99.9", "1.4"),
    ],
)
def test_options_that_change_the_share_count(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str, alarms: str
) -> None:
    told = first_line(tmp_path, capsys, regular(MINUTE), "--option", option)
    assert f"% leaves {alarms} alarm{'s' * (alarms != '1')} a day" in told
