"""What Java 17 gave for patterns with a twist: widths, signs, optional sections, contradictions, old calendars."""

from __future__ import annotations

import pytest

from anomaly_app.times import calendar as c, simple_format
from anomaly_app.times.formatting import formatter
from anomaly_app.times.parsing import parser
from anomaly_app.times.resolving import ImpossibleDate

HOUR = 3_600_000_000_000


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("yyyyMMddHHmmssSSS", "19700102010203004", (1, HOUR + 123_004_000_000)),
        ("hh-ssMHH", "09-43303", (59, 3 * HOUR + 43_000_000_000)),
        ("dMyyyy", "112024", None),
        ("yyyy-M", "20240-1", None),
        ("yyyy-M", "+20240-1", (c.days_of(20240, 1, 1), 0)),
        ("y-MM", "-5-01", None),
        ("uuuu-MM", "-0005-01", (c.days_of(-5, 1, 1), 0)),
        ("H", "-0", None),
        ("yyyy-[MM][M]-[dd][d]", "1970-1-02", (1, 0)),
        ("yyyy-MM-dd[ HH:mm[:ss]]", "1970-01-01 01:00", (0, HOUR)),
        ("yyyy-MM-dd[ HH:mm[:ss]]", "1970-01-01 01", None),
        ("EEE yyyy-MM-dd", "Thu 1970-01-01", (0, 0)),
        ("EEE yyyy-MM-dd", "Fri 1970-01-01", None),
        ("yyyy-MM-dd", "2023-02-29", (c.days_of(2023, 2, 28), 0)),
        ("HH:mm", "24:00", (0, 24 * HOUR)),
        ("HH:mm", "24:01", None),
        ("hh:mm", "11:30", (0, HOUR // 2)),
        ("a", "PM", (0, 18 * HOUR)),
        ("HH h", "23 12", None),
        ("MMM", "feb", None),
        ("YYYY-ww-e", "2024-01-1", (c.days_of(2023, 12, 31), 0)),
        ("yyyy-DDD", "2024-366", (c.days_of(2024, 12, 31), 0)),
        ("yyyy-DDD", "2023-366", None),
        ("G yyyy", "BC 0001", (c.days_of(0, 1, 1), 0)),
        ("d", "3", (2, 0)),
        ("HH X", "01 +0530", (0, HOUR)),
        ("", "", (0, 0)),
    ],
)
def test_parse(pattern: str, text: str, expected: tuple[int, int] | None) -> None:
    assert parser(pattern)(text) == expected


def test_a_day_that_1970_does_not_have_is_no_plain_timestamp_either() -> None:
    with pytest.raises(ImpossibleDate):
        parser("MM-dd")("02-29")


@pytest.mark.parametrize(
    ("pattern", "seconds", "expected"),
    [
        ("yyyy uuuu y u yy G", -62_198_755_200, "0002 -0001 2 -1 02 BC"),
        ("yyyy", 253_402_300_800, "+10000"),
        ("YYYY-'W'ww e", 1_735_516_800, "2025-W01 2"),
        ("W F D DDD q QQQ QQQQ", 1_735_516_800, "5 2 365 365 4 Q4 4th quarter"),
        ("k K h H a B", 0, "24 0 12 0 AM midnight"),
        ("A N n S SSS", 1, "1000 1000000000 0 0 000"),
        ("ppppH|MMMMM|EEEEE", 0, "   0|J|T"),
        ("''o''clock", 0, "'o'clock"),
    ],
)
def test_format(pattern: str, seconds: int, expected: str) -> None:
    assert formatter(pattern.replace("o''clock", "'o''clock'"), 86_400_000)(seconds * 1000) == expected


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("yyyy-MM-dd", "24-02-29", -61_404_912_000_000),
        ("yyyy-MM-dd", "1582-10-10", c.days_of(1582, 10, 20) * c.DAY_MS),
        ("yyyyMMdd", "1970-01-02", -2_678_400_000),
        ("yyyy-MM-dd HH:mm:ss", "1970-01-01 25:61:61 tail", 93_721_000),
        ("dd.MM.yy", "01.01.46", c.days_of(2046, 1, 1) * c.DAY_MS),
        ("dd.MM.yy", "01.01.47", c.days_of(1947, 1, 1) * c.DAY_MS),
        ("HH:mm", "\t 1: 2", 3_720_000),
        ("d MMM yyyy", "2 JANUARY 1970", 86_400_000),
        ("d MMM yyyy", "2  January 1970", None),
        ("h a", "12 am", 0),
        ("HH z", "1 GMT+01:00", 0),
        ("HH Z", "1 +0100", 0),
        ("HH XXX", "1 +01:00", 0),
        ("HH X", "1 +0x", None),
        ("HH", "x", None),
        ("S", "123456789", 123_456_789),
        ("YYYY-MM-dd", "2024-02-29", c.days_of(2023, 12, 31) * c.DAY_MS),
        ("", "", None),
    ],
)
def test_simple_parse(pattern: str, text: str, expected: int | None) -> None:
    found = simple_format.reader(pattern)(text)
    assert (None if found is None else found[0]) == expected


@pytest.mark.parametrize(
    ("pattern", "seconds", "expected"),
    [
        ("yyyy-MM-dd G", -62_135_596_800, "0001-01-03 AD"),
        ("yyyy-MM-dd", -12_219_292_801, "1582-10-04"),
        ("yyyy yy", 971_890_963_199_999, "30799968 68"),
        ("u F w W D S SSSS z Z X", 0, "4 1 1 1 1 0 0000 UTC +0000 Z"),
    ],
)
def test_simple_format(pattern: str, seconds: int, expected: str) -> None:
    assert simple_format.writer(pattern)(seconds * 1000) == expected
