"""The benchmark on labelled series: how alerts are counted, what is simulated, and that no baseline looks ahead."""

from __future__ import annotations

import gzip

import numpy as np
import pytest

from benchmarks import series as benchmark, series_made
from benchmarks.series_baselines import BASELINES
from benchmarks.series_measures import Series, at_budget, clusters, events_of, prepare, reach

DAY = 1440


def labelled(rows, events, name="some/one"):
    return Series(name, 60_000 * np.arange(rows), np.zeros(rows), [(a, b, "") for a, b in events])


def scored(rows, **scores):
    made = np.zeros(rows)
    for row, score in scores.items():
        made[int(row[1:])] = score
    return made


def test_labels_within_thirty_rows_are_one_event():
    labels = np.zeros(200)
    labels[[10, 40, 71]] = 1
    assert events_of(labels) == [(10, 40, ""), (71, 71, "")]
    assert events_of(np.zeros(5)) == []


def test_an_alert_up_to_five_rows_away_finds_an_event_and_one_farther_is_false():
    series = labelled(2 * DAY, [(100, 110), (500, 500), (800, 801)])
    one = prepare(series, scored(2 * DAY, _95=0.9, _505=0.8, _807=0.9))
    reached = reach([one], 0.5)
    assert (reached.found, reached.events) == (2, 3)
    assert reached.false == 0.5


def test_false_alarms_within_thirty_rows_are_one():
    assert clusters(np.array([1, 31, 61, 92])) == 2
    one = prepare(labelled(DAY, []), scored(DAY, _1=1, _31=1, _61=0.6, _92=1))
    assert reach([one], 0.5).false == 2
    assert reach([one], 0.7).false == 2  # 31 and 61 apart
    assert prepare(labelled(DAY, []), np.full(DAY, np.nan)).false(0.1) == 0


def test_the_threshold_of_a_budget_is_one_for_all_series_and_not_beyond_the_first_excess():
    rows = 10 * DAY
    first = prepare(labelled(rows, [(100, 100), (5000, 5000)]), scored(rows, _100=0.9, _5000=0.5, _700=0.6))
    second = prepare(labelled(rows, [(100, 100)], "some/two"), np.where(np.arange(rows) == 100, 0.7, 0.2))
    assert at_budget([first, second], 0.0).found == 2
    assert at_budget([first, second], 0.0).threshold == 0.7
    assert at_budget([first, second], 0.05).found == 3
    flooded = prepare(labelled(DAY, [(100, 100)]), np.where(np.arange(DAY) % 40 == 39, 0.9, 0.5))
    assert at_budget([flooded], 3.0).found == 0  # at 0.5 all alarms run together into two


def test_an_event_that_scores_nothing_is_not_found():
    assert reach([prepare(labelled(DAY, [(5, 6)]), np.zeros(DAY))], 0.0).found == 0


def test_a_split_is_by_series_and_always_the_same():
    some = [labelled(10, [], f"made/{k}") for k in range(40)]
    parts = [benchmark.fold(some, k, 3) for k in range(3)]
    assert sorted(one.name for part in parts for one in part) == sorted(one.name for one in some)
    assert all(len(part) > 5 for part in parts)
    assert [one.name for one in benchmark.fold(some, 0, 3)] == [one.name for one in parts[0]]


def test_a_beginning_has_the_events_that_begin_in_it():
    short = benchmark.beginning(labelled(100, [(3, 4), (38, 45), (50, 60)]), 40)
    assert (len(short.times), len(short.values), short.events) == (40, 40, [(3, 4, ""), (38, 39, "")])


def test_series_of_a_folder_are_read(tmp_path):
    folder = tmp_path / "wsd" / "dev"
    folder.mkdir(parents=True)
    with gzip.open(folder / "7.csv.gz", "wt") as file:
        file.write("timestamp,value,label\n60,1.5,0\n120,2.5,1\n")
    (folder / "8.csv").write_text("timestamp,value,label\n2026-01-01 00:00:00,1,0\n")
    seven, eight = benchmark.points(folder)
    assert (seven.name, seven.times.tolist(), seven.values.tolist()) == ("wsd/7", [60_000, 120_000], [1.5, 2.5])
    assert list(seven.events) == [(1, 1, "")]
    assert eight.times.tolist() == [1_767_225_600_000]


@pytest.mark.parametrize("family", series_made.FAMILIES)
def test_simulated_series_have_their_anomalies_where_they_say(family):
    made, again = series_made.make(family, 3), series_made.make(family, 3)
    assert np.array_equal(made.values, again.values)
    assert np.isfinite(made.values).all()
    assert (np.diff(made.times) > 0).all()
    kinds = {kind: (first, last) for first, last, kind in made.events}
    assert kinds.keys() | {"season", "missing"} == set(series_made.KINDS)
    assert (np.diff(made.times) > 3_600_000 - 1).sum() == 1  # the missing stretch
    first, last = kinds["flat"]
    assert np.ptp(made.values[first : last + 1]) == 0
    first, _ = kinds["spike"]
    around = made.values[first - 60 : first]
    assert made.values[first] > np.median(around) + 2 * np.std(around)
    assert all(first >= series_made.QUIET for first, _, _ in made.events)


def test_series_without_anomalies_are_those_of_the_same_families():
    for one in benchmark.quiet(1, first=5):
        assert len(one.values) == len(one.times) == series_made.DAYS * DAY
        assert not one.events
    assert [one.name for one in benchmark.made(1, 7)] == [f"made/{family}-7" for family in series_made.FAMILIES]


@pytest.mark.parametrize("name", BASELINES)
def test_no_baseline_looks_ahead(name):
    values = series_made.make("daily", 1).values[:4000]
    changed = values.copy()
    changed[3000:] = 7 * values[3000:] + 100
    one, other = BASELINES[name](values, 288), BASELINES[name](changed, 288)
    assert one[:3000] == pytest.approx(other[:3000], rel=1e-6)
    assert (one[3000:] != other[3000:]).any()
    assert np.isfinite(one).all()
    assert one[2000:3000].max() > 0


def test_a_table_is_printed_and_scores_are_kept(tmp_path, capsys):
    made = series_made.make("noise", 1, days=3)
    series = [Series("made/noise", made.times, made.values, made.events)]
    calls = []

    def detector(one):
        calls.append(one.name)
        return np.abs(one.values - np.median(one.values)) / 100

    results = benchmark.table(series, {"mine": (detector, 0.5)}, tmp_path)
    benchmark.table(series, {"mine": (detector, 0.5)}, tmp_path)
    assert calls == ["made/noise"]
    assert results["made"]["mine"]["budgets"]["1.0"]["events"] == len(made.events)
    assert "mine" in capsys.readouterr().out
