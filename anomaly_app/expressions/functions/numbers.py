"""Functions of numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from anomaly_app.conversions import DECIMALS, RANGES
from anomaly_app.expressions import nodes as n, number_values as nv
from anomaly_app.expressions.arithmetic import in_range
from anomaly_app.expressions.compiling import Compiler
from anomaly_app.expressions.functions.registry import Entry, Function, arguments, check_count, need, need_kinds
from anomaly_app.expressions.functions.time import compile_floor_to
from anomaly_app.expressions.typed import Code, decimal_type, null_safe
from anomaly_app.schema import BYTES, DOUBLE, STRING, WHOLE_NUMBERS, DataType, Kind


def _abs(compiler: Compiler, node: n.Call) -> Code:
    (code,) = arguments(compiler, node, 1)
    need(compiler, node, 0, code, "N")
    env, kind = compiler.env, code.type.kind
    if kind in WHOLE_NUMBERS:
        low = RANGES[kind][0]
        return null_safe(env, [code], lambda a: in_range(env, f"abs({a})", kind, (0, -low)), code.type)
    absolute = env.use(DECIMALS.abs) if kind is Kind.DECIMAL else "abs"
    return null_safe(env, [code], lambda a: f"{absolute}({a})", code.type)


def _sign(compiler: Compiler, node: n.Call) -> Code:
    (code,) = arguments(compiler, node, 1)
    need(compiler, node, 0, code, "N")
    kind = code.type.kind
    if kind in WHOLE_NUMBERS:
        value = compiler.env.temporary()
        return null_safe(compiler.env, [code], lambda a: f"((({value} := {a}) > 0) - ({value} < 0))", code.type)
    helper = compiler.env.use(nv.sign_of_decimal if kind is Kind.DECIMAL else nv.sign_of_float)
    return null_safe(compiler.env, [code], lambda a: f"{helper}({a})", code.type)


def _round(compiler: Compiler, node: n.Call) -> Code:
    codes = arguments(compiler, node, 1, 2)
    need(compiler, node, 0, codes[0], "N")
    digits: int | None = 0
    if len(codes) == 2:
        need(compiler, node, 1, codes[1], "I")
        digits = codes[1].constant
    type_, up = codes[0].type, node.name == "ROUND"
    if digits is not None:
        codes = [codes[0], Code(compiler.env.constant(digits), DataType(Kind.INT, nullable=False), digits)]
    helper: Callable[..., Any]
    rest: tuple[Any, ...] = (up,)
    if type_.kind is Kind.DECIMAL:
        assert type_.precision is not None and type_.scale is not None
        if digits is not None and digits < type_.scale:
            scale = max(digits, 0)
            type_ = decimal_type(type_.precision - type_.scale + scale + 1, scale)
        helper, rest = nv.to_digits_decimal, (up, type_.precision, type_.scale)
    elif type_.kind in WHOLE_NUMBERS:
        helper, rest = nv.to_digits_whole, (type_.kind, up)
    else:
        helper = nv.to_digits_single if type_.kind is Kind.FLOAT else nv.to_digits_float
    call = compiler.env.use(helper)
    more = ", ".join(compiler.env.constant(part) for part in rest)
    overflow = type_.kind is Kind.DECIMAL and digits is None
    return null_safe(compiler.env, codes, lambda a, b: f"{call}({a}, {b}, {more})", type_, nullable=overflow)


_FLOORS = {
    Kind.DECIMAL: (nv.floor_of_decimal, nv.ceiling_of_decimal),
    Kind.FLOAT: (nv.floor_of_single, nv.ceiling_of_single),
    Kind.DOUBLE: (nv.floor_of_float, nv.ceiling_of_float),
}


def _floor(compiler: Compiler, node: n.Call) -> Code:
    if node.words:
        return compile_floor_to(compiler, node)
    (code,) = arguments(compiler, node, 1)
    need(compiler, node, 0, code, "N")
    kind = code.type.kind
    if kind in WHOLE_NUMBERS:
        return code
    type_ = DataType(Kind.DECIMAL, code.type.precision, 0) if kind is Kind.DECIMAL else code.type
    helper = compiler.env.use(_FLOORS[kind][node.name != "FLOOR"])
    return null_safe(compiler.env, [code], lambda a: f"{helper}({a})", type_)


def _mod(compiler: Compiler, node: n.Call) -> Code:
    for place, code in enumerate(arguments(compiler, node, 2)):
        need(compiler, node, place, code, "N")
    return compiler.value(n.Binary(node.span, "%", *node.args))


_ORDERED = frozenset(Kind) - {Kind.NULL, Kind.ARRAY, Kind.MAP, Kind.ROW, Kind.BYTES}


def _extreme(compiler: Compiler, node: n.Call) -> Code:
    for place, code in enumerate(arguments(compiler, node, 1, None)):
        need_kinds(compiler, node, place, code, _ORDERED, "a value that has an order")
    codes = compiler.unify(node.args, f"the arguments of {node.name}")
    if len(codes) == 1:
        return codes[0]
    function = "max" if node.name == "GREATEST" else "min"
    return null_safe(compiler.env, codes, lambda *names: f"{function}({', '.join(names)})", codes[0].type)


def _fixed(compiler: Compiler, node: n.Call) -> Code:
    check_count(compiler, node, 0, 0)
    value = math.e if node.name == "E" else math.pi
    return Code(repr(value), DOUBLE.with_nullable(False), value)


FUNCTIONS: Mapping[str, Entry] = {
    "ABS": _abs,
    "SIGN": _sign,
    "ROUND": _round,
    "TRUNCATE": _round,
    "FLOOR": _floor,
    "CEIL": _floor,
    "CEILING": _floor,
    "MOD": _mod,
    "SQRT": Function(nv.square_root, "D", DOUBLE),
    "POWER": Function(nv.power, "DD", DOUBLE),
    "EXP": Function(nv.exponential, "D", DOUBLE),
    "LN": Function(nv.logarithm, "D", DOUBLE),
    "LOG": (Function(nv.logarithm, "D", DOUBLE), Function(nv.logarithm_to, "DD", DOUBLE)),
    "LOG10": Function(nv.logarithm_10, "D", DOUBLE),
    "LOG2": Function(nv.logarithm_2, "D", DOUBLE),
    "SIN": Function(nv.sine, "D", DOUBLE),
    "COS": Function(nv.cosine, "D", DOUBLE),
    "TAN": Function(nv.tangent, "D", DOUBLE),
    "COT": Function(nv.cotangent, "D", DOUBLE),
    "ASIN": Function(nv.arc_sine, "D", DOUBLE),
    "ACOS": Function(nv.arc_cosine, "D", DOUBLE),
    "ATAN": Function(math.atan, "D", DOUBLE),
    "ATAN2": Function(math.atan2, "DD", DOUBLE),
    "SINH": Function(nv.hyperbolic_sine, "D", DOUBLE),
    "COSH": Function(nv.hyperbolic_cosine, "D", DOUBLE),
    "TANH": Function(math.tanh, "D", DOUBLE),
    "DEGREES": Function(math.degrees, "D", DOUBLE),
    "RADIANS": Function(math.radians, "D", DOUBLE),
    "E": _fixed,
    "PI": _fixed,
    "BIN": Function(nv.binary, "I", STRING),
    "HEX": (Function(nv.hexadecimal, "I", STRING), Function(nv.hexadecimal_of_text, "T", STRING)),
    "UNHEX": Function(nv.unhexadecimal, "T", BYTES, nullable=True),
    "GREATEST": _extreme,
    "LEAST": _extreme,
}
