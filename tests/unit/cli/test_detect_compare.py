"""``anomaly detect --compare``."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from anomaly_app.cli import main

ROWS = 3_000


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A point a minute with three labelled events: two spikes, and one of 40 rows with a gap in its labels."""
    monkeypatch.chdir(tmp_path)
    draw = random.Random(1)
    lines = ["ts,v,label"]
    for row in range(ROWS):
        bad = row in (1000, 1800) or 2400 <= row < 2440
        label = int(bad and row != 2410)
        value = draw.gauss(100, 1) + 40 * bad
        lines.append(f"2026-01-{1 + row // 1440:02} {row // 60 % 24:02}:{row % 60:02}:00,{value:.3f},{label}")
    path = tmp_path / "v.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[list[str], str]:
    assert main(["detect", "v.csv", "--value", "v", "--time", "ts", "--compare", *arguments]) == 0
    out, err = capsys.readouterr()
    return out.splitlines(), err


def test_detectors_are_beside_each_other(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (heading, *lines), err = run(capsys)
    assert heading.split()[:5] == ["detector", "alarms", "a", "day", "rows"]
    assert "events" not in heading
    assert [line.split("  ")[0] for line in lines] == [
        "1 ML_DETECT_ANOMALIES",
        "2 ML_DETECT_ANOMALIES, one in 1440",
        "3 ML_DETECT_ANOMALIES_ROBUST",
        "4 ANOMALY_SCORE",
        "5 ANOMALY_SCORE, history 0",
    ]
    assert "3,000 rows" in err


def test_with_labels_events_are_counted_and_a_picture_has_all(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    (heading, *lines), err = run(capsys, "--labels", "label", "--plot", "all.png")
    assert heading.rstrip().endswith("events found  false a day")
    assert all("3 of 3" in line for line in lines)
    false = [float(line.split()[-1]) for line in lines]
    assert false[0] > 4 > 2 > false[4]
    assert "drawn in all.png" in err
    assert Path("all.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--compare", "--value", "label"], "--compare is for one --value"),
        (["--labels", "label"], "--labels is for --compare"),
        (["--compare", "--confidence", "99.9"], "--confidence is not for --compare"),
        (["--compare", "--option", "p=1"], "--option is not for --compare"),
        (["--compare", "--json"], "--json is not for --compare"),
    ],
)
def test_what_does_not_go_together_is_said(
    file: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], problem: str
) -> None:
    assert main(["detect", "v.csv", "--value", "v", "--time", "ts", *arguments]) == 2
    assert problem in capsys.readouterr().err


@pytest.mark.parametrize(("yes", "no"), [("true", "false"), ("yes", ""), ("1.0", "0.0")])
def test_labels_may_be_words(file: Path, capsys: pytest.CaptureFixture[str], yes: str, no: str) -> None:
    lines = [line.rsplit(",", 1) for line in file.read_text().splitlines()]
    words = {"label": "label", "1": yes, "0": no}
    file.write_text("".join(f"{rest},{words[label]}\n" for rest, label in lines))
    (_, *rows), _ = run(capsys, "--labels", "label")
    assert all("3 of 3" in row for row in rows)


def test_labels_of_another_kind_are_refused(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(file.read_text().replace(",1\n", ",-1\n"))
    assert main(["detect", "v.csv", "--value", "v", "--time", "ts", "--compare", "--labels", "label"]) in (1, 2)
    told = capsys.readouterr().err
    assert "'label'" in told and "-1" in told and "1 (or true, yes)" in told


def test_without_an_event_it_is_said(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(file.read_text().replace(",1\n", ",0\n"))
    (_, *rows), err = run(capsys, "--labels", "label")
    assert all("0 of 0" in row for row in rows)
    assert "no row has 1 in 'label'" in err
