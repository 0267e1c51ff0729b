"""Functions of dates and times: parts, units, sums and differences. Those of texts are in ``time_texts``."""

from __future__ import annotations

from collections.abc import Mapping

from anomaly_app.expressions import nodes as n
from anomaly_app.expressions.call_syntax import DIFFERENCE, OVERLAPS
from anomaly_app.expressions.casts import cast
from anomaly_app.expressions.compiling import Compiler
from anomaly_app.expressions.functions.registry import Entry, arguments, need, need_kinds, shown
from anomaly_app.expressions.functions.time_texts import FUNCTIONS as TEXT_FUNCTIONS, clock
from anomaly_app.expressions.time_arithmetic import difference, in_millis
from anomaly_app.expressions.time_casts import INTERVALS, per_day
from anomaly_app.expressions.typed import Code, null_safe
from anomaly_app.schema import BIGINT, INT, TIMESTAMPS, DataType, Kind
from anomaly_app.times import calendar, units

_TIMES = TIMESTAMPS | {Kind.DATE, Kind.TIME}
_NAMED = {"DAYOFMONTH": "DAY", "DAYOFWEEK": "DOW", "DAYOFYEAR": "DOY"}


def _unit(compiler: Compiler, node: n.Call, word: str, known: tuple[str, ...], of: str) -> str:
    unit = units.unit_of(word, known)
    if unit is None:
        raise compiler.fail(node, f"{word} is no unit of {of}; units are {', '.join(known)}")
    return unit


def _extract(compiler: Compiler, node: n.Call) -> Code:
    word = node.words[0] if node.words else _NAMED.get(node.name, node.name)
    (code,) = arguments(compiler, node, 1)
    kind = code.type.kind
    need_kinds(compiler, node, 0, code, _TIMES | INTERVALS, "a date, time or interval")
    if kind in INTERVALS:
        parts = units.MONTH_PARTS if kind is Kind.INTERVAL_YEAR else units.INTERVAL_PARTS
        part = _unit(compiler, node, word, parts, shown(code))
        helper = compiler.env.use(units.months_part if kind is Kind.INTERVAL_YEAR else units.interval_part)
        return null_safe(compiler.env, [code], lambda a: f"{helper}({a}, {part!r})", BIGINT)
    part = _unit(compiler, node, word, units.TIME_PARTS if kind is Kind.TIME else units.PARTS, shown(code))
    size = per_day(code.type)
    template = units.extract_source(part, size)
    if part in units.CIVIL_PARTS:
        template = f"{compiler.env.use(calendar.civil)}({{}} // {size})[{units.CIVIL_PARTS[part]}]"
    if template is None:
        template = f"{compiler.env.use(units.extract)}({{}}, {part!r}, {size})"
    return null_safe(compiler.env, [code], template.format, BIGINT)


def compile_floor_to(compiler: Compiler, node: n.Call) -> Code:
    """Source of ``FLOOR`` or ``CEIL(value TO unit)``."""
    (code,) = arguments(compiler, node, 1)
    need_kinds(compiler, node, 0, code, _TIMES, "a date or time")
    clock_time = code.type.kind is Kind.TIME
    known = units.CLOCK_FLOORS if clock_time else units.STEPS
    unit = _unit(compiler, node, node.words[0], known, f"{node.name}({shown(code)} TO …)")
    down = node.name == "FLOOR"
    if clock_time:
        helper = compiler.env.use(units.floor_clock if down else units.ceil_clock)
        return null_safe(compiler.env, [code], lambda a: f"{helper}({a}, {unit!r})", code.type)
    size = per_day(code.type)
    template = units.floor_source(unit, size) if down else None
    if template is None:
        template = f"{compiler.env.use(units.floor_time if down else units.ceil_time)}({{}}, {unit!r}, {size})"
    return null_safe(compiler.env, [code], template.format, code.type)


