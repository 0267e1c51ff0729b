"""Functions of text."""

from __future__ import annotations

from collections.abc import Mapping

from anomaly_app.expressions import nodes as n, text_values as t
from anomaly_app.expressions.compiling import Compiler
from anomaly_app.expressions.functions.registry import (
    Entry,
    Function,
    arguments,
    compile_entry,
    need,
    need_kinds,
    null_if_bare,
)
from anomaly_app.expressions.printf import compile_printf
from anomaly_app.expressions.typed import Code, common_type, null_safe
from anomaly_app.schema import (
    BOOLEAN,
    INT,
    NUMBERS,
    STRING,
    TEXTS,
    WHOLE_NUMBERS,
    DataType,
    Kind,
)


def _concat(compiler: Compiler, node: n.Call) -> Code:
    codes = arguments(compiler, node, 1, None)
    for number, code in enumerate(codes):
        need(compiler, node, number, code, "T")
    return null_safe(compiler.env, codes, lambda *names: f"({' + '.join(names)})", STRING)


def _concat_ws(compiler: Compiler, node: n.Call) -> Code:
    codes = arguments(compiler, node, 1, None)
    for number, code in enumerate(codes):
        need(compiler, node, number, code, "T")
    helper = compiler.env.use(t.concat_ws)
    rest = ", ".join(code.source for code in codes[1:])
    return null_safe(compiler.env, codes[:1], lambda a: f"{helper}({a}, {rest})", STRING)


def _trim(compiler: Compiler, node: n.Call) -> Code:
    codes = arguments(compiler, node, 1, 2)
    for number, code in enumerate(codes):
        need(compiler, node, number, code, "T")
    where = (node.words[0] if node.words else "") or {"LTRIM": "LEADING", "RTRIM": "TRAILING"}.get(node.name, "BOTH")
    helper = compiler.env.use({"LEADING": t.trim_leading, "TRAILING": t.trim_trailing, "BOTH": t.trim_both}[where])
    return null_safe(compiler.env, codes, lambda *names: f"{helper}({', '.join(names)})", STRING)


_split = null_if_bare(Function(t.split, "TT", DataType(Kind.ARRAY, element=STRING)))


def _elt(compiler: Compiler, node: n.Call) -> Code:
    codes = arguments(compiler, node, 2, None)
    need_kinds(compiler, node, 0, codes[0], frozenset({Kind.INT}), "an INT")
    if isinstance(codes[0].constant, int) and codes[0].constant < 0:
        raise compiler.fail(node.args[0], "the index of ELT is counted from 1")
    for place, code in enumerate(codes[1:], start=1):
        need(compiler, node, place, code, "T")
    helper = compiler.env.use(t.elt)
    rest = ", ".join(code.source for code in codes[1:])
    type_ = common_type(code.type for code in codes[1:]) or STRING
    return null_safe(compiler.env, codes[:1], lambda a: f"{helper}({a}, {rest})", type_, nullable=True)


def _translate(compiler: Compiler, node: n.Call) -> Code:
    codes = arguments(compiler, node, 3)
    for place, code in enumerate(codes):
        need(compiler, node, place, code, "T")
    helper = compiler.env.use(t.translate)
    rest = ", ".join(code.source for code in codes[1:])
    return null_safe(compiler.env, codes[:1], lambda a: f"{helper}({a}, {rest})", STRING)


_REPLACE = Function(t.replace, "TTT", STRING)
_REPLACE_PART = Function(str.replace, "TTT", STRING, source=lambda text, old, new: f"{text}.replace({old}, {new})")


def _replace(compiler: Compiler, node: n.Call) -> Code:
    part = compiler.value(node.args[1]).constant if len(node.args) > 1 else None
    return compile_entry(_REPLACE_PART if part else _REPLACE, compiler, node)


_NUMBERS_THAT_PASS = {"IS_ALPHA": frozenset(), "IS_DIGIT": WHOLE_NUMBERS, "IS_DECIMAL": NUMBERS - {Kind.DECIMAL}}
_TESTS = {"IS_ALPHA": t.is_alpha, "IS_DIGIT": t.is_digit, "IS_DECIMAL": t.is_decimal}


def _is_made_of(compiler: Compiler, node: n.Call) -> Code:
    (code,) = arguments(compiler, node, 1)
    need_kinds(compiler, node, 0, code, TEXTS | NUMBERS, "text or a number")
    never_null = BOOLEAN.with_nullable(False)
    if code.type.kind in NUMBERS:  # Flink looks at the type alone
        return Code(repr(code.type.kind in _NUMBERS_THAT_PASS[node.name]), never_null)
    helper = compiler.env.use(_TESTS[node.name])
    if not code.type.nullable:
        return Code(f"{helper}({code.source})", never_null)
    name = compiler.env.temporary()
    return Code(f"(False if ({name} := {code.source}) is None else {helper}({name}))", never_null)


FUNCTIONS: Mapping[str, Entry] = {
    "UPPER": Function(str.upper, "T", STRING),
    "UCASE": Function(str.upper, "T", STRING),
    "LOWER": Function(str.lower, "T", STRING),
    "LCASE": Function(str.lower, "T", STRING),
    "SUBSTRING": Function(t.substring, "TI?I", STRING, nullable=True),
    "SUBSTR": Function(t.substring, "TI?I", STRING, nullable=True),
    "CONCAT": _concat,
    "CONCAT_WS": _concat_ws,
    "PRINTF": compile_printf,
    "TRIM": _trim,
    "BTRIM": _trim,
    "LTRIM": _trim,
    "RTRIM": _trim,
    "REPLACE": _replace,
    "POSITION": Function(t.position, "TT", INT),
    "LOCATE": Function(t.locate, "TT?I", INT),
    "INSTR": Function(t.instr, "TT?II", INT),
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
    "SPLIT_INDEX": tuple(Function(t.split_index, f"T{letter}I", STRING, nullable=True) for letter in "TI"),
    "STARTSWITH": null_if_bare(Function(str.startswith, "TT", BOOLEAN)),
    "ENDSWITH": null_if_bare(Function(str.endswith, "TT", BOOLEAN)),
    "SPLIT": _split,
    "ELT": _elt,
    "OVERLAY": Function(t.overlay, "TTI?I", STRING),
    "TRANSLATE": _translate,
    "TRANSLATE3": _translate,
    **dict.fromkeys(("IS_ALPHA", "IS_DIGIT", "IS_DECIMAL"), _is_made_of),
}
