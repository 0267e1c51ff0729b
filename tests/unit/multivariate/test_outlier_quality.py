"""The ranking and the calibration of the detectors of several fields, against closed forms and other libraries."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from outlier_streams import Array, clusters, correlated, detect, rate, scores, skewed

from anomaly_app.detectors import check_options
from anomaly_app.multivariate.functions import DETECT_OUTLIERS

WARM_UP = 256


def area(score: Array, outlier: Array) -> float:
    """Area under the ROC curve of the points behind the warm-up."""
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(outlier[WARM_UP:], score[WARM_UP:]))


@pytest.mark.parametrize("make", [correlated, clusters, skewed])
@pytest.mark.parametrize("fields", [2, 5])
def test_trees_rank_as_well_as_an_isolation_forest(make: Callable[..., tuple[Array, Array]], fields: int) -> None:
    from sklearn.ensemble import IsolationForest

    points, outlier = make(np.random.default_rng(fields), 4_000, fields)
    forest = IsolationForest(n_estimators=100, random_state=1).fit(points[:WARM_UP])
    ours = area(scores(detect(points, method="trees")), outlier)
    assert ours > area(-forest.score_samples(points), outlier) - 0.02


def test_trees_rank_better_than_rivers_on_values_without_known_range() -> None:
    from river.anomaly import HalfSpaceTrees
    from river.compose import Pipeline
    from river.preprocessing import MinMaxScaler

    points, outlier = clusters(np.random.default_rng(3), 1_500, 3)
    peer = Pipeline(MinMaxScaler(), HalfSpaceTrees(n_trees=25, height=8, window_size=250, seed=1))
    theirs = np.zeros(len(points))
    for number, point in enumerate(points):
        named = dict(enumerate(point.tolist()))
        theirs[number] = peer.score_one(named)
        peer.learn_one(named)
    assert area(scores(detect(points, method="trees")), outlier) > area(theirs, outlier) - 0.01


@pytest.mark.parametrize("make", [correlated, skewed])
def test_the_distance_ranks_as_well_as_a_minimum_covariance_determinant(
    make: Callable[..., tuple[Array, Array]],
) -> None:
    from sklearn.covariance import MinCovDet

    points, outlier = make(np.random.default_rng(4), 4_000, 4)
    peer = MinCovDet(random_state=1).fit(points[:WARM_UP])
    assert area(scores(detect(points)), outlier) > area(peer.mahalanobis(points), outlier) - 0.01


def test_the_distance_of_gaussian_points_is_the_closed_form() -> None:
    random = np.random.default_rng(5)
    factor = random.normal(size=(4, 4))
    middle = np.array([5.0, -1000.0, 0.1, 1e6])
    points = middle + random.normal(size=(6_000, 4)) @ factor.T
    away = np.linalg.solve(factor, (points - middle).T)
    exact = np.sqrt((away**2).sum(axis=0))
    ours = scores(detect(points, maxTrainingSize=4_000))
    error = np.abs(ours[4_000:] / exact[4_000:] - 1)
    assert np.median(error) < 0.03 and np.quantile(error, 0.95) < 0.1


@pytest.mark.parametrize("share", [0.05, 0.2])
def test_outliers_in_the_warm_up_do_not_spoil_the_start(share: float) -> None:
    random = np.random.default_rng(6)
    points = random.normal(size=(300, 3))
    points[: int(128 * share)] += 50
    points[:128] = random.permutation(points[:128])
    told = detect(points)
    exact = np.sqrt((points[128:160] ** 2).sum(axis=1))
    assert np.abs(scores(told)[128:160] / exact - 1).max() < 0.4


def heavy(random: np.random.Generator, rows: int) -> Array:
    return random.standard_t(3, size=(rows, 2))


def lognormal(random: np.random.Generator, rows: int) -> Array:
    return np.exp(random.normal(size=(rows, 3)))


def contaminated(random: np.random.Generator, rows: int) -> Array:
    points = random.normal(size=(rows, 3))
    points[random.random(rows) < 0.01] *= 10
    return points


def drifting(random: np.random.Generator, rows: int) -> Array:
    walk = np.cumsum(0.02 * random.normal(size=(rows, 2)), axis=0)
    return walk + random.normal(size=(rows, 2))


@pytest.mark.parametrize("method", ["mahalanobis", "trees", "combined"])
@pytest.mark.parametrize("make", [heavy, lognormal, contaminated, drifting])
def test_one_point_in_a_hundred_is_flagged_whatever_the_distribution(make: Callable[..., Array], method: str) -> None:
    rows = 16_000 if method == "mahalanobis" else 8_000
    told = detect(make(np.random.default_rng(7), rows), method=method)
    assert 0.0085 <= rate(told) <= 0.0125


@pytest.mark.parametrize(
    ("confidence", "low", "high"), [(99.9, 0.0004, 0.002), (95.0, 0.045, 0.056), (80.0, 0.19, 0.21)]
)
def test_the_confidence_is_kept(confidence: float, low: float, high: float) -> None:
    points = np.random.default_rng(8).normal(size=(12_000, 3))
    assert low <= rate(detect(points, confidencePercentage=confidence)) <= high


@pytest.mark.parametrize("method", ["mahalanobis", "trees", "combined"])
def test_a_range_that_grows_a_thousandfold_is_followed(method: str) -> None:
    random = np.random.default_rng(9)
    points = random.normal(size=(6_000, 2)) * np.exp(np.linspace(0, np.log(1_000), 6_000))[:, None]
    told: Any = detect(points, method=method)
    last = [flag for flag in told.flags()[-2_000:]]
    assert 5 <= sum(last) <= 50


@pytest.mark.parametrize("method", ["mahalanobis", "trees", "combined"])
def test_a_level_shift_is_news_and_then_the_new_state(method: str) -> None:
    random = np.random.default_rng(10)
    points = random.normal(size=(2_400, 2))
    points[1_000:] += 8
    flags = detect(points, method=method).flags()
    assert all(flags[1_000:1_010])
    assert sum(flag is True for flag in flags[1_600:]) < 40


@pytest.mark.parametrize("method", ["mahalanobis", "trees", "combined"])
def test_the_first_bound_is_right_before_anything_was_learnt_about_it(method: str) -> None:
    series, rows = 150, 160
    detector = DETECT_OUTLIERS.create(check_options(DETECT_OUTLIERS, {"method": method}), ["a", "b"])
    detector.grow(series)
    points = np.random.default_rng(11).normal(size=(rows * series, 2))
    numbers = np.tile(np.arange(series), rows)
    told = detector.update(numbers, np.repeat(np.arange(rows), series), points)
    assert 0.006 <= rate(told) <= 0.015


def test_outliers_in_the_warm_up_that_only_break_a_correlation_do_not_spoil_the_start() -> None:
    random = np.random.default_rng(12)
    first = random.normal(size=300)
    points = np.column_stack([first, first + 0.1 * random.normal(size=300)])
    points[:25, 1] = 1.5 - points[:25, 0]
    told = scores(detect(points))
    exact = np.hypot(points[:, 0], (points[:, 1] - points[:, 0]) / 0.1)
    assert np.abs(told[128:160] / exact[128:160] - 1).max() < 0.5


@pytest.mark.parametrize("rows", [16, 40])
def test_an_outlier_in_a_short_warm_up_does_not_hide_the_next(rows: int) -> None:
    points = np.random.default_rng(16).normal(size=(rows + 5, 2))
    points[5] += 20
    points[-1] += 20
    flags = detect(points, minTrainingSize=rows).flags()
    assert flags[-1] and not any(flags[:-1])


@pytest.mark.parametrize(("method", "after"), [("mahalanobis", 690), ("trees", 1_900)])
def test_after_a_level_shift_small_anomalies_are_seen_again(method: str, after: int) -> None:
    random = np.random.default_rng(13)
    points = random.normal(size=(1_001 + after, 2))
    points[1_000:] += 100
    points[-1] += 6
    assert detect(points, method=method).flags()[-1]


@pytest.mark.parametrize("method", ["mahalanobis", "trees", "combined"])
def test_of_a_random_walk_not_much_more_is_flagged(method: str) -> None:
    points = np.cumsum(np.random.default_rng(14).normal(size=(8_000, 2)), axis=0)
    assert rate(detect(points, method=method)) < 0.03


def test_two_values_that_alternate_are_no_anomalies() -> None:
    points = np.column_stack([np.arange(2_000) % 2, np.arange(2_000) // 2 % 2]).astype(float)
    assert rate(detect(points)) < 0.005


@pytest.mark.parametrize("method", ["mahalanobis", "trees", "combined"])
def test_small_noise_on_large_numbers_is_seen(method: str) -> None:
    points = 1e9 + np.random.default_rng(15).normal(size=(1_000, 2))
    points[900] += 8
    flags = detect(points, method=method).flags()
    assert flags[900] and sum(flag is True for flag in flags) < 25


def test_one_field_far_out_among_rare_usual_values_is_found_by_combined_methods() -> None:
    """Of usual values one in eight is far from the rest: to a robust distance those are outliers for good."""
    random = np.random.default_rng(17)
    points = random.normal(size=(3_000, 4))
    points[:, 0] = np.where(random.random(3_000) < 0.12, 8.0, 0.0) + 0.3 * random.normal(size=3_000)
    rows = np.arange(700, 3_000, 400)
    points[rows, 0] = 20.0
    outlier = np.isin(np.arange(3_000), rows)
    score = scores(detect(points, method="combined"))
    usual = score[WARM_UP:][~outlier[WARM_UP:]]
    assert np.mean(usual > score[rows].min()) < 0.005
    assert area(score, outlier) > 0.998


def test_values_that_are_usual_alone_are_found_together_by_combined_methods() -> None:
    points, outlier = correlated(np.random.default_rng(18), 4_000, 4)
    combined, distance = (scores(detect(points, method=method)) for method in ("combined", "mahalanobis"))
    assert area(combined, outlier) > area(distance, outlier) - 0.01


def test_the_parts_of_a_field_far_out_alone_add_up_and_name_it() -> None:
    points = np.random.default_rng(19).normal(size=(1_000, 3))
    points[900, 1] = 30.0
    told = detect(points, method="combined")
    _, score, bound, flag, parts = told.values()[900]
    assert flag is True and score > bound
    assert abs(sum(parts.values()) - score) < 1e-9 * score
    assert max(parts, key=parts.__getitem__) == "f1" and parts["f1"] > 0.9 * score
    assert ": f1 30 (usual " in told.explain(900)


def mostly_zero(random: np.random.Generator, rows: int) -> Array:
    normal = random.normal(size=(rows, 3))
    rare = np.where(random.random((rows, 2)) < 0.08, 1 + random.exponential(size=(rows, 2)), 0.0)
    return np.column_stack([normal, rare])


@pytest.mark.parametrize("make", [heavy, lognormal, contaminated, mostly_zero])
def test_combined_methods_are_quiet_soon_after_the_training(make: Callable[..., Array]) -> None:
    series, rows = 40, 700
    random = np.random.default_rng(20)
    made = np.stack([make(random, rows) for _ in range(series)], axis=1)
    names = list("abcde")[: made.shape[2]]
    detector = DETECT_OUTLIERS.create(check_options(DETECT_OUTLIERS, {"method": "combined"}), names)
    detector.grow(series)
    told = detector.update(
        np.tile(np.arange(series), rows), np.repeat(np.arange(rows), series), made.reshape(-1, len(names))
    )
    assert 0.004 <= rate(told) <= 0.02


def test_a_rare_value_of_a_field_that_is_mostly_one_value_is_no_anomaly_but_a_larger_one_is() -> None:
    points = mostly_zero(np.random.default_rng(21), 1_500)
    points[1_400, 3], points[1_401] = 1.5, 0.0
    points[1_402, 4] = 14.0
    flags = detect(points, method="combined").flags()
    assert not flags[1_400] and not flags[1_401] and flags[1_402]


def test_each_side_of_a_skewed_field_has_its_own_tail() -> None:
    """Below, 0.1 is as far as the field ever went; above, 20 is not."""
    random = np.random.default_rng(22)
    points = np.column_stack([1.0 + random.exponential(3.0, size=2_000), random.normal(size=2_000)])
    points[1_900, 0], points[1_901, 0] = -3.0, 12.0
    flags = detect(points, method="combined").flags()
    assert flags[1_900] and not flags[1_901]


def test_a_payment_at_night_is_an_anomaly_of_the_time_of_day_and_says_when_is_usual() -> None:
    """Hours within a wide part of the day: sine and cosine alone spread so far that the night is three deviations."""
    random = np.random.default_rng(23)
    days = np.arange(600)
    hours = random.normal(15.0, 2.5, size=600)
    hours[550] = 3.0
    times = (days * 24 * 3_600_000 + hours * 3_600_000).astype(np.int64)
    told = detect(random.normal(size=(600, 2)), times, method="combined", timeOfDay=True)
    score, parts = told.values()[550][1], told.values()[550][4]
    assert told.flags()[550] and parts["time_of_day"] > 0.8 * score
    assert "time of day 03:00 (usual around 1" in told.explain(550)
    assert rate(told) < 0.03


def test_the_most_frequent_category_is_never_the_reason() -> None:
    """Its rarity moves by hundredths as the counts grow, and nothing was ever below it."""
    random = np.random.default_rng(24)
    codes = random.choice(4, 2_000, p=[0.55, 0.2, 0.15, 0.1]).astype(float)
    points = np.column_stack([random.normal(size=2_000), codes])
    told = detect(points, names=["amount", "shop"], method="combined", categories="shop")
    reasons = [max(value[4], key=value[4].get) for value, flag in zip(told.values(), told.flags(), strict=True) if flag]
    assert 5 <= len(reasons) <= 40 and reasons.count("shop") < 0.3 * len(reasons)


def test_one_in_twenty_of_the_first_points_may_be_an_anomaly_of_combined_methods() -> None:
    seen = 0
    for seed in range(10):
        random = np.random.default_rng(seed)
        points = random.normal(size=(600, 3))
        points[:6] += 50 * random.choice([-1, 1], size=(6, 3)) * (random.random((6, 3)) < 0.5)
        points[:128] = random.permutation(points[:128])
        points[400, 0] = 8.0
        seen += detect(points, method="combined").flags()[400] is True
    assert seen == 10
