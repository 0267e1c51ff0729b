"""Fields of points: time of day, frequency, categories; what an explanation says of them; options; stored state."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from outlier_streams import Array, detect, scores

from anomaly_app.detectors import check_options
from anomaly_app.errors import OptionError, StateError
from anomaly_app.multivariate import FUNCTIONS, category_code
from anomaly_app.multivariate.categories import TABLE, Counters
from anomaly_app.multivariate.functions import DETECT_OUTLIERS

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
METHODS = ["mahalanobis", "trees", "combined"]


def purchases(rows: int, seed: int = 1) -> tuple[Array, Array]:
    """Times, and amount and shop, of purchases of the hours 9 to 17; eight shops."""
    random = np.random.default_rng(seed)
    day = np.sort(random.integers(0, rows // 8, rows)) * DAY_MS
    times = np.sort(day + random.integers(9 * HOUR_MS, 17 * HOUR_MS, rows))
    shops = np.array([category_code(f"shop {number}") for number in range(8)])
    return times, np.column_stack([random.normal(100, 20, rows), random.choice(shops, rows)])


def leading(told: Any, row: int) -> str:
    contributions: dict[str, float] = told.values()[row][4]
    return max(contributions, key=lambda name: contributions[name])


@pytest.mark.parametrize("method", METHODS)
def test_an_unusual_time_of_day_is_an_anomaly(method: str) -> None:
    times, points = purchases(600)
    times[590] = times[589] // DAY_MS * DAY_MS + DAY_MS + 3 * HOUR_MS
    times[591:] += 2 * DAY_MS
    told = detect(points[:, :1], times, ["amount"], method=method, timeOfDay=True, confidencePercentage=98.0)
    assert told.flags()[590] and leading(told, 590) == "time_of_day"
    assert "time of day 03:00 (usual around 1" in told.explain(590)


@pytest.mark.parametrize("method", METHODS)
def test_a_burst_is_an_anomaly(method: str) -> None:
    random = np.random.default_rng(2)
    gaps = random.lognormal(np.log(600_000), 0.3, 500).astype(np.int64)
    gaps[450:455] = 1_000
    told = detect(random.normal(size=(500, 1)), np.cumsum(gaps), ["amount"], method=method, frequency=True)
    assert all(told.flags()[450:453]) and leading(told, 450) == "frequency"
    assert "1 s after the point before (usual " in told.explain(450) and "min)" in told.explain(450)


@pytest.mark.parametrize("method", METHODS)
def test_a_rare_category_is_an_anomaly(method: str) -> None:
    times, points = purchases(600)
    points[590, 1] = category_code("a shop never seen")
    told = detect(points, times, ["amount", "shop"], method=method, categories=" shop ")
    assert told.flags()[590] and leading(told, 590) == "shop"
    assert "shop (in 0." in told.explain(590) and "% of the points before) contributes" in told.explain(590)
    assert sum(flag is True for flag in told.flags()) < 20


def test_the_first_points_are_as_rare_as_the_others_make_them() -> None:
    times, points = purchases(400)
    rarity = scores(detect(points[:, 1:], times, ["shop"], categories="shop"))[128:]
    assert np.nanmax(rarity) < 2.5


def test_where_every_category_is_new_a_new_one_is_usual() -> None:
    codes = np.arange(200.0)[:, None]
    assert np.nanmax(scores(detect(codes, None, ["order"], categories="order"))[128:160]) < 0.5


@pytest.mark.parametrize("method", METHODS)
def test_contributions_add_up_to_the_score(method: str) -> None:
    times, points = purchases(400)
    options = {"method": method, "categories": "shop", "timeOfDay": True, "frequency": True}
    told = detect(points, times, ["amount", "shop"], **options)
    judged = [value for value in told.values() if value[1] is not None]
    assert len(judged) == 400 - 128 - 1  # nothing comes before the first point
    for _, score, bound, flag, contributions in judged:
        assert list(contributions) == ["amount", "shop", "time_of_day", "frequency"]
        assert sum(contributions.values()) == pytest.approx(score, abs=1e-9)
        assert flag is (score > bound)


def test_fields_that_are_usual_alone_but_not_together() -> None:
    random = np.random.default_rng(3)
    amount = random.normal(100, 10, 300)
    points = np.column_stack([amount, amount / 10 + random.normal(0, 0.1, 300)])
    points[250] = 110, 9
    told = detect(points, None, ["amount", "items"])
    assert told.flags()[250]
    text = told.explain(250)
    assert text.startswith("score ") and "amount 110 (usual " in text and "items 9 (usual " in text
    assert told.explain(0) == "no anomaly: no verdict" and "not above the bound" in told.explain(249)


@pytest.mark.parametrize("method", METHODS)
def test_fields_that_are_multiples_of_each_other_and_constants_are_no_trouble(method: str) -> None:
    amount = np.random.default_rng(4).normal(100, 10, 400)
    points = np.column_stack([amount, -3 * amount, np.full(400, 7.0)])
    points[300, 2] = 8
    told = detect(points, None, ["amount", "double", "constant"], method=method)
    assert told.flags()[300] and leading(told, 300) == "constant"
    assert sum(flag is True for flag in told.flags()) < 15


def test_a_field_that_is_mostly_zero_is_no_anomaly_when_it_is_not() -> None:
    random = np.random.default_rng(5)
    discount = np.where(random.random(3_000) < 0.15, random.uniform(1, 20, 3_000), 0)
    flags = detect(np.column_stack([random.normal(size=3_000), discount])).flags()
    assert sum(flag is True for flag in flags) < 60


def test_before_the_first_verdict_all_is_null() -> None:
    points = np.random.default_rng(6).normal(size=(41, 2))
    points[7, 1] = np.nan
    told = detect(points, None, None, minTrainingSize=30)
    assert told.values()[0] == (0, None, None, None, None)
    assert [flag is None for flag in told.flags()] == [True] * 31 + [False] * 10


def test_the_result_is_a_row_with_named_fields() -> None:
    assert FUNCTIONS == (DETECT_OUTLIERS,) and DETECT_OUTLIERS.multivariate
    assert str(DETECT_OUTLIERS.result) == (
        "ROW<`timestamp` TIMESTAMP(3), `score` DOUBLE, `threshold` DOUBLE, `is_anomaly` BOOLEAN, "
        "`contributions` MAP<STRING, DOUBLE>>"
    )


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"methods": "trees"}, "no option 'methods'; its options are categories, confidencePercentage, depth"),
        ({"method": "forest"}, "expected 'mahalanobis' or 'trees'"),
        ({"confidencePercentage": 100}, "expected a number from 80 to below 100"),
        ({"maxTrainingSize": 0}, "expected a whole number from 32"),
        ({"categories": "shop, merchant"}, "'merchant' is no field; the fields are amount, shop"),
        ({"minTrainingSize": 18, "timeOfDay": True, "frequency": True}, "at least 20, four points for each of 5"),
    ],
)
def test_options_that_are_wrong(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(OptionError) as caught:
        DETECT_OUTLIERS.create(check_options(DETECT_OUTLIERS, options), ["amount", "shop"])
    assert problem in str(caught.value)


def test_counters_are_bounded_and_keep_what_is_frequent() -> None:
    counters = Counters(1, 100_000)
    counters.grow(1)
    counters.learn(0, np.repeat(np.arange(TABLE // 2), 5)[:, None].astype(float))
    for first in range(1_000, 11_000, 100):
        counters.learn(0, np.arange(first, first + 100)[:, None].astype(float))
    frequent, rare = counters.rarity(np.zeros(2, dtype=np.int64), np.array([[3.0], [5_000.0]]))[:, 0]
    assert frequent < rare - 2 and len(counters.dump(0)) == 16 * TABLE


def test_a_category_that_is_no_longer_seen_becomes_rare() -> None:
    counters = Counters(1, 100)
    counters.grow(1)
    zero = np.zeros(1, dtype=np.int64)
    counters.learn(0, np.repeat([1.0, 2.0], 50)[:, None])
    before = counters.rarity(zero, np.array([[1.0]]))[0, 0]
    for _ in range(5):
        counters.learn(0, np.full((100, 1), 2.0))
    assert before < 0.8 and counters.rarity(zero, np.array([[1.0]]))[0, 0] > 4


def test_category_codes_are_whole_numbers_that_a_double_holds() -> None:
    codes = {category_code(f"merchant_{number}") for number in range(10_000)}
    assert len(codes) == 10_000 and all(0 <= code < 1 << 53 and code == int(code) for code in codes)


def test_state_of_other_fields_or_another_version_is_an_error() -> None:
    points = np.random.default_rng(7).normal(size=(200, 2))
    detector = DETECT_OUTLIERS.create(check_options(DETECT_OUTLIERS, {}), ["a", "b"])
    detector.grow(1)
    detector.update(np.zeros(200, dtype=np.int64), np.arange(200), points)
    entries = [(name, data) for name, data in detector.changes(0) if data is not None]
    wide = DETECT_OUTLIERS.create(check_options(DETECT_OUTLIERS, {}), ["a", "b", "c"])
    wide.grow(1)
    with pytest.raises(StateError, match="unreadable"):
        wide.restore(0, entries)
    longer = DETECT_OUTLIERS.create(check_options(DETECT_OUTLIERS, {"minTrainingSize": 129}), ["a", "b"])
    longer.grow(1)
    with pytest.raises(StateError, match="other training sizes"):
        longer.restore(0, entries)
    for name, data in [(b"h", b"\x09" + dict(entries)[b"h"][1:]), (b"m", b"short"), (b"p\xff\xff", bytes(16))]:
        other = DETECT_OUTLIERS.create(check_options(DETECT_OUTLIERS, {}), ["a", "b"])
        other.grow(1)
        with pytest.raises(StateError):
            other.restore(0, [*(entry for entry in entries if entry[0] != name), (name, data)])
