"""Functions of dates and times."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from anomaly_app.expressions import nodes as n, time_values as tv, values as v
from anomaly_app.expressions.casts import cast, in_millis
from anomaly_app.expressions.functions.registry import Entry, Function, arguments, need, need_kinds
from anomaly_app.expressions.typed import Code, null_safe
from anomaly_app.schema import (
    BIGINT,
    INT,
    STRING,
    TEXTS,
    TIMESTAMP_3,
    TIMESTAMPS,
    DataType,
    Kind,
)

if TYPE_CHECKING:
    from anomaly_app.expressions.compiler import ExpressionCompiler


def _per_day(type_: DataType) -> int:
    return 1 if type_.kind is Kind.DATE else v.DAY_MS if in_millis(type_) else v.DAY_MS * 1000


def _unit(compiler: ExpressionCompiler, node: n.Call, word: str) -> str:
    unit = word[:-1] if word.endswith("S") and word != "DOWS" else word
    if unit not in tv.UNITS:
        raise compiler.fail(node, f"{word} is not a unit of time; units are {', '.join(tv.UNITS)}")
    return unit


def _extract(compiler: ExpressionCompiler, node: n.Call) -> Code:
    word = node.words[0] if node.words else {"DAYOFMONTH": "DAY", "DAYOFWEEK": "DOW", "DAYOFYEAR": "DOY"}.get(
        node.name, node.name
    )  # fmt: skip
    (code,) = arguments(compiler, node, 1)
    need_kinds(compiler, node, 0, code, TIMESTAMPS | {Kind.DATE, Kind.TIME, Kind.INTERVAL_DAY}, "a date or time")
    part = _unit(compiler, node, {"DAYOFWEEK": "DOW", "DAYOFYEAR": "DOY"}.get(word, word))
    helper = compiler.env.use(tv.extract)
    per_day = v.DAY_MS if code.type.kind in (Kind.TIME, Kind.INTERVAL_DAY) else _per_day(code.type)
    return null_safe(compiler.env, [code], lambda a: f"{helper}({a}, {part!r}, {per_day})", BIGINT)


def compile_floor_to(compiler: ExpressionCompiler, node: n.Call) -> Code:
    """Source of ``FLOOR`` or ``CEIL(value TO unit)``."""
    (code,) = arguments(compiler, node, 1)
    need_kinds(compiler, node, 0, code, TIMESTAMPS | {Kind.DATE}, "a date or time")
    unit = _unit(compiler, node, node.words[0])
    helper = compiler.env.use(tv.floor_time if node.name == "FLOOR" else tv.ceil_time)
    per_day = _per_day(code.type)
    return null_safe(compiler.env, [code], lambda a: f"{helper}({a}, {unit!r}, {per_day})", code.type)


def _date_format(compiler: ExpressionCompiler, node: n.Call) -> Code:
    code, pattern = arguments(compiler, node, 2)
    need_kinds(compiler, node, 0, code, TIMESTAMPS | {Kind.DATE} | TEXTS, "a date or time")
    need(compiler, node, 1, pattern, "T")
    if code.type.kind not in TIMESTAMPS or not in_millis(code.type):
        code = cast(compiler.env, code, TIMESTAMP_3) or code
    helper = compiler.env.use(tv.date_format)
    if pattern.constant is not None:
        try:
            tv.date_format(0, str(pattern.constant))
        except ValueError as error:
            raise compiler.fail(node.args[1], str(error)) from None
    return null_safe(compiler.env, [code, pattern], lambda a, b: f"{helper}({a}, {b})", STRING)


def _timestamp_diff(compiler: ExpressionCompiler, node: n.Call) -> Code:
    codes = arguments(compiler, node, 2)
    millis = []
    for number, code in enumerate(codes):
        need_kinds(compiler, node, number, code, TIMESTAMPS | {Kind.DATE}, "a date or time")
        converted = code if code.type.kind in TIMESTAMPS and in_millis(code.type) else None
        millis.append(converted or cast(compiler.env, code, TIMESTAMP_3) or code)
    unit = _unit(compiler, node, node.words[0])
    helper = compiler.env.use(tv.difference)
    return null_safe(compiler.env, millis, lambda a, b: f"{helper}({a}, {b}, {unit!r})", INT)


def _timestamp_add(compiler: ExpressionCompiler, node: n.Call) -> Code:
    count, code = arguments(compiler, node, 2)
    need(compiler, node, 0, count, "I")
    need_kinds(compiler, node, 1, code, TIMESTAMPS | {Kind.DATE}, "a date or time")
    unit = _unit(compiler, node, node.words[0])
    helper = compiler.env.use(tv.add)
    per_day = _per_day(code.type)
    return null_safe(compiler.env, [count, code], lambda a, b: f"{helper}({b}, {a}, {unit!r}, {per_day})", code.type)


def _to_timestamp_ltz(compiler: ExpressionCompiler, node: n.Call) -> Code:
    codes = arguments(compiler, node, 1, 2)
    need(compiler, node, 0, codes[0], "N")
    digits = codes[1].constant if len(codes) == 2 else 3
    if digits not in (0, 3):
        raise compiler.fail(node.args[-1], "the precision of TO_TIMESTAMP_LTZ is 0 (seconds) or 3 (milliseconds)")
    factor = 1000 if digits == 0 else 1
    # NULL beyond the calendar, as in Flink: mostly microseconds that are taken for milliseconds.
    first, last, millis = *tv.CALENDAR_MS, compiler.env.temporary()
    source = f"({millis} if {first} <= ({millis} := int({{}} * {factor})) <= {last} else None)"
    return null_safe(compiler.env, codes[:1], source.format, DataType(Kind.TIMESTAMP_LTZ, 3), nullable=True)


def _unix_timestamp(compiler: ExpressionCompiler, node: n.Call) -> Code:
    if not node.args:
        return _clock(compiler, node)
    codes = arguments(compiler, node, 1, 2)
    for number, code in enumerate(codes):
        need(compiler, node, number, code, "T")
    helper = compiler.env.use(tv.unix_timestamp)
    return null_safe(compiler.env, codes, lambda *names: f"{helper}({', '.join(names)})", BIGINT, nullable=True)


def _clock(compiler: ExpressionCompiler, node: n.Call) -> Code:
    problem = f"{node.name} reads the clock: the same rows would give other answers when replayed; use the event time"
    raise compiler.fail(node, problem)


FUNCTIONS: Mapping[str, Entry] = {
    "EXTRACT": _extract,
    **dict.fromkeys(
        ("YEAR", "QUARTER", "MONTH", "WEEK", "DAYOFMONTH", "DAYOFWEEK", "DAYOFYEAR", "HOUR", "MINUTE", "SECOND"),
        _extract,
    ),
    "DATE_FORMAT": _date_format,
    "TO_TIMESTAMP": Function(tv.to_timestamp, "T?T", TIMESTAMP_3, nullable=True),
    "TO_TIMESTAMP_LTZ": _to_timestamp_ltz,
    "TO_DATE": Function(tv.to_date, "T?T", DataType(Kind.DATE), nullable=True),
    "UNIX_TIMESTAMP": _unix_timestamp,
    "FROM_UNIXTIME": Function(tv.from_unixtime, "I?T", STRING),
    "TIMESTAMPDIFF": _timestamp_diff,
    "TIMESTAMPADD": _timestamp_add,
    **dict.fromkeys(
        ("CURRENT_TIMESTAMP", "CURRENT_DATE", "CURRENT_TIME", "LOCALTIMESTAMP", "NOW", "PROCTIME", "RAND", "UUID"),
        _clock,
    ),
}
