"""Functions of text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from anomaly_app.expressions import nodes as n, text_values as t
from anomaly_app.expressions.functions.registry import Entry, Function, arguments, need
from anomaly_app.expressions.printf import compile_printf
from anomaly_app.expressions.typed import Code, null_safe
from anomaly_app.schema import (
    BOOLEAN,
    INT,
    STRING,
)

if TYPE_CHECKING:
    from anomaly_app.expressions.compiler import ExpressionCompiler


def _concat(compiler: ExpressionCompiler, node: n.Call) -> Code:
    codes = arguments(compiler, node, 1, None)
    for number, code in enumerate(codes):
        need(compiler, node, number, code, "T")
    return null_safe(compiler.env, codes, lambda *names: f"({' + '.join(names)})", STRING)


def _concat_ws(compiler: ExpressionCompiler, node: n.Call) -> Code:
    codes = arguments(compiler, node, 1, None)
    for number, code in enumerate(codes):
        need(compiler, node, number, code, "T")
    helper = compiler.env.use(t.concat_ws)
    rest = ", ".join(code.source for code in codes[1:])
    return null_safe(compiler.env, codes[:1], lambda a: f"{helper}({a}, {rest})", STRING)


def _trim(compiler: ExpressionCompiler, node: n.Call) -> Code:
    codes = arguments(compiler, node, 1, 2)
    for number, code in enumerate(codes):
        need(compiler, node, number, code, "T")
    where = (node.words[0] if node.words else "") or {"LTRIM": "LEADING", "RTRIM": "TRAILING"}.get(node.name, "BOTH")
    helper = compiler.env.use({"LEADING": t.trim_leading, "TRAILING": t.trim_trailing, "BOTH": t.trim_both}[where])
    return null_safe(compiler.env, codes, lambda *names: f"{helper}({', '.join(names)})", STRING)


FUNCTIONS: Mapping[str, Entry] = {
    "UPPER": Function(str.upper, "T", STRING),
    "UCASE": Function(str.upper, "T", STRING),
    "LOWER": Function(str.lower, "T", STRING),
    "LCASE": Function(str.lower, "T", STRING),
    "SUBSTRING": Function(t.substring, "TI?I", STRING),
    "SUBSTR": Function(t.substring, "TI?I", STRING),
    "CONCAT": _concat,
    "CONCAT_WS": _concat_ws,
    "PRINTF": compile_printf,
    "TRIM": _trim,
    "BTRIM": _trim,
    "LTRIM": _trim,
    "RTRIM": _trim,
    "REPLACE": Function(str.replace, "TTT", STRING),
    "REGEXP_REPLACE": Function(t.regexp_replace, "TTT", STRING),
    "REGEXP_EXTRACT": Function(t.regexp_extract, "TT?I", STRING, nullable=True),
    "REGEXP": Function(t.regexp, "TT", BOOLEAN),
    "REGEXP_LIKE": Function(t.regexp, "TT", BOOLEAN),
    "POSITION": Function(t.position, "TT", INT),
    "LOCATE": Function(t.locate, "TT?I", INT),
    "INSTR": Function(t.instr, "TT", INT),
    "CHAR_LENGTH": Function(len, "T", INT),
    "CHARACTER_LENGTH": Function(len, "T", INT),
    "LENGTH": Function(len, "T", INT),
    "LEFT": Function(t.left, "TI", STRING),
    "RIGHT": Function(t.right, "TI", STRING),
    "LPAD": Function(t.lpad, "TIT", STRING, nullable=True),
    "RPAD": Function(t.rpad, "TIT", STRING, nullable=True),
    "REPEAT": Function(t.repeat, "TI", STRING),
    "REVERSE": Function(t.reverse, "T", STRING),
    "INITCAP": Function(t.initcap, "T", STRING),
    "SPLIT_INDEX": Function(t.split_index, "TTI", STRING, nullable=True),
    "STARTSWITH": Function(str.startswith, "TT", BOOLEAN),
    "ENDSWITH": Function(str.endswith, "TT", BOOLEAN),
    "MD5": Function(t.md5, "T", STRING),
    "SHA256": Function(t.sha256, "T", STRING),
}