def _timestamp_diff(compiler: Compiler, node: n.Call) -> Code:
    codes = arguments(compiler, node, 2)
    unit = _unit(compiler, node, node.words[0], units.DIFFERENCES, node.name)
    millis = []
    for place, code in enumerate(codes):
        need_kinds(compiler, node, place, code, _TIMES, "a date or time")
        millis.append(in_millis(compiler.env, code) or code)
    kinds = [code.type.kind for code in codes]
    if any((kinds[0] is kind) is not (kinds[1] is kind) for kind in (Kind.TIMESTAMP_LTZ, Kind.TIME)) or (
        kinds[0] is Kind.TIME and unit in units.MONTHS
    ):
        types = f"{shown(codes[0])} and {shown(codes[1])}"
        raise compiler.fail(node, f"there is no {unit} between {types}: CAST one to the type of the other")
    helper, type_ = compiler.env.use(units.difference), BIGINT if unit == "NANOSECOND" else INT
    return null_safe(compiler.env, millis, lambda a, b: f"{helper}({a}, {b}, {unit!r})", type_)


def _timestamp_add(compiler: Compiler, node: n.Call) -> Code:
    count, code = arguments(compiler, node, 2)
    need(compiler, node, 0, count, "I")
    need_kinds(compiler, node, 1, code, _TIMES, "a date or time")
    known = units.CLOCK_STEPS if code.type.kind is Kind.TIME else units.STEPS
    unit = _unit(compiler, node, node.words[0], known, node.name)
    if code.type.kind is Kind.TIME:
        helper = compiler.env.use(units.add_clock)
        return null_safe(compiler.env, [count, code], lambda a, b: f"{helper}({b}, {a}, {unit!r})", code.type)
    if code.type.kind is Kind.DATE and unit in units.TIME_PARTS:
        code = cast(compiler.env, code, DataType(Kind.TIMESTAMP, 6)) or code
    elif unit == "MILLISECOND" and (code.type.precision or 0) < 3:
        code = cast(compiler.env, code, DataType(code.type.kind, 3)) or code
    helper, size = compiler.env.use(units.add), per_day(code.type)
    return null_safe(compiler.env, [count, code], lambda a, b: f"{helper}({b}, {a}, {unit!r}, {size})", code.type)


def _difference(compiler: Compiler, node: n.Call) -> Code:
    left, right = (compiler.value(arg) for arg in node.args)
    found = difference(compiler.env, left, right, node.words[0])
    if found is None:
        raise compiler.fail(node, f"({shown(left)} - {shown(right)}) {node.words[0]} is not defined")
    return found


def _overlaps(compiler: Compiler, node: n.Call) -> Code:
    """Whether two periods meet; the ends of a period may come in any order."""
    bounds: list[n.Node] = []
    for start, end in (node.args[:2], node.args[2:]):
        if compiler.value(end).type.kind in INTERVALS:
            end = n.Binary(end.span, "+", start, end)
        swapped = n.Binary(node.span, ">", start, end)
        bounds.append(n.Case(node.span, None, ((swapped, end),), start))
        bounds.append(n.Case(node.span, None, ((swapped, start),), end))
    first_start, first_end, second_start, second_end = bounds
    return compiler.value(
        n.Binary(
            node.span,
            "AND",
            n.Binary(node.span, ">=", first_end, second_start),
            n.Binary(node.span, ">=", second_end, first_start),
        )
    )


FUNCTIONS: Mapping[str, Entry] = {
    **TEXT_FUNCTIONS,
    "EXTRACT": _extract,
    **dict.fromkeys(
        ("YEAR", "QUARTER", "MONTH", "WEEK", "DAYOFMONTH", "DAYOFWEEK", "DAYOFYEAR", "HOUR", "MINUTE", "SECOND"),
        _extract,
    ),
    "TIMESTAMPDIFF": _timestamp_diff,
    "TIMESTAMPADD": _timestamp_add,
    DIFFERENCE: _difference,
    OVERLAPS: _overlaps,
    **dict.fromkeys(
        ("CURRENT_TIMESTAMP", "CURRENT_DATE", "CURRENT_TIME", "CURRENT_ROW_TIMESTAMP", "LOCALTIME", "LOCALTIMESTAMP",
         "NOW", "PROCTIME", "RAND", "UUID"),
        clock,
    ),
}  # fmt: skip
