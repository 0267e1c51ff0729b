"""The sigma rule of seed 3, its blind spot below nine rows, and the variants that do not have it."""

from __future__ import annotations

import math
import statistics
from importlib.resources import files
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from anomaly_app import DataError, Rows, query
from anomaly_app.errors import OptionError
from anomaly_app.generators import transactions
from anomaly_app.windows import SigmaRule, Threshold, read_thresholds

COLUMNS = [("userId", "STRING"), ("amount", "DOUBLE"), ("ts", "TIMESTAMP(3)")]


def alerts(rule: SigmaRule, **users: list[float]) -> list[tuple]:
    rows = [(user, value, "2026-01-01 09:00:00") for user, values in users.items() for value in values]
    return query(rule, {"transactions": Rows(COLUMNS, rows, rowtime="ts", watermark_delay_ms=1)}).rows


def rule(variant: str = "sigma", **options) -> SigmaRule:
    return SigmaRule("amount", by="userId", time="ts", variant=variant, **options)


def by_hand(values: list[float]) -> str | None:
    """The rule of the tutorial, written out."""
    average = sum(values) / len(values)
    deviation = math.sqrt(sum((v - average) ** 2 for v in values) / (len(values) - 1)) if len(values) > 1 else 0.0
    threshold = average + 2.5 * deviation
    if max(values) > threshold and len(values) >= 3:
        return (
            f"ANOMALY DETECTED: User u has transaction of {max(values):.2f} (avg: {average:.2f}, "
            f"stddev: {deviation:.2f}, threshold: {threshold:.2f}, count: {len(values)})"
        )
    return None


@settings(max_examples=150, deadline=None)
@given(st.lists(st.integers(1, 2_000).map(lambda n: n / 8), min_size=1, max_size=30), st.booleans())
def test_alerts_and_their_text_are_those_of_the_tutorial(values: list[float], outlier: bool) -> None:
    values = [*values, 40_000.0] if outlier else values
    expected = by_hand(values)
    found = [row[-1] for row in alerts(rule(), u=values)]
    # Halves in the last digit are rounded up here and to even by Python: compare what Java would print.
    if expected is None or found == [expected]:
        assert found == ([] if expected is None else [expected])
    else:
        assert [text.split(" of ")[0] for text in found] == [expected.split(" of ")[0]]
        numbers = [[float(word.strip(",()")) for word in text.split() if word.strip(",()").replace(".", "").isdigit()]
                   for text in (found[0], expected)]  # fmt: skip
        assert numbers[0] == pytest.approx(numbers[1], abs=0.0101)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.floats(0, 1e6, allow_nan=False), min_size=2, max_size=8), st.floats(1e3, 1e12))
def test_the_rule_cannot_fire_below_nine_rows(values: list[float], outlier: float) -> None:
    """The greatest of n values is at most (n - 1) / sqrt(n) sample deviations above their mean: 2.475 for eight."""
    values[0] = outlier
    n, deviation = len(values), statistics.stdev(values)
    if deviation:
        assert (max(values) - statistics.fmean(values)) / deviation <= (n - 1) / math.sqrt(n) * (1 + 1e-6)
    assert alerts(rule(least=1), u=values) == []


@pytest.mark.parametrize("variant", ["sigma", "leave-one-out", "robust"])
def test_equal_values_are_no_outliers_though_their_mean_is_rounded(variant: str) -> None:
    equal = 699050.734683627
    assert (equal + equal + equal) / 3 < equal
    assert alerts(rule(variant, least=1), u=[equal] * 3) == []


def test_nine_rows_are_the_first_that_can_fire() -> None:
    assert alerts(rule(), u=[100.0] * 7 + [1e9]) == []
    (row,) = alerts(rule(), u=[100.0] * 8 + [1e9])
    assert row[7] == 9 and (9 - 1) / math.sqrt(9) > 2.5 > (8 - 1) / math.sqrt(8)


@pytest.mark.parametrize("variant", ["leave-one-out", "robust"])
def test_the_variants_fire_on_five_rows(variant: str) -> None:
    (row,) = alerts(rule(variant), u=[100.0, 110.0, 5_000.0, 90.0, 105.0])
    assert row[3] == 5_000.0 and row[-2] == "critical"
    assert alerts(rule(variant), u=[100.0, 110.0, 112.0, 90.0, 105.0]) == []


def test_the_robust_variant_sees_one_of_two_equal_outliers() -> None:
    values = [100.0 + n for n in range(10)] + [5_000.0, 5_000.0]
    assert alerts(rule(), u=values) == alerts(rule("leave-one-out"), u=values) == []
    (row,) = alerts(rule("robust"), u=values)
    assert row[3] == 5_000.0


def test_centre_and_spread_of_the_variants() -> None:
    values = [100.0, 110.0, 90.0, 105.0, 99.0, 5_000.0]
    others = sorted(values)[:-1]
    (row,) = alerts(rule("leave-one-out"), u=values)
    assert row[4:6] == pytest.approx((statistics.fmean(others), statistics.stdev(others)))
    (row,) = alerts(rule("robust"), u=values)
    middle = statistics.median(values)
    spread = 1.4826 * statistics.median([abs(value - middle) for value in values])
    assert row[4:7] == pytest.approx((middle, spread, middle + 5 * spread))
    assert f"(median: {middle:.2f}, scaled mad: " in row[-1]


def test_an_outlier_without_equal_does_not_swallow_the_digits_of_the_others() -> None:
    values = [100.0, 110.0, 90.0, 105.0, 99.0, 1e17]
    (row,) = alerts(rule("leave-one-out"), u=values)
    assert row[5] == pytest.approx(statistics.stdev(values[:-1]), rel=1e-12)


