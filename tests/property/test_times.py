"""Calendar, units and patterns of time against plain oracles, and back and forth."""

from __future__ import annotations

import datetime as dt

from hypothesis import given, strategies as st

from anomaly_app.times import calendar as c, simple_format, texts, units
from anomaly_app.times.formatting import formatter
from anomaly_app.times.parsing import parser
from anomaly_app.times.zones import offset_at, offset_of_local, old_offset, zone

DAYS = st.integers(-2_000_000, 6_000_000)
PYTHON_DAYS = st.integers(1 - c.EPOCH_DAY, dt.date.max.toordinal() - c.EPOCH_DAY)
MILLIS = st.integers(-62_135_596_800_000, 253_402_300_799_999)
EPOCH = dt.datetime(1970, 1, 1)


def leap(year: int) -> bool:
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)


@given(DAYS)
def test_the_calendar_counts_on_day_by_day(days: int) -> None:
    year, month, day = c.civil(days)
    assert c.days_of(year, month, day) == days
    lengths = (31, 29 if leap(year) else 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
    if day < lengths[month - 1]:
        following = (year, month, day + 1)
    else:
        following = (year, month + 1, 1) if month < 12 else (year + 1, 1, 1)
    assert c.civil(days + 1) == following


@given(DAYS, st.integers(-50_000, 50_000))
def test_months_are_added_one_by_one(days: int, months: int) -> None:
    year, month, day = c.civil(days)
    index = year * 12 + month - 1 + months
    year, month = index // 12, index % 12 + 1
    found = c.civil(c.add_months(days, months, 1))
    assert found == (year, month, min(day, c.last_day(year, month)))


@given(PYTHON_DAYS)
def test_weeks_are_those_of_python(days: int) -> None:
    date = dt.date.fromordinal(days + c.EPOCH_DAY)
    assert c.iso_week(days) == date.isocalendar()[:2]
    # Weeks that begin on Sunday: strftime's %U has week 0 before the first Sunday.
    first = dt.date(date.year, 1, 1)
    week = int(date.strftime("%U")) + (first.weekday() != 6)
    assert c.week_of(days) in ((date.year, week), (date.year + 1, 1))
    assert c.day_of_year(days) == date.timetuple().tm_yday


@given(DAYS)
def test_the_old_calendar_goes_back_and_forth(days: int) -> None:
    assert simple_format.mixed_days(*simple_format.mixed_civil(days)) == days


@given(MILLIS, st.sampled_from(units.STEPS))
def test_floor_and_ceil_are_the_nearest_starts(value: int, unit: str) -> None:
    low, high = units.floor_time(value, unit, c.DAY_MS), units.ceil_time(value, unit, c.DAY_MS)
    assert low <= value <= high
    assert units.floor_time(low, unit, c.DAY_MS) == low == units.ceil_time(low, unit, c.DAY_MS)
    assert high in (low, units.add(low, 1, unit, c.DAY_MS))
    template = units.floor_source(unit, c.DAY_MS)
    assert template is None or eval(template.format(value)) == low


@given(MILLIS, st.sampled_from(units.PARTS))
def test_the_source_of_a_part_is_the_part(value: int, part: str) -> None:
    template = units.extract_source(part, c.DAY_MS)
    assert template is None or eval(template.format(value)) == units.extract(value, part, c.DAY_MS)


@given(MILLIS, st.integers(0, 100_000), st.sampled_from(("SECOND", "HOUR", "DAY", "MONTH", "YEAR")))
def test_the_difference_undoes_the_sum(value: int, count: int, unit: str) -> None:
    count %= 2_000 if unit in units.MONTHS else 20_000
    end = units.add(value, count, unit, c.DAY_MS)
    found = units.difference(value, end, unit)
    assert found == count or (unit in units.MONTHS and found == count - 1)  # 31 January to 28 February
    assert units.difference(end, value, unit) == -found


@given(MILLIS, st.sampled_from((0, 1, 2, 3, 4, 6, 7, 9)))
def test_cast_to_text_and_back(millis: int, precision: int) -> None:
    value = texts.cut_timestamp(millis, 3, precision)
    assert texts.text_to_timestamp(texts.timestamp_to_text(value, precision), precision) == value


PARTS = ("yyyy", "MM", "dd", "HH", "mm", "ss", "SSS")
DATES = st.sampled_from(
    ("yyyy-MM-dd", "d.M.yyyy", "d MMM yyyy", "EEEE, MMMM d, yyyy", "yyyyMMdd", "yyyy-DDD", "G yyyy/M/d")
)
CLOCKS = st.sampled_from(("HH:mm:ss.SSS", "h:mm:ss.SSS a", "HHmmssSSS", "k:m:s.SSS", "K 'h' m:s.SSS a", "A"))


@given(MILLIS, DATES, CLOCKS, st.sampled_from((" ", "'T'", "'' ", " 'at {}' ")))
def test_what_is_written_by_a_pattern_is_read_by_it(millis: int, date: str, clock: str, between: str) -> None:
    pattern = date + between + clock
    days, nanos = divmod(millis * 1_000_000, c.DAY_NANOS)
    assert parser(pattern)(formatter(pattern, c.DAY_MS)(millis)) == (days, nanos)


@given(MILLIS)
def test_patterns_write_what_python_writes(millis: int) -> None:
    moment = EPOCH + dt.timedelta(milliseconds=millis)
    assert formatter("uuuu-MM-dd HH:mm:ss.SSS", c.DAY_MS)(millis) == moment.isoformat(" ", "milliseconds")
    assert formatter("EEE MMM D a", c.DAY_MS)(millis) == moment.strftime("%a %b ") + moment.strftime("%j %p").lstrip(
        "0"
    )


@given(
    MILLIS.filter(lambda value: value >= 0),
    st.sampled_from(("yyyy-MM-dd HH:mm:ss", "d/M/yyyy H:m:s", "yyyyMMddHHmmss")),
)
def test_the_simple_format_goes_back_and_forth(millis: int, pattern: str) -> None:
    seconds = millis // 1000 * 1000
    text = simple_format.writer(pattern)(seconds)
    assert text == simple_format.write(seconds, pattern)
    assert simple_format.reader(pattern)(text) == (seconds, False)


@given(st.integers(0, 4_000_000_000), st.sampled_from(("Europe/Berlin", "America/New_York", "Asia/Kolkata", "+05:30")))
def test_local_times_lead_back(seconds: int, name: str) -> None:
    place = zone(name)
    offset = offset_at(seconds, place)
    local = seconds + offset
    back = {local - offset_of_local(local, place), local - old_offset(local, place)}
    assert seconds in back and back <= {seconds, seconds + 3600, seconds - 3600}
