"""Functions of JSON texts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from anomaly_app.expressions import nodes as n, text_values as t
from anomaly_app.expressions.casts import cast
from anomaly_app.expressions.functions.registry import Entry, arguments, need
from anomaly_app.expressions.typed import Code, null_safe
from anomaly_app.schema import (
    BIGINT,
    BOOLEAN,
    DOUBLE,
    INT,
    STRING,
)

if TYPE_CHECKING:
    from anomaly_app.expressions.compiler import ExpressionCompiler


def _json_value(compiler: ExpressionCompiler, node: n.Call) -> Code:
    codes = arguments(compiler, node, 2)
    for number, code in enumerate(codes):
        need(compiler, node, number, code, "T")
    path = codes[1].constant
    if not isinstance(path, str):
        raise compiler.fail(node.args[1], "the path must be written out, as in '$.user.id'")
    try:
        steps = t.json_path(path)
    except ValueError as error:
        raise compiler.fail(node.args[1], str(error)) from None
    given = compiler.env.constant(steps)
    if node.name == "JSON_EXISTS":
        exists = compiler.env.use(t.json_exists)
        return null_safe(compiler.env, codes[:1], lambda a: f"{exists}({a}, {given})", BOOLEAN)
    type_ = STRING
    words = " ".join(node.words)
    if words.startswith("RETURNING "):
        known = {"INT": INT, "INTEGER": INT, "BIGINT": BIGINT, "DOUBLE": DOUBLE, "BOOLEAN": BOOLEAN, "STRING": STRING,
                 "VARCHAR": STRING}  # fmt: skip
        word = node.words[1]
        if word not in known:
            raise compiler.fail(node, f"JSON_VALUE cannot return {word}; it can return {', '.join(known)}")
        type_ = known[word]
        words = " ".join(node.words[2:])
    if words and words not in ("NULL ON EMPTY NULL ON ERROR", "NULL ON EMPTY", "NULL ON ERROR"):
        raise compiler.fail(node, f"{words} is not supported: JSON_VALUE gives NULL where there is no value")
    helper = compiler.env.use(t.json_value)
    text = null_safe(compiler.env, codes[:1], lambda a: f"{helper}({a}, {given})", STRING, nullable=True)
    return text if type_ is STRING else (cast(compiler.env, text, type_, safe=True) or text)


FUNCTIONS: Mapping[str, Entry] = {
    "JSON_VALUE": _json_value,
    "JSON_EXISTS": _json_value,
}
