"""The retail pack: the alerts of the original Flink job (``../shared/golden/RETAIL.md``).

By default every case that is no quirk gives its alerts. With the options for the original's behaviour those give them
too whose quirks are only such as there is an option for. The other quirks are accidents of its timers and keys:
``docs/tutorial-retail.md`` has them in a table.
"""

from __future__ import annotations

import math

import pytest
from golden_cases import GOLDEN, Case, known_failures, load
from retail_pack import ORIGINAL, run_pack

CASES = load("retail")
KNOWN = known_failures("known_failures_retail.txt")
OPTIONS = frozenset({"gate_window_2min", "door_noise", "other_cashier", "shift_any_store", "shift_last_wins"})
"""Quirks for which the pack has an option."""
FIELDS = ("type", "storeId", "employId", "message", "event")

ACCIDENTS = {
    "shrink_late_count": "counts go by their time and not by arrival",
    "shrink_colon_collision": "keys are columns here: a colon in one of them joins nothing",
}
"""Quirks of keys and of arrival that are not copied."""

ALIKE = frozenset(
    """
    refunded_twice readme_six_refunds_of_120 negative_refund_amounts
    negative_amount_negative_risk shift_only_last_refund_matters shift_end_before_start
    gate_sku_005_of_199 gate_nan_sale gate_without_gate_id
    shrink_count_without_sales shrink_events_not_units shrink_no_manager
    error_unknown_field_in_count error_unknown_field_in_shift time_in_quotes
    """.split()
)
"""Quirks that the pack has too, as the page says."""


def _by_default(case: Case) -> bool:
    return not case.get("quirk") or case["name"] in ALIKE


def _events(case: Case) -> list[Case]:
    """Those before the one at which the original job stopped, if it did."""
    events: list[Case] = case["events"]
    return events[: case["error"]["event"]] if case.get("error") else events


def _check(case: Case, parameters: dict[str, str] | None) -> None:
    found = run_pack(_events(case), parameters)
    assert [[one[name] for name in FIELDS] for one in found] == [
        [one[name] for name in FIELDS] for one in case["alerts"]
    ]
    for ours, theirs in zip(found, case["alerts"], strict=True):
        assert math.isclose(ours["riskScore"], float(theirs["riskScore"]), rel_tol=0, abs_tol=1e-9)


@pytest.mark.skipif(not CASES, reason=f"no golden cases in {GOLDEN}")
@pytest.mark.parametrize("case", [case for case in CASES if _by_default(case)], ids=lambda case: case["name"])
def test_alerts_by_default(case: Case) -> None:
    _check(case, None)


@pytest.mark.skipif(not CASES, reason=f"no golden cases in {GOLDEN}")
@pytest.mark.parametrize(
    "case", [case for case in CASES if case.get("quirks") and OPTIONS.issuperset(case["quirks"])],
    ids=lambda case: case["name"],
)  # fmt: skip
def test_alerts_with_the_options_for_the_original(case: Case) -> None:
    if case["name"] in KNOWN:
        with pytest.raises(AssertionError):
            _check(case, ORIGINAL)
        pytest.xfail(KNOWN[case["name"]])
    _check(case, ORIGINAL)


@pytest.mark.skipif(not CASES, reason=f"no golden cases in {GOLDEN}")
@pytest.mark.parametrize("case", [case for case in CASES if case["name"] in ACCIDENTS], ids=lambda case: case["name"])
def test_accidents_that_are_not_copied(case: Case) -> None:
    with pytest.raises(AssertionError):
        _check(case, None)
