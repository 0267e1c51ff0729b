"""Numbers, casts and comparisons against oracles in plain Python, and rules that the recorded cases do not show."""

from __future__ import annotations

import ctypes
import decimal
import math
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, strategies as st

from anomaly_app import AnomalyError, Rows, query
from anomaly_app.floats import float_to_text, to_single, widened

C_TYPES: dict[str, Any] = {
    "TINYINT": ctypes.c_int8,
    "SMALLINT": ctypes.c_int16,
    "INT": ctypes.c_int32,
    "BIGINT": ctypes.c_int64,
}
BITS = {"TINYINT": 8, "SMALLINT": 16, "INT": 32, "BIGINT": 64}
EXACT = decimal.Context(prec=200, rounding=decimal.ROUND_HALF_UP)


def value_of(expression: str, dialect: str = "flink", **columns: tuple[str, Any]) -> Any:
    """Of an expression over one row."""
    names = [(name, type_) for name, (type_, _) in columns.items()] or [("one", "INT")]
    row = tuple(value for _, value in columns.values()) or (1,)
    return query(f"SELECT {expression} AS x FROM t", {"t": Rows(columns=names, rows=[row])}, dialect=dialect).rows[0][0]


def type_of(expression: str, **columns: str) -> str:
    names = list(columns.items()) or [("one", "INT")]
    return query(f"SELECT {expression} AS x FROM t", {"t": Rows(columns=names, rows=[])}).columns[0][1]


def whole(type_: str) -> st.SearchStrategy[int]:
    half = 1 << (BITS[type_] - 1)
    edges = st.sampled_from([-half, -half + 1, -1, 0, 1, half - 2, half - 1])
    return edges | st.integers(-half, half - 1)


@given(st.data(), st.sampled_from(list(BITS)), st.sampled_from("+-*"))
def test_whole_numbers_wrap_like_those_of_c(data: st.DataObject, type_: str, op: str) -> None:
    a, b = data.draw(whole(type_)), data.draw(whole(type_))
    exact = {"+": a + b, "-": a - b, "*": a * b}[op]
    assert value_of(f"a {op} b", a=(type_, a), b=(type_, b)) == C_TYPES[type_](exact).value


@given(st.data(), st.sampled_from(["<", "<=", ">", ">="]), st.sampled_from("+-*"), st.booleans(), st.booleans())
def test_a_comparison_sees_the_wrapped_number(
    data: st.DataObject, op: str, arithmetic: str, mirrored: bool, negated: bool
) -> None:
    a, b, c = (data.draw(whole("INT")) for _ in "abc")
    wrapped = ctypes.c_int32({"+": b + c, "-": b - c, "*": b * c}[arithmetic]).value
    sides = (wrapped, a) if mirrored else (a, wrapped)
    expected = {"<": sides[0] < sides[1], "<=": sides[0] <= sides[1], ">": sides[0] > sides[1]}.get(
        op, sides[0] >= sides[1]
    )
    condition = f"b {arithmetic} c {op} a" if mirrored else f"a {op} b {arithmetic} c"
    found = value_of(f"NOT ({condition})" if negated else condition, a=("INT", a), b=("INT", b), c=("INT", c))
    assert found is (expected is not negated)


@given(st.data(), st.sampled_from(list(BITS)))
def test_narrowing_casts_negation_and_abs_wrap(data: st.DataObject, type_: str) -> None:
    big = data.draw(whole("BIGINT"))
    assert value_of(f"CAST(b AS {type_})", b=("BIGINT", big)) == C_TYPES[type_](big).value
    own = data.draw(whole(type_))
    assert value_of("-a", a=(type_, own)) == C_TYPES[type_](-own).value
    assert value_of("ABS(a)", a=(type_, own)) == C_TYPES[type_](abs(own)).value


@given(st.floats(allow_nan=False), st.sampled_from(["INT", "BIGINT"]))
def test_a_double_too_large_becomes_the_greatest_number(value: float, type_: str) -> None:
    half = 1 << (BITS[type_] - 1)
    cut = value if math.isinf(value) else math.trunc(value)
    assert value_of(f"CAST(d AS {type_})", d=("DOUBLE", value)) == max(-half, min(half - 1, cut))


def test_beyond_its_type_a_number_fails_in_the_standard_dialect() -> None:
    with pytest.raises(AnomalyError, match="does not fit INT: CAST a side to BIGINT"):
        value_of("a + 1", dialect="standard", a=("INT", 2147483647))
    assert value_of("a + 1", dialect="standard", a=("INT", 2147483646)) == 2147483647