def test_severity_is_the_multiple_of_the_threshold() -> None:
    found = {}
    for factor in (1.1, 1.3, 2.2, 3.5):
        # Of the others the mean is 100 and the threshold about 100 + 4 * 1.
        (row,) = alerts(rule("leave-one-out"), u=[99.0, 101.0] * 10 + [104.1 * factor])
        found[factor] = row[-2]
        assert row[-3] == pytest.approx(factor, abs=0.01)
    assert found == {1.1: "low", 1.3: "medium", 2.2: "high", 3.5: "critical"}
    # Below zero a multiple means nothing.
    (row,) = alerts(rule("leave-one-out"), u=[-99.0, -101.0] * 10 + [-50.0])
    assert row[-3:-1] == (None, "medium")


def test_single_keys_have_thresholds_of_their_own(tmp_path: Path) -> None:
    usual = [100.0, 110.0, 90.0, 105.0, 99.0]
    users = {user: [*usual, 300.0] for user in ("plain", "patient", "rich")}
    path = tmp_path / "thresholds.csv"
    path.write_text("key,deviations,floor\npatient,1000,\nrich,,400\n")
    read = read_thresholds(path)
    assert read == {"patient": Threshold(1000.0), "rich": Threshold(floor=400.0)}
    found = alerts(rule("leave-one-out", thresholds=read), **users)
    assert [row[0] for row in found] == ["plain"]
    assert [row[0] for row in alerts(rule("leave-one-out", floor=400.0), **users)] == []
    users["rich"][-1] = 500.0
    assert {row[0] for row in alerts(rule("leave-one-out", thresholds=read), **users)} == {"plain", "rich"}


def test_keys_may_be_numbers_several_and_oddly_named() -> None:
    columns = [("the `key`", "INT"), ("b", "STRING"), ("v", "INT"), ("ts", "TIMESTAMP(3)")]
    rows = [(7, "it's", value, "2026-01-01 09:00:00") for value in [100] * 8 + [110, 9_000]]
    table = {"a.b": Rows(columns, rows, rowtime="ts", watermark_delay_ms=1)}
    (row,) = query(SigmaRule("v", by="the `key`", time="ts", thresholds={7: Threshold(2.6)}), table).rows
    assert row[0] == 7
    assert query(SigmaRule("v", by="the `key`", time="ts", thresholds={7: Threshold(9)}), table).rows == []
    (row,) = query(SigmaRule("v", by=["the `key`", "b"], time="ts"), table).rows
    assert row[:2] == (7, "it's") and "User 7, it's has" in row[-1]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"variant": "best"}, "sigma, leave-one-out, robust"),
        ({"by": ()}, "names of the key columns"),
        ({"by": ("a", "b"), "thresholds": {"x": Threshold(1)}}, "one key column"),
        ({"size_ms": 0}, "above 0"),
        ({"least": 0}, "from 1 on"),
    ],
)
def test_impossible_options(options: dict, problem: str) -> None:
    with pytest.raises(OptionError, match=problem):
        SigmaRule(**{"value": "v", "by": "k", "time": "ts", **options})


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("user,deviations\na,1\n", "expected the columns key"),
        ("key,deviations\na,x\n", "line 2: 'x' is not a number"),
        ("key,floor\na,1\na,2\n", "line 3: the key 'a' is there twice"),
    ],
)
def test_wrong_threshold_files(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "thresholds.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=problem):
        read_thresholds(path)
    with pytest.raises(DataError, match="cannot be read"):
        read_thresholds(tmp_path / "nothing.csv")


def test_the_packaged_job_is_the_rule() -> None:
    """Over the tutorial's transactions; the job and the Python rule say the same."""
    text = files("anomaly_app.jobs").joinpath("unusual_transactions.sql").read_text()
    records = list(transactions().records(3, 3_000, 1_767_258_000_000, rate=3))
    names = ["userId", "amount", "timestamp", "transactionId", "merchantId", "ts"]
    types = ["STRING", "DOUBLE", "BIGINT", "STRING", "STRING", "TIMESTAMP_LTZ(3)"]
    rows = [(*record.value.values(), _iso(record.timestamp_ms)) for record in records]
    table = {"transactions": Rows(list(zip(names, types, strict=True)), rows, rowtime="ts")}
    result = query(text, table)
    assert len(result.rows) >= 10
    expected = query(rule(), table)
    assert [row[-1] for row in result.rows] == [row[-1] for row in expected.rows]
    assert [row[-2] for row in result.rows] == [row[-2] for row in expected.rows]
    assert all(row[-1].startswith(f"ANOMALY DETECTED: User {row[0]} has transaction of ") for row in result.rows)


def _iso(ms: int) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(ms / 1_000, UTC).isoformat()


@pytest.mark.parametrize("variant", ["sigma", "leave-one-out", "robust"])
def test_an_infinite_value_is_told_and_no_part_of_the_threshold(variant: str) -> None:
    ordinary = [10.0, 11.0, 12.0, 10.5, 11.5, 10.2, 11.3, 10.9, 11.1, 10.4]
    (found,) = alerts(rule(variant), u=[*ordinary, math.inf])
    assert found[3] == math.inf
    assert math.isfinite(found[6])
    for other in (-math.inf, math.nan):
        assert alerts(rule(variant), u=[*ordinary, other]) == []


@pytest.mark.parametrize("variant", ["sigma", "leave-one-out", "robust"])
@pytest.mark.parametrize("other", [0.0, 99.9, 100.1, 1e6])
@pytest.mark.parametrize("usual", [100.0, 0.1, 99.99999])
def test_the_value_that_most_rows_have_is_never_told(variant: str, other: float, usual: float) -> None:
    for found in alerts(rule(variant), u=[usual] * 11 + [other]):
        assert found[3] != usual
