"""Mute and active times, in the forms of Alertmanager."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from delivering import load, receiver

from anomaly_app.delivery.routes import RouteTree
from anomaly_app.delivery.time_intervals import RangeError, compile_range
from anomaly_app.errors import SettingsError
from anomaly_app.settings.delivery import TimeRange


def at(text: str, zone: str = "UTC") -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp() * 1000)


def hours(start: str, end: str) -> dict[str, Any]:
    return {"times": ({"start_time": start, "end_time": end},)}


@pytest.mark.parametrize(
    ("given", "within", "without"),
    [
        ({}, "2026-01-05T00:00", None),
        (hours("09:00", "17:00"), "2026-01-05T09:00", "2026-01-05T17:00"),
        (hours("23:00", "24:00"), "2026-01-05T23:59:59", "2026-01-06T00:00"),
        ({"weekdays": ("monday:friday",)}, "2026-01-09T12:00", "2026-01-10T12:00"),
        ({"weekdays": ("Sunday", "saturday")}, "2026-01-11T12:00", "2026-01-12T12:00"),
        ({"days_of_month": ("1:5", "-3:-1")}, "2026-02-26T00:00", "2026-02-25T00:00"),
        ({"days_of_month": ("-1",)}, "2028-02-29T00:00", "2028-02-28T00:00"),
        ({"days_of_month": ("10:-10",)}, "2026-01-22T00:00", "2026-01-23T00:00"),
        ({"days_of_month": ("31",)}, "2026-01-31T00:00", "2026-02-28T00:00"),
        ({"days_of_month": ("-31:-1",)}, "2026-02-01T00:00", None),
        ({"months": ("may:august", "12")}, "2026-12-01T00:00", "2026-11-30T00:00"),
        ({"years": ("2024:2025", "2027")}, "2027-01-01T00:00", "2026-12-31T00:00"),
        ({"weekdays": ("monday",), "months": ("1",)}, "2026-01-05T00:00", "2026-02-02T00:00"),
    ],
)
def test_a_time_is_in_a_range(given: dict[str, Any], within: str, without: str | None) -> None:
    compiled = compile_range(TimeRange(**given))
    assert compiled.contains(at(within))
    assert without is None or not compiled.contains(at(without))


def test_hours_are_those_of_the_place() -> None:
    berlin = compile_range(TimeRange(location="Europe/Berlin", **hours("08:00", "09:00")))
    for day in ("2026-03-28", "2026-03-30"):  # the clocks change between
        assert berlin.contains(at(f"{day}T08:30", "Europe/Berlin"))
        assert not berlin.contains(at(f"{day}T07:59", "Europe/Berlin"))
    local = compile_range(TimeRange(location="Local", **hours("08:00", "09:00")))
    assert local.contains(round(datetime(2026, 1, 5, 8, 30).timestamp() * 1000))


@pytest.mark.parametrize(
    ("given", "key", "problem"),
    [
        (hours("9:00", "17:00"), "times[0].start_time", "'9:00' should be a time of day"),
        (hours("09:00", "24:01"), "times[0].end_time", "'24:01' should be a time of day"),
        (hours("22:00", "06:00"), "times[0].end_time", "hours over midnight are two"),
        ({"weekdays": ("friday:monday",)}, "weekdays[0]", "ends before it begins"),
        ({"weekdays": ("1",)}, "weekdays[0]", "'1' should be one of sunday"),
        ({"weekdays": ("mon",)}, "weekdays[0]", "'mon' should be one of sunday"),
        ({"weekdays": ("monday:tuesday:friday",)}, "weekdays[0]", "two with a colon"),
        ({"days_of_month": ("0",)}, "days_of_month[0]", "should be a day from 1 to 31"),
        ({"days_of_month": ("1:5", "-1:5")}, "days_of_month[1]", "must end from it, too"),
        ({"days_of_month": ("5:1",)}, "days_of_month[0]", "ends before it begins"),
        ({"days_of_month": ("first",)}, "days_of_month[0]", "should be a day"),
        ({"months": ("13",)}, "months[0]", "or 1 to 12"),
        ({"months": ("",)}, "months[0]", "or 1 to 12"),
        ({"years": ("soon",)}, "years[0]", "should be a number"),
        ({"location": "Europe/Berlinn"}, "location", "is no time zone"),
        ({"location": "../etc"}, "location", "is no time zone"),
    ],
)
def test_a_wrong_range_is_refused(given: dict[str, Any], key: str, problem: str) -> None:
    with pytest.raises(RangeError) as found:
        compile_range(TimeRange(**given))
    assert found.value.key == key and problem in str(found.value)


def test_its_place_in_the_file_is_named(tmp_path: Path) -> None:
    text = '[delivery.route]\nreceiver = "ops"\n' + receiver("ops")
    text += '[[delivery.time_intervals]]\nname = "a"\n[[delivery.time_intervals.time_intervals]]\nweekdays = ["mo"]\n'
    with pytest.raises(SettingsError) as found:
        RouteTree.compile(load(text, tmp_path))
    place = f"delivery.time_intervals[0].time_intervals[0].weekdays[0] (from {tmp_path / 'anomaly.toml'}, line 12)"
    assert str(found.value).startswith(place)
