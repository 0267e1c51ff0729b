"""Functions of JSON texts."""

from __future__ import annotations

from collections.abc import Mapping

from anomaly_app.errors import EvaluationError
from anomaly_app.expressions import json_building as b, json_text as jt, json_values as jv, nodes as n
from anomaly_app.expressions.casts import coerce
from anomaly_app.expressions.compiling import Compiler
from anomaly_app.expressions.functions.registry import Entry, Function, arguments, need, shown, untyped_null
from anomaly_app.expressions.json_paths import PathError, parse_path
from anomaly_app.expressions.typed import Code, null_safe
from anomaly_app.schema import (
    BOOLEAN,
    STRING,
    TEXTS,
    DataType,
    Kind,
)

_KINDS = {kind: kind.value for kind in (Kind.INT, Kind.BIGINT, Kind.DOUBLE, Kind.BOOLEAN)}
_KINDS |= {Kind.STRING: "STRING", Kind.VARCHAR: "STRING"}
_BEHAVIOURS = {
    "JSON_VALUE": {"", "NULL", "ERROR", "DEFAULT"},
    "JSON_QUERY": {"", "NULL", "ERROR", "EMPTY ARRAY", "EMPTY OBJECT"},
    "JSON_EXISTS": {"", "TRUE", "FALSE", "UNKNOWN", "ERROR"},
}


def _text_and_path(compiler: Compiler, node: n.Call) -> list[Code]:
    codes = arguments(compiler, node, 2)
    for number, code in enumerate(codes):
        need(compiler, node, number, code, "T")
    path = codes[1].constant
    if path is not None:
        try:
            parse_path(path)
        except EvaluationError as error:
            raise compiler.fail(node.args[1], str(error)) from None
        except PathError:
            pass  # as in Flink: a failure on each row
    return codes


def _clauses(compiler: Compiler, node: n.Call) -> n.JsonClauses:
    clauses = node.json or n.JsonClauses(node.span)
    known = _BEHAVIOURS[node.name]
    for given in (clauses.on_empty, clauses.on_error):
        if given not in known:
            words = ", ".join(sorted(known - {""}))
            raise compiler.fail(clauses, f"{node.name} has no {given} ON …: there are {words}")
    if clauses.wrapper != "WITHOUT" and node.name != "JSON_QUERY":
        raise compiler.fail(clauses, f"only JSON_QUERY has a WRAPPER, not {node.name}")
    return clauses


def _returned(clauses: n.JsonClauses) -> DataType:
    """The type of RETURNING; a VARCHAR without a length is a STRING."""
    type_ = (clauses.returning or STRING).with_nullable(True)
    return STRING if type_.kind is Kind.VARCHAR and type_.precision is None else type_


def _otherwise(compiler: Compiler, behaviour: str, default: n.Node | None, type_: DataType) -> str:
    """Source of what comes instead of a value."""
    if behaviour == "ERROR":
        return compiler.env.constant(jv.FAILS)
    if default is None:
        return "None"
    code = compiler.value(default)
    if code.type.kind is Kind.NULL:
        raise compiler.fail(default, "DEFAULT needs a value: NULL ON … gives NULL")
    target = STRING if type_.kind in TEXTS else type_
    if code.type.kind is not Kind.CHAR and target is STRING:
        converted = compiler.value(n.Cast(default.span, default, STRING, safe=False))
    else:
        converted = coerce(compiler.env, code, target) or code
        if converted is code and code.type.kind is not target.kind and target is not STRING:
            raise compiler.fail(default, f"the default must be {target.with_nullable(True)}, not {shown(code)}")
    return converted.source


def _json_value(compiler: Compiler, node: n.Call) -> Code:
    codes = _text_and_path(compiler, node)
    clauses = _clauses(compiler, node)
    type_ = _returned(clauses)
    if type_.kind not in _KINDS:
        problem = f"JSON_VALUE cannot return {type_}; it can return STRING, BOOLEAN, INT, BIGINT, DOUBLE"
        raise compiler.fail(clauses, f"{problem}: CAST the STRING that it gives")
    on_empty = _otherwise(compiler, clauses.on_empty, clauses.default_on_empty, type_)
    on_error = _otherwise(compiler, clauses.on_error, clauses.default_on_error, type_)
    helper = compiler.env.use(jv.json_value)

    def call(text: str, path: str) -> str:
        return f"{helper}({text}, {path}, {_KINDS[type_.kind]!r}, {on_empty}, {on_error})"

    return null_safe(compiler.env, codes, call, type_, nullable=True)


def _json_query(compiler: Compiler, node: n.Call) -> Code:
    codes = _text_and_path(compiler, node)
    clauses = _clauses(compiler, node)
    type_ = _returned(clauses)
    as_list = (
        type_.kind is Kind.ARRAY and type_.element is not None and type_.element.kind in (Kind.STRING, Kind.VARCHAR)
    )
    if not as_list and type_.kind not in (Kind.STRING, Kind.VARCHAR):
        raise compiler.fail(clauses, f"JSON_QUERY can return STRING and ARRAY<STRING>, not {type_}")
    sources = []
    for behaviour in (clauses.on_empty, clauses.on_error):
        if as_list and behaviour == "EMPTY OBJECT":
            raise compiler.fail(clauses, "an ARRAY<STRING> cannot be an EMPTY OBJECT")
        texts = {"EMPTY ARRAY": "()" if as_list else "'[]'", "EMPTY OBJECT": "'{}'"}
        sources.append(texts.get(behaviour) or _otherwise(compiler, behaviour, None, type_))
    helper = compiler.env.use(jv.json_query)

    def call(text: str, path: str) -> str:
        return f"{helper}({text}, {path}, {clauses.wrapper!r}, {as_list}, {', '.join(sources)})"

    return null_safe(compiler.env, codes, call, type_, nullable=True)


