"""Functions with regular expressions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from anomaly_app.errors import EvaluationError
from anomaly_app.expressions import nodes as n, regexp_values as r
from anomaly_app.expressions.compiling import Compiler
from anomaly_app.expressions.functions.registry import Entry, Function, Special, compile_entry
from anomaly_app.expressions.regexp import compiled
from anomaly_app.expressions.typed import Code
from anomaly_app.schema import (
    BOOLEAN,
    INT,
    STRING,
    DataType,
    Kind,
)

_TEXTS = DataType(Kind.ARRAY, element=STRING)


def _with_pattern(function: Function) -> Special:
    """A function whose second argument is an expression, which is compiled once if it is a constant."""

    def compile_it(compiler: Compiler, node: n.Call) -> Code:
        given = compiler.value(node.args[1]).constant if len(node.args) > 1 else None
        if not isinstance(given, str):
            return compile_entry(function, compiler, node)
        try:
            known = compiled(given)
        except EvaluationError as error:
            raise compiler.fail(node.args[1], str(error)) from None
        if known is None or not given:
            return compile_entry(function, compiler, node)
        pattern = compiler.env.constant(known)
        if node.name in ("REGEXP", "REGEXP_LIKE"):
            search = compiler.env.constant(known.search)
            return compile_entry(
                replace(function, source=lambda text, _: f"({search}({text}) is not None)"), compiler, node
            )
        helper = compiler.env.use(function.helper)

        def call(text: str, _: str, *rest: str) -> str:
            return f"{helper}({', '.join([text, pattern, *rest])})"

        return compile_entry(replace(function, source=call), compiler, node)

    return compile_it


FUNCTIONS: Mapping[str, Entry] = {
    "REGEXP": _with_pattern(Function(r.regexp, "TT", BOOLEAN)),
    "REGEXP_LIKE": _with_pattern(Function(r.regexp, "TT", BOOLEAN)),
    "REGEXP_REPLACE": _with_pattern(Function(r.regexp_replace, "TTT", STRING, nullable=True)),
    "REGEXP_EXTRACT": _with_pattern(Function(r.regexp_extract, "TT?I", STRING, nullable=True)),
    "REGEXP_EXTRACT_ALL": _with_pattern(Function(r.regexp_extract_all, "TT?I", _TEXTS, nullable=True)),
    "REGEXP_COUNT": _with_pattern(Function(r.regexp_count, "TT", INT, nullable=True)),
    "REGEXP_INSTR": _with_pattern(Function(r.regexp_instr, "TT", INT, nullable=True)),
    "REGEXP_SUBSTR": _with_pattern(Function(r.regexp_substr, "TT", STRING, nullable=True)),
    "STR_TO_MAP": Function(r.str_to_map, "T?TT", DataType(Kind.MAP, key=STRING, element=STRING)),
}