@st.composite
def decimals(draw: st.DrawFn) -> tuple[Decimal, int, int]:
    precision = draw(st.integers(1, 38))
    scale = draw(st.integers(0, precision))
    number = draw(st.integers(-(10**precision) + 1, 10**precision - 1))
    return Decimal(number).scaleb(-scale, context=EXACT), precision, scale


def result_type(op: str, p1: int, s1: int, p2: int, s2: int) -> tuple[int, int]:
    """As Flink documents it."""
    if op == "*":
        precision, scale = p1 + p2 + 1, s1 + s2
    elif op == "/":
        scale = max(6, s1 + p2 + 1)
        precision = p1 - s1 + s2 + scale
    elif op == "%":
        scale = max(s1, s2)
        precision = min(p1 - s1, p2 - s2) + scale
    else:
        scale = max(s1, s2)
        precision = max(p1 - s1, p2 - s2) + scale + 1
    if precision > 38:
        return 38, max(38 - (precision - scale), min(scale, 6))
    return precision, scale


@given(decimals(), decimals(), st.sampled_from("+-*/%"))
def test_decimals_are_exact_in_the_type_of_flink(
    a: tuple[Decimal, int, int], b: tuple[Decimal, int, int], op: str
) -> None:
    (x, p1, s1), (y, p2, s2) = a, b
    precision, scale = result_type(op, p1, s1, p2, s2)
    types = {"a": f"DECIMAL({p1}, {s1})", "b": f"DECIMAL({p2}, {s2})"}
    assert type_of(f"a {op} b", **types).removesuffix(" NOT NULL") == f"DECIMAL({precision}, {scale})"
    if op in "/%" and not y:
        with pytest.raises(AnomalyError, match="division by zero"):
            value_of(f"a {op} b", a=(types["a"], x), b=(types["b"], y))
        return
    to_38_digits = decimal.Context(prec=38, rounding=decimal.ROUND_HALF_UP)
    exact = {
        "+": lambda: EXACT.add(x, y),
        "-": lambda: EXACT.subtract(x, y),
        "*": lambda: EXACT.multiply(x, y),
        "/": lambda: to_38_digits.divide(x, y),
        "%": lambda: EXACT.remainder(x, y),
    }[op]()
    rounded = exact.quantize(Decimal(1).scaleb(-scale), context=EXACT)
    fits = rounded.scaleb(scale, context=EXACT).copy_abs() < 10**precision  # abs() rounds to 28 digits
    found = value_of(f"a {op} b", a=(types["a"], x), b=(types["b"], y))
    assert found == (rounded if fits else None)
    assert found is None or (found.as_tuple().exponent == -scale and not (found.is_signed() and not found))


@given(decimals())
def test_no_digit_of_a_decimal_is_lost(a: tuple[Decimal, int, int]) -> None:
    x, precision, scale = a
    column = (f"DECIMAL({precision}, {scale})", x)
    assert value_of("ABS(a)", a=column) == x.copy_abs()
    assert value_of("-a", a=column) == x.copy_negate()
    assert value_of("CAST(CAST(a AS STRING) AS DECIMAL(38, 0))", a=column) == EXACT.quantize(x, Decimal(1))
    assert value_of("GREATEST(a, -a)", a=column) == x.copy_abs()


SINGLES = st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(SINGLES, SINGLES, st.sampled_from("+-*"))
def test_floats_are_computed_in_32_bits(a: float, b: float, op: str) -> None:
    found = value_of(f"a {op} b", a=("FLOAT", a), b=("FLOAT", b))
    exact = {"+": a + b, "-": a - b, "*": a * b}[op]
    assert ctypes.c_float(found).value == ctypes.c_float(exact).value
    assert type_of(f"a {op} b", a="FLOAT", b="FLOAT") == "FLOAT"


@given(SINGLES)
def test_the_memory_form_of_a_float_names_it(value: float) -> None:
    memory = to_single(value)
    assert widened(memory) == value
    assert to_single(memory) == memory
    assert value_of("CAST(f AS DOUBLE)", f=("FLOAT", value)) == value
    assert len(repr(abs(memory)).replace(".", "").partition("e")[0].strip("0")) <= 9


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_text_of_a_double_names_it(value: float) -> None:
    assert float(float_to_text(value)) == value
    assert value_of("CAST(CAST(d AS STRING) AS DOUBLE)", d=("DOUBLE", value)) == value


