"""NAB's rules on cases that can be worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.nab_scoring import PROFILES, Profile, evaluate, optimise, outcome, probation, reward, scored

STANDARD = PROFILES["standard"]
ROWS = 1000
"""Of a file; 150 of them are probation."""


def file(detected, windows, rows=ROWS):
    """A file in which the rows ``detected`` score 1 and all others 0."""
    scores = np.zeros(rows)
    scores[list(detected)] = 1.0
    return scored(scores, windows)


def gained(detected, windows, profile=STANDARD):
    return outcome(file(detected, windows), profile, 0.5).gained


def sigmoid(position):
    return 2 / (1 + np.exp(5 * position)) - 1


def test_the_first_row_of_every_window_is_perfect():
    files = [file([300, 700], [(300, 399), (700, 799)]), file([200], [(200, 200)])]
    for profile in PROFILES.values():
        result = optimise(files, profile)
        assert result.score == pytest.approx(100)
        assert (result.found, result.windows, result.false, result.threshold) == (3, 3, 0, 1.0)


def test_nothing_detected_scores_nothing_and_costs_a_miss_a_window():
    files = [file([], [(300, 399), (700, 799)])]
    assert optimise(files, STANDARD).score == 0
    assert optimise(files, STANDARD).raw == -2
    assert optimise(files, PROFILES["reward_low_FN_rate"]).raw == -4


def test_false_detections_alone_are_worse_than_none_so_that_none_is_best():
    files = [file([200, 900], [(500, 599)])]
    assert evaluate(files, STANDARD, 0.5).score == pytest.approx(100 * -0.22 / 2)
    assert optimise(files, STANDARD).threshold == np.inf
    assert optimise(files, STANDARD).score == 0


def test_a_later_row_of_a_window_is_worth_less():
    worth = [gained([row], [(400, 499)]) for row in (400, 425, 450, 475, 499)]
    assert worth == sorted(worth, reverse=True)
    assert worth[0] == pytest.approx(2)
    assert worth[2] == pytest.approx(1 + sigmoid(-0.5) / sigmoid(-1))
    assert worth[4] == pytest.approx(1 + sigmoid(-0.01) / sigmoid(-1))


def test_the_first_detection_counts_and_more_of_them_do_not():
    assert gained([430, 431, 450, 499], [(400, 499)]) == gained([430], [(400, 499)])


def test_a_false_detection_behind_a_window_costs_more_with_its_distance():
    window = [(300, 399)]
    cost = [gained([row], window) for row in (400, 410, 450, 500, 399 + 297, 399 + 298, 999)]
    assert cost == sorted(cost, reverse=True)
    assert cost[0] == pytest.approx(0.11 * sigmoid(1 / 99))
    assert cost[2] == pytest.approx(0.11 * sigmoid(51 / 99))
    assert cost[4] == pytest.approx(-0.11, abs=1e-6)
    assert cost[5] == cost[6] == pytest.approx(-0.11, abs=1e-12)


def test_a_false_detection_before_the_first_window_costs_all():
    assert gained([299], [(300, 399)]) == pytest.approx(-0.11)
    assert gained([299], [(300, 399)], PROFILES["reward_low_FP_rate"]) == pytest.approx(-0.22)


def test_the_window_before_is_the_one_that_a_false_detection_is_measured_from():
    near_second = gained([510], [(200, 399), (450, 500)])
    assert near_second == pytest.approx(0.11 * sigmoid(10 / 50))


def test_a_file_without_windows_only_has_false_detections():
    assert gained([200, 201], []) == pytest.approx(-0.22)
    with pytest.raises(ValueError, match="no file has a window"):
        evaluate([file([200], [])], STANDARD, 0.5)


@pytest.mark.parametrize(("rows", "expected"), [(10, 1), (1000, 150), (4999, 749), (5000, 750), (20_000, 750)])
def test_probation_is_a_part_of_the_file_up_to_a_bound(rows, expected):
    assert probation(rows) == expected


def test_detections_in_the_probation_are_not_looked_at():
    assert gained(range(150), [(300, 399)]) == 0
    assert gained([149, 150], [(300, 399)]) == pytest.approx(-0.11)


def test_a_window_that_begins_in_the_probation_can_be_found_behind_it():
    window = [(100, 199)]
    assert gained([120], window) == 0
    assert gained([120, 150], window) == pytest.approx(1 + sigmoid(-0.5) / sigmoid(-1))
    assert evaluate([file([150], window)], STANDARD, 0.5).windows == 1


def test_a_window_wholly_in_the_probation_does_not_count_but_false_detections_behind_it_are_near():
    result = evaluate([file([160, 300], [(100, 149), (300, 399)])], STANDARD, 0.5)
    assert (result.windows, result.found, result.false) == (1, 1, 1)
    assert result.score == pytest.approx(100 * (2 + 0.11 * sigmoid(11 / 49)) / 2)


def test_one_threshold_for_all_files():
    # in each file alone the best threshold finds the window without a false detection
    low, high = np.zeros(ROWS), np.zeros(ROWS)
    low[300] = 0.3
    high[500], high[700:720] = 0.9, 0.5
    files = [scored(low, [(300, 399)]), scored(high, [(500, 519)])]
    assert [optimise([one], STANDARD).threshold for one in files] == [0.3, 0.9]
    both = optimise(files, STANDARD)
    assert both.threshold == 0.9
    assert both.score == pytest.approx(50)
    cheap = optimise(files, Profile(1.0, 0.001, 1.0))
    assert cheap.threshold == 0.3
    assert cheap.false == 20


def test_the_sweep_finds_the_best_of_all_thresholds():
    random = np.random.default_rng(3)
    for _ in range(30):
        files = [scored(random.integers(0, 12, ROWS) / 12, [(200, 260), (600, 699)]) for _ in range(2)]
        profile = Profile(1.0, float(random.choice([0.001, 0.01, 0.11])), 1.0)
        tried = [evaluate(files, profile, threshold).score for threshold in [*np.arange(13) / 12, np.inf]]
        assert optimise(files, profile).score == pytest.approx(max(tried))


def test_the_reward_falls_from_one_over_zero_to_minus_one():
    assert reward(-1) == pytest.approx(0.98661, abs=1e-5)
    assert (reward(0), reward(3.0001)) == (0, -1)
    assert reward(0.3) == -reward(-0.3)


@pytest.mark.parametrize("windows", [[(5, 4)], [(5, 1000)], [(10, 20), (20, 30)], [(50, 60), (10, 20)], [(-1, 3)]])
def test_windows_that_cannot_be_are_refused(windows):
    with pytest.raises(ValueError, match="does not fit"):
        scored(np.zeros(ROWS), windows)
