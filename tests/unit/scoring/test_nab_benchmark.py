"""The NAB benchmark runs on a folder laid out like NAB, and the scorer does well on a few files of it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.nab import read, score
from benchmarks.nab_scoring import PROFILES, evaluate, scored

ROOT = Path(__file__).parents[3]
NAB = next((place for place in (ROOT.parent / "shared/nab/dev", Path("/work/shared/nab/dev")) if place.is_dir()), None)


def write(folder, name, values, windows):
    """A file with a row a minute."""
    rows = [f"2026-01-{1 + k // 1440:02} {k // 60 % 24:02}:{k % 60:02}:00,{value}" for k, value in enumerate(values)]
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("\n".join(["timestamp,value", *rows]) + "\n")
    return [[rows[row].split(",")[0] + ".000000" for row in window] for window in windows]


def test_it_scores_a_folder(tmp_path):
    values = [10 + k * 7919 % 31 / 10 for k in range(700)]
    labels = {
        "b/calm.csv": write(tmp_path, "b/calm.csv", values, []),
        "a/spike.csv": write(tmp_path, "a/spike.csv", [*values[:500], 50, *values[501:]], [(480, 549)]),
        "a/not_there.csv": [],
    }
    (tmp_path / "windows.json").write_text(json.dumps(labels))
    command = [sys.executable, "-m", "benchmarks.nab", "--data", tmp_path, "--windows", tmp_path / "windows.json"]
    done = subprocess.run(
        [*command, "--json", tmp_path / "out.json"], cwd=ROOT, check=True, timeout=50, capture_output=True, text=True
    )
    assert f"not in {tmp_path}: a/not_there.csv" in done.stdout
    report = json.loads((tmp_path / "out.json").read_text())
    assert (report["files"], report["rows"]) == (2, 1400)
    standard = report["profiles"]["standard"]
    assert (standard["found"], standard["windows"], standard["false"]) == (1, 1, 0)
    assert 50 < standard["score"] < 100
    assert report["speed"]["us"] > 0


def test_windows_are_rows(tmp_path):
    labels = {"a/x.csv": write(tmp_path, "a/x.csv", range(2000), [(3, 5), (1500, 1500)])}
    (tmp_path / "windows.json").write_text(json.dumps(labels))
    (series,) = read(tmp_path, tmp_path / "windows.json").values()
    assert series.windows == [(3, 5), (1500, 1500)]
    assert series.values == list(range(2000))
    assert series.times[1500] - series.times[0] == 1500 * 60_000


@pytest.mark.skipif(NAB is None, reason="NAB is not beside the repository")
def test_it_finds_what_is_labelled_in_files_of_nab():
    names = (
        "artificialWithAnomaly/art_daily_jumpsdown.csv",
        "realTraffic/speed_7578.csv",
        "realAWSCloudwatch/ec2_cpu_utilization_ac20cd.csv",
        "realKnownCause/ec2_request_latency_system_failure.csv",
    )
    series = read(NAB, NAB / "combined_windows.json")
    files = [scored(score(series[name], {}), series[name].windows) for name in names]
    result = evaluate(files, PROFILES["standard"], 0.5)
    assert result.found == result.windows == 9
    assert result.false <= 10
    assert result.score > 80