@pytest.mark.parametrize(
    ("value", "text"),
    [  # as Double.toString and Float.toString of Java 17 print them
        (5e-324, "4.9E-324"),
        (2e23, "1.9999999999999998E23"),
        (1e23, "9.999999999999999E22"),
        (2.0**-44, "5.6843418860808015E-14"),
        (9007199254740993.0, "9.007199254740992E15"),
        (1.23456789012345e18, "1.23456789012345011E18"),
        (-0.0, "-0.0"),
        (0.001, "0.001"),
        (1e-4, "1.0E-4"),
        (9999999.0, "9999999.0"),
        (1e7, "1.0E7"),
        (math.inf, "Infinity"),
    ],
)
def test_doubles_are_printed_as_by_java(value: float, text: str) -> None:
    assert value_of("CAST(d AS STRING)", d=("DOUBLE", value)) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (2147483648.0, "2.14748365E9"),
        (16777216.0, "1.6777216E7"),
        (0.1, "0.1"),
        (1.4e-45, "1.4E-45"),
        (2.0**-94, "5.0487098E-29"),
        (3.4028235e38, "3.4028235E38"),
    ],
)
def test_floats_are_printed_as_by_java(value: float, text: str) -> None:
    assert value_of("CAST(f AS STRING)", f=("FLOAT", value)) == text


NAN = math.nan


@pytest.mark.parametrize("op", ["<", "<=", ">", ">=", "="])
@pytest.mark.parametrize(("a", "b"), [(NAN, 1.0), (1.0, NAN), (NAN, NAN)])
def test_comparisons_with_nan_are_false_and_their_negations_true(op: str, a: float, b: float) -> None:
    columns = {"a": ("DOUBLE", a), "b": ("DOUBLE", b)}
    assert value_of(f"a {op} b", **columns) is False
    assert value_of(f"NOT (a {op} b)", **columns) is True
    assert value_of(f"CASE WHEN a {op} b THEN 1 ELSE 2 END", **columns) == 2


@pytest.mark.parametrize(("what", "values"), [("TRUE", (True, False, False)), ("FALSE", (False, True, False))])
def test_is_true_and_is_false_are_never_null(what: str, values: tuple[bool, ...]) -> None:
    for given_, expected in zip((True, False, None), values, strict=True):
        assert value_of(f"a IS {what}", a=("BOOLEAN", given_)) is expected
        assert value_of(f"a IS NOT {what}", a=("BOOLEAN", given_)) is (not expected)
        assert value_of(f"(a OR a) IS {what}", a=("BOOLEAN", given_)) is expected


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("d = 0.1", True),
        ("d > 0.1", False),
        ("d IN (0.1, 2)", True),
        ("d NOT IN (1, 2.5)", True),
        ("f > 0.1", True),  # 0.1 in 32 bits is more
        ("f IN (0.1)", False),
        ("b = CAST(9007199254740993 AS DOUBLE)", True),  # as doubles they are the same
        ("e IN (1, 2.50)", True),
        ("i BETWEEN SYMMETRIC 9 AND 1", True),
        ("i BETWEEN 9 AND 1", False),
        ("(i, d) = (3, 0.1)", True),
        ("x'00ff' = x'00FF'", True),
        ("CAST(NULL AS BOOLEAN) IS UNKNOWN", True),
        ("UNKNOWN IS NULL", True),
    ],
)
def test_comparisons(expression: str, expected: bool) -> None:
    columns = {
        "d": ("DOUBLE", 0.1),
        "f": ("FLOAT", 0.1),
        "b": ("BIGINT", 9007199254740993),
        "e": ("DECIMAL(5, 2)", "2.5"),
    }
    assert value_of(expression, **columns, i=("INT", 3)) is expected


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("CAST('1e400' AS DECIMAL(38, 10))", None),
        ("CAST(999.995 AS DECIMAL(5, 2))", None),
        ("CAST(TRUE AS DECIMAL(3, 1))", Decimal("1.0")),
        ("CAST(1 AS DECIMAL(40, 0))", Decimal(1)),
        ("CAST('abc' AS BINARY(5))", b"abc\0\0"),
        ("CAST(x'616263' AS VARBINARY(2))", b"ab"),
        ("CAST(0.00001 AS DECIMAL(3, 1))", Decimal("0.0")),
        ("TRY_CAST(' true' AS BOOLEAN)", None),
        ("TRY_CAST('1_000' AS INT)", None),
        ("TRY_CAST('\u0661' AS INT)", None),
        ("TRY_CAST('0x10' AS DOUBLE)", None),
        ("TRY_CAST('2020-01-01T00:00:00' AS TIMESTAMP(3))", None),
        ("-2147483648", -2147483648),
        ("-9223372036854775808", -9223372036854775808),
        ("ROUND(-2.5)", Decimal(-3)),
        ("ROUND(25, -1)", 30),
        ("ROUND(25, -30)", 0),
        ("TRUNCATE(-2.675e0, 2)", -2.67),
        ("SIGN(-2.5e0)", -1.0),
        ("LOG(2, 8)", 3.0),
        ("POWER(-8, 0.5)", NAN),
        ("HEX(255)", "FF"),
        ("BIN(5)", "101"),
        ("UNHEX('255')", b"\0\x55"),
        ("TYPEOF(CAST('a' AS BINARY(3)))", "BINARY(3) NOT NULL"),
        ("COT(0)", math.inf),
        ("CASE 3 WHEN 1, 3 THEN 'odd' ELSE 'even' END", "odd"),
    ],
)
def test_values(expression: str, value: Any) -> None:
    found = value_of(expression)
    assert found == value or (isinstance(value, float) and math.isnan(value) and math.isnan(found))
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("expression", "type_"),
    [
        ("0.1 + 0.2", "DECIMAL(3, 1)"),
        (".5", "DECIMAL(1, 1)"),
        ("007.50", "DECIMAL(5, 2)"),
        ("5.", "INT"),
        ("-2147483648", "INT"),
        ("2147483648", "BIGINT"),
        ("CAST(1 AS FLOAT) + 1e0", "FLOAT"),
        ("1e0 + CAST(1 AS FLOAT)", "DOUBLE"),
        ("CAST(1 AS FLOAT) + 0.5", "DOUBLE"),
        ("CAST(1 AS FLOAT) * 2", "FLOAT"),
        ("CAST(1 AS TINYINT) + 1", "INT"),
        ("9 % CAST(2 AS SMALLINT)", "SMALLINT"),
        ("CAST('a' AS VARCHAR)", "STRING"),
        ("CAST('a' AS CHARACTER VARYING(3))", "VARCHAR(3)"),
        ("CAST(5 AS INTERVAL DAY TO SECOND)", "INTERVAL SECOND(3)"),
        ("x'0AFF'", "BINARY(2)"),
    ],
)
def test_types(expression: str, type_: str) -> None:
    assert type_of(expression).removesuffix(" NOT NULL") == type_


