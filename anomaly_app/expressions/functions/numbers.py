"""Functions of numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from anomaly_app.expressions import nodes as n, values as v
from anomaly_app.expressions.functions.registry import Entry, Function, arguments, need
from anomaly_app.expressions.functions.time import compile_floor_to
from anomaly_app.expressions.typed import Code, decimal_type, null_safe
from anomaly_app.schema import (
    APPROXIMATE,
    DOUBLE,
    WHOLE_NUMBERS,
    DataType,
    Kind,
)

if TYPE_CHECKING:
    from anomaly_app.expressions.compiler import ExpressionCompiler


def _abs(compiler: ExpressionCompiler, node: n.Call) -> Code:
    (code,) = arguments(compiler, node, 1)
    need(compiler, node, 0, code, "N")
    return null_safe(compiler.env, [code], lambda a: f"abs({a})", code.type)


def _sign(compiler: ExpressionCompiler, node: n.Call) -> Code:
    (code,) = arguments(compiler, node, 1)
    need(compiler, node, 0, code, "N")
    helper = compiler.env.use(v.sign)
    return null_safe(compiler.env, [code], lambda a: f"{helper}({a})", code.type)


def _round(compiler: ExpressionCompiler, node: n.Call) -> Code:
    codes = arguments(compiler, node, 1, 2)
    need(compiler, node, 0, codes[0], "N")
    digits = 0
    if len(codes) == 2:
        constant = codes[1].constant
        if not isinstance(constant, int) or isinstance(constant, bool):
            raise compiler.fail(node.args[1], f"the digits of {node.name} must be a whole number written out")
        digits = constant
    type_ = codes[0].type
    up = node.name == "ROUND"
    if type_.kind is Kind.DECIMAL:
        assert type_.precision is not None and type_.scale is not None
        if digits < type_.scale:
            scale = max(digits, 0)
            type_ = decimal_type(type_.precision - type_.scale + scale + int(up), scale)
    helper = compiler.env.use(v.rounded if up else v.truncated)
    target = compiler.env.constant(type_.kind)
    return null_safe(compiler.env, codes[:1], lambda a: f"{helper}({a}, {digits}, {target})", type_)


def _floor(compiler: ExpressionCompiler, node: n.Call) -> Code:
    if node.words:
        return compile_floor_to(compiler, node)
    (code,) = arguments(compiler, node, 1)
    up = node.name != "FLOOR"
    need(compiler, node, 0, code, "N")
    if code.type.kind in WHOLE_NUMBERS:
        return code
    type_ = code.type if code.type.kind in APPROXIMATE else DataType(Kind.DECIMAL, code.type.precision, 0)
    helper = compiler.env.use(v.ceiling if up else v.floor)
    return null_safe(compiler.env, [code], lambda a: f"{helper}({a})", type_)


def _mod(compiler: ExpressionCompiler, node: n.Call) -> Code:
    arguments(compiler, node, 2)
    return compiler.value(n.Binary(node.span, "%", *node.args))


def _extreme(compiler: ExpressionCompiler, node: n.Call) -> Code:
    arguments(compiler, node, 1, None)
    codes = compiler.unify(node.args, f"the arguments of {node.name}")
    if len(codes) == 1:
        return codes[0]
    function = "max" if node.name == "GREATEST" else "min"
    return null_safe(compiler.env, codes, lambda *names: f"{function}({', '.join(names)})", codes[0].type)


FUNCTIONS: Mapping[str, Entry] = {
    "ABS": _abs,
    "SIGN": _sign,
    "ROUND": _round,
    "TRUNCATE": _round,
    "FLOOR": _floor,
    "CEIL": _floor,
    "CEILING": _floor,
    "MOD": _mod,
    "SQRT": Function(v.square_root, "D", DOUBLE),
    "POWER": Function(v.power, "DD", DOUBLE),
    "EXP": Function(v.exponential, "D", DOUBLE),
    "LN": Function(v.logarithm, "D", DOUBLE),
    "LOG10": Function(v.logarithm_10, "D", DOUBLE),
    "LOG2": Function(v.logarithm_2, "D", DOUBLE),
    "SIN": Function(v.sine, "D", DOUBLE),
    "COS": Function(v.cosine, "D", DOUBLE),
    "GREATEST": _extreme,
    "LEAST": _extreme,
}