def _json_exists(compiler: Compiler, node: n.Call) -> Code:
    codes = _text_and_path(compiler, node)
    clauses = _clauses(compiler, node)
    if codes[1].constant is None:
        raise compiler.fail(node.args[1], "the path of JSON_EXISTS must be written out, as in '$.user.id'")
    if clauses.on_empty or clauses.returning:
        raise compiler.fail(clauses, "JSON_EXISTS has ON ERROR only")
    behaviour = {"TRUE": "True", "UNKNOWN": "None", "ERROR": compiler.env.constant(jv.FAILS)}
    on_error = behaviour.get(clauses.on_error, "False")
    helper = compiler.env.use(jv.json_exists)
    build = f"{helper}({{}}, {{}}, {on_error})"
    return null_safe(compiler.env, codes, build.format, BOOLEAN, nullable=clauses.on_error == "UNKNOWN")


# --- building ---------------------------------------------------------------------------------------


def _is_built(node: n.Node) -> bool:
    """Whether an expression is JSON already, so that it is not quoted inside of other JSON."""
    if isinstance(node, n.Cast) and node.type.kind is Kind.STRING:
        return _is_built(node.operand)
    return isinstance(node, n.Call) and node.name in ("JSON_OBJECT", "JSON_ARRAY")


def _member(compiler: Compiler, node: n.Call, place: int, *, absent: bool) -> str:
    """Source of the JSON text of a member; ``absent``: None for NULL."""
    arg, env = node.args[place], compiler.env
    if isinstance(arg, n.Call) and arg.name == "JSON":
        (code,) = arguments(compiler, arg, 1)
        need(compiler, arg, 0, code, "T")
        converted = null_safe(env, [code], lambda text: f"{env.use(b.embedded)}({text})", STRING)
    else:
        code = compiler.value(arg)
        if code.type.kind is Kind.NULL:
            raise compiler.fail(arg, untyped_null(node, place, "a value"))
        if _is_built(arg):
            return code.source
        try:
            writer = env.constant(b.writer(code.type))
        except ValueError as error:
            raise compiler.fail(arg, f"{error}: CAST it to STRING") from None
        converted = null_safe(env, [code], lambda value: f"{writer}({value})", STRING)
    if absent or not converted.type.nullable:
        return converted.source
    name = env.temporary()
    return f"('null' if ({name} := {converted.source}) is None else {name})"


def _json_object(compiler: Compiler, node: n.Call) -> Code:
    absent = node.json is not None and node.json.on_null == "ABSENT"
    members = []
    for place in range(0, len(node.args), 2):
        key = compiler.value(node.args[place])
        need(compiler, node, place, key, "T")
        if key.type.nullable:
            raise compiler.fail(node.args[place], "a key of JSON_OBJECT must not be NULL: COALESCE(…, '') is not")
        members.append(f"({key.source}, {_member(compiler, node, place + 1, absent=absent)})")
    return Code(f"{compiler.env.use(b.object_of)}([{', '.join(members)}])", STRING.with_nullable(False))


def _json_array(compiler: Compiler, node: n.Call) -> Code:
    absent = node.json is None or node.json.on_null != "NULL"
    items = [f"{_member(compiler, node, place, absent=absent)}, " for place in range(len(node.args))]
    return Code(f"{compiler.env.use(b.array_of)}(({''.join(items)}))", STRING.with_nullable(False))


def _json_string(compiler: Compiler, node: n.Call) -> Code:
    (code,) = arguments(compiler, node, 1)
    if code.type.kind is Kind.NULL or _is_built(node.args[0]):
        return Code(code.source, STRING.with_nullable(code.type.nullable))
    try:
        writer = compiler.env.constant(b.writer(code.type))
    except ValueError as error:
        raise compiler.fail(node.args[0], f"{error}: CAST it to STRING") from None
    return null_safe(compiler.env, [code], lambda value: f"{writer}({value})", STRING)


def _json(compiler: Compiler, node: n.Call) -> Code:
    raise compiler.fail(node, "JSON(…) stands in JSON_OBJECT(… VALUE JSON(…)) and JSON_ARRAY(JSON(…)) only")


FUNCTIONS: Mapping[str, Entry] = {
    "JSON_VALUE": _json_value,
    "JSON_QUERY": _json_query,
    "JSON_EXISTS": _json_exists,
    "JSON_OBJECT": _json_object,
    "JSON_ARRAY": _json_array,
    "JSON_STRING": _json_string,
    "JSON": _json,
    "JSON_QUOTE": Function(jt.json_quote, "T", STRING),
    "JSON_UNQUOTE": Function(jt.json_unquote, "T", STRING),
}