@pytest.mark.parametrize(
    ("expression", "problem"),
    [
        ("x'0AF'", "two hexadecimal digits each"),
        ("*", "has no name"),
        ("ONE", "did you mean one?"),
        ("ABS('a')", "must be a number, not CHAR"),
        ("POWER(NULL, 2)", "a bare NULL has no type, write CAST"),
        ("LOG()", "LOG takes 1 to 2 arguments, not 0"),
        ("ROUND(1.5, 'x')", "must be a whole number"),
        ("TYPEOF('a' || 'b')", "does not know the length of a text that is computed"),
        ("99999999999999999999", "does not fit a BIGINT: CAST a text to DECIMAL"),
        ("CAST('1' AS INTERVAL FORTNIGHT)", "expected SECOND, MINUTE, HOUR, DAY, MONTH or YEAR"),
        ("MAP['a', 1] < MAP['b', 1]", "only with = and <>"),
    ],
)
def test_refused_with_what_would_work(expression: str, problem: str) -> None:
    with pytest.raises(AnomalyError, match=problem.replace("(", r"\(").replace("?", r"\?")):
        value_of(expression)


@pytest.mark.parametrize(
    ("expression", "problem"),
    [
        ("CAST(s AS INT)", "'x' is not a whole number"),
        ("CAST(s AS DOUBLE)", "'x' is not a number"),
        ("CAST(s AS TIMESTAMP(3))", "is not a TIMESTAMP such as 2024-02-29 12:34:56.789"),
        ("ROUND(CAST('NaN' AS DOUBLE), 1)", "nan has no digits to round"),
        ("1 / (i - i)", "division by zero"),
    ],
)
def test_failures_on_a_row_say_what_is_wrong(expression: str, problem: str) -> None:
    with pytest.raises(AnomalyError, match=problem):
        value_of(expression, s=("STRING", "x"), i=("INT", 1))


def test_fractions_of_time_are_cut() -> None:
    columns = {"t": ("TIMESTAMP(6)", "1969-12-31 23:59:59.123456")}
    assert value_of("CAST(CAST(t AS TIMESTAMP(3)) AS STRING)", **columns) == "1969-12-31 23:59:59.123"
    assert value_of("CAST(CAST(t AS TIMESTAMP(0)) AS STRING)", **columns) == "1970-01-01 00:00:00"  # towards 1970
    assert value_of("CAST(CAST(t AS TIME(1)) AS STRING)", **columns) == "23:59:59.1"
    assert value_of("CAST(CAST('10:00:01.5' AS TIME) AS STRING)") == "10:00:01"
