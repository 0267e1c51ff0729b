"""PRINTF makes the texts that Java's Formatter makes; MAP[…] is a table of constants."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal

import pytest
from hypothesis import given, settings, strategies as st

from anomaly_app import Rows, query
from anomaly_app.expressions.printf import parse

COLUMNS = [("u", "STRING"), ("x", "DOUBLE"), ("n", "BIGINT"), ("b", "BOOLEAN"), ("d", "DECIMAL(10, 3)")]


def one(expression: str, *row) -> object:
    given_row = row or ("ann", 1.005, 1_234_567, True, Decimal("2.345"))
    ((value,),) = query(f"SELECT {expression} FROM t", {"t": Rows(COLUMNS, [given_row])}).rows
    return value


@pytest.mark.parametrize(
    ("call", "text"),
    [
        ("PRINTF('User %s has %.2f', u, x)", "User ann has 1.01"),
        ("PRINTF('%f', x)", "1.005000"),
        ("PRINTF('%,d|%9d|%-9d|%+d|%09d', n, n, n, n, n)", "1,234,567|  1234567|1234567  |+1234567|001234567"),
        ("PRINTF('%,.1f', n * 1E0)", "1,234,567.0"),
        ("PRINTF('%x %b %S%n%%', n, b, u)", "12d687 true ANN\n%"),
        ("PRINTF('%5.2s|%-5s|', u, u)", "   an|ann  |"),
        ("PRINTF('%s %s', x, n)", "1.005 1234567"),
        ("PRINTF('%(d %(.1f', -n, -x)", "(1234567) (1.0)"),
        ("PRINTF('% d', n)", " 1234567"),
        ("PRINTF('plain')", "plain"),
        ("PRINTF('')", ""),
        ("PRINTF('%.2f', CAST(NULL AS DOUBLE))", "nu"),  # as in Java, which cuts the word null
        ("PRINTF('%s and %d', NULL, CAST(NULL AS INT))", "null and null"),
    ],
)
def test_texts(call: str, text: str) -> None:
    assert one(call) == text


@pytest.mark.parametrize(
    ("value", "text"), [(float("inf"), "Infinity"), (float("-inf"), "-Infinity"), (-0.001, "-0.00")]
)
def test_doubles_that_are_no_numbers(value: float, text: str) -> None:
    (specifier,) = parse("%.2f")
    assert not isinstance(specifier, str) and specifier(value) == text


@settings(max_examples=300, deadline=None)
@given(st.floats(allow_nan=False, allow_infinity=False), st.integers(0, 8))
def test_digits_are_rounded_half_up_from_the_shortest_that_name_the_double(value: float, digits: int) -> None:
    import decimal

    (specifier,) = parse(f"%.{digits}f")
    assert not isinstance(specifier, str)
    with decimal.localcontext(prec=400):
        want = Decimal(repr(value)).quantize(Decimal(1).scaleb(-digits), rounding=ROUND_HALF_UP)
    assert Decimal(specifier(value)) == want and len(specifier(value).partition(".")[2]) == digits


@pytest.mark.parametrize("pattern", ["%", "%q", "%.2d", "%,x", "%-05d", "%+ 5d", "%05s", "%<s", "100 %!"])
def test_patterns_that_mean_nothing(pattern: str) -> None:
    with pytest.raises(ValueError, match="%"):
        parse(pattern)


def test_a_map_of_constants_and_of_values() -> None:
    assert one("MAP['ann', 1.5, 'bob', 20][u]") == Decimal("1.5")
    assert one("COALESCE(MAP['bob', 20][u], 3)") == 3
    assert one("MAP[u, n, 'x', 1]['ann']") == 1_234_567
    assert one("MAP['a', CAST(NULL AS INT)]['a']") is None
