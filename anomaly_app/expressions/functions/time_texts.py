"""Functions between times and texts or numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from anomaly_app.errors import EvaluationError
from anomaly_app.expressions import nodes as n, time_values as tv
from anomaly_app.expressions.compiling import Compiler
from anomaly_app.expressions.functions.registry import Entry, Function, arguments, need, need_kinds
from anomaly_app.expressions.time_casts import per_day
from anomaly_app.expressions.typed import Code, null_safe
from anomaly_app.schema import APPROXIMATE, BIGINT, NUMBERS, STRING, TEXTS, TIMESTAMP_3, TIMESTAMPS, DataType, Kind
from anomaly_app.times import zones
from anomaly_app.times.formatting import formatter

_DATE = DataType(Kind.DATE)


def _by_pattern(
    compiler: Compiler,
    place: n.Node,
    values: list[Code],
    pattern: Code,
    make: Callable[[str], Callable[..., Any]],
    type_: DataType,
    nullable: bool,
) -> Code:
    """A call of the function that ``make`` makes of a pattern: once, if the pattern is written out."""
    if pattern.constant is None:
        values, name = [*values, pattern], compiler.env.use(tv.by_pattern(make))
    else:
        try:
            name = compiler.env.constant(make(str(pattern.constant)))
        except ValueError as error:
            raise compiler.fail(place, str(error)) from None
    return null_safe(compiler.env, values, lambda *args: f"{name}({', '.join(args)})", type_, nullable=nullable)


def _text_args(compiler: Compiler, node: n.Call, codes: list[Code]) -> None:
    for place, code in enumerate(codes):
        need(compiler, node, place, code, "T")


def _to_timestamp(compiler: Compiler, node: n.Call) -> Code:
    codes = arguments(compiler, node, 1, 2)
    _text_args(compiler, node, codes)
    if len(codes) == 1:
        helper = compiler.env.use(tv.to_timestamp)
        return null_safe(compiler.env, codes, lambda a: f"{helper}({a})", TIMESTAMP_3, nullable=True)
    return _by_pattern(compiler, node.args[1], codes[:1], codes[1], tv.to_timestamp_by, TIMESTAMP_3, True)


def _to_date(compiler: Compiler, node: n.Call) -> Code:
    codes = arguments(compiler, node, 1, 2)
    _text_args(compiler, node, codes)
    if len(codes) == 1:
        helper = compiler.env.use(tv.to_date)
        return null_safe(compiler.env, codes, lambda a: f"{helper}({a})", _DATE, nullable=True)
    return _by_pattern(compiler, node.args[1], codes[:1], codes[1], tv.to_date_by, _DATE, True)


def _to_timestamp_ltz(compiler: Compiler, node: n.Call) -> Code:
    codes = arguments(compiler, node, 1, 3)
    need_kinds(compiler, node, 0, codes[0], NUMBERS | TEXTS, "a number or text")
    if codes[0].type.kind in TEXTS:
        return _local_text(compiler, node, codes)
    arguments(compiler, node, 1, 2)
    digits = codes[1].constant if len(codes) == 2 else 3
    if not isinstance(digits, int) or not 0 <= digits <= 9:
        problem = "the precision must be written out: 0 for seconds, 3 for milliseconds, 6 and 9 for finer units"
        raise compiler.fail(node.args[-1], problem)
    of_float = codes[0].type.kind in APPROXIMATE
    helper = compiler.env.use(tv.timestamp_of_float if of_float else tv.timestamp_of_whole)
    type_ = DataType(Kind.TIMESTAMP_LTZ, max(digits, 3))
    return null_safe(compiler.env, codes[:1], lambda a: f"{helper}({a}, {digits})", type_, nullable=True)


def _local_text(compiler: Compiler, node: n.Call, codes: list[Code]) -> Code:
    _text_args(compiler, node, codes)
    type_ = DataType(Kind.TIMESTAMP_LTZ, 3)
    if len(codes) == 1:
        helper = compiler.env.use(tv.to_timestamp_ltz)
        return null_safe(compiler.env, codes, lambda a: f"{helper}({a})", type_)
    if len(codes) == 2:
        return _by_pattern(compiler, node.args[1], codes[:1], codes[1], tv.to_timestamp_by, type_, True)
    if codes[2].constant is not None:
        try:
            zones.zone(str(codes[2].constant))
        except EvaluationError as error:
            raise compiler.fail(node.args[2], str(error)) from None
    values = [codes[0], codes[2]]
    return _by_pattern(compiler, node.args[1], values, codes[1], tv.to_local_timestamp_by, type_, True)


def _unix_timestamp(compiler: Compiler, node: n.Call) -> Code:
    if not node.args:
        return clock(compiler, node)
    codes = arguments(compiler, node, 1, 2)
    _text_args(compiler, node, codes)
    pattern = codes[1] if len(codes) == 2 else _PLAIN
    return _by_pattern(compiler, node.args[-1], codes[:1], pattern, tv.unix_timestamp_by, BIGINT, False)


def _from_unixtime(compiler: Compiler, node: n.Call) -> Code:
    codes = arguments(compiler, node, 1, 2)
    need(compiler, node, 0, codes[0], "I")
    if len(codes) == 2:
        need(compiler, node, 1, codes[1], "T")
    pattern = codes[1] if len(codes) == 2 else _PLAIN
    return _by_pattern(compiler, node.args[-1], codes[:1], pattern, tv.from_unixtime_by, STRING, False)


_PLAIN = Code(repr(tv.PLAIN), STRING.with_nullable(False), tv.PLAIN)


def _date_format(compiler: Compiler, node: n.Call) -> Code:
    code, pattern = arguments(compiler, node, 2)
    need_kinds(compiler, node, 0, code, TIMESTAMPS | {Kind.DATE} | TEXTS, "a timestamp or text")
    need(compiler, node, 1, pattern, "T")
    if code.type.kind in TEXTS:
        return _by_pattern(compiler, node.args[1], [code], pattern, tv.reformat_by, STRING, True)
    size = per_day(code.type)
    if pattern.constant is None:
        helper = compiler.env.use(tv.date_format)
        return null_safe(compiler.env, [code, pattern], lambda a, b: f"{helper}({a}, {size}, {b})", STRING)
    return _by_pattern(compiler, node.args[1], [code], pattern, lambda text: formatter(text, size), STRING, False)


def clock(compiler: Compiler, node: n.Call) -> Code:
    """Refuse a function whose value is not that of the row."""
    if node.name in ("RAND", "UUID"):
        problem = f"{node.name} is random: the same rows would give other answers when they are read again"
    else:
        problem = (
            f"{node.name} reads the clock: the same rows would give other answers when they are read again. Use the "
            "event time, or a column AS PROCTIME() of the table, which holds the time of arrival"
        )
    raise compiler.fail(node, problem)


def _watermark(compiler: Compiler, node: n.Call) -> Code:
    problem = "the watermark depends on how rows are read; late rows are dropped and counted without asking for it"
    raise compiler.fail(node, f"CURRENT_WATERMARK is not supported: {problem}")


FUNCTIONS: Mapping[str, Entry] = {
    "TO_TIMESTAMP": _to_timestamp,
    "TO_TIMESTAMP_LTZ": _to_timestamp_ltz,
    "TO_DATE": _to_date,
    "UNIX_TIMESTAMP": _unix_timestamp,
    "FROM_UNIXTIME": _from_unixtime,
    "DATE_FORMAT": _date_format,
    "CONVERT_TZ": Function(tv.convert_tz, "TTT", STRING, nullable=True),
    "CURRENT_WATERMARK": _watermark,
}
