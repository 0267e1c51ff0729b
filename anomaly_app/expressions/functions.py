"""The scalar functions: names, types of arguments and results, and the source of a call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from anomaly_app.expressions import nodes as n, text_values as t, time_values as tv, values as v
from anomaly_app.expressions.casts import cast, in_millis
from anomaly_app.expressions.printf import compile_printf
from anomaly_app.expressions.text_values import like_matcher
from anomaly_app.expressions.typed import Code, decimal_type, null_safe
from anomaly_app.schema import (
    APPROXIMATE,
    BIGINT,
    BOOLEAN,
    DOUBLE,
    INT,
    NUMBERS,
    STRING,
    TEXTS,
    TIMESTAMP_3,
    TIMESTAMPS,
    WHOLE_NUMBERS,
    DataType,
    Kind,
)

if TYPE_CHECKING:
    from anomaly_app.expressions.compiler import ExpressionCompiler

__all__ = ["FUNCTIONS", "compile_function", "like_matcher"]

Special: TypeAlias = "Callable[[ExpressionCompiler, n.Call], Code]"


@dataclass(frozen=True, slots=True)
class Simple:
    """A function that is NULL if an argument is, and else calls a helper.

    Args:
        helper: called with the values.
        params: a letter for each argument: T text, I whole number, D double (other numbers are converted); those
            behind ``?`` may be left out, the one before ``*`` may be repeated.
        result: type of the result.
        nullable: the helper may give NULL for arguments that are not.
    """

    helper: Callable[..., Any]
    params: str
    result: DataType
    nullable: bool = False


_WANTED = {"T": TEXTS, "I": WHOLE_NUMBERS, "D": NUMBERS}
_NAMES = {"T": "text", "I": "a whole number", "D": "a number"}


def compile_function(compiler: ExpressionCompiler, node: n.Call) -> Code:
    """Source of a call of a scalar function; an error for a wrong number or type of arguments."""
    function = FUNCTIONS[node.name]
    if not isinstance(function, Simple):
        return function(compiler, node)
    letters = function.params.replace("?", "").replace("*", "")
    least = len(function.params.partition("?")[0].replace("*", ""))
    repeated = "*" in function.params
    if len(node.args) < least or (len(node.args) > len(letters) and not repeated):
        raise compiler.fail(node, _count_problem(node, least, None if repeated else len(letters)))
    codes = []
    for number, arg in enumerate(node.args):
        letter = letters[min(number, len(letters) - 1)]
        code = compiler.value(arg)
        if code.type.kind is Kind.NULL:
            return Code("None", function.result)
        if code.type.kind not in _WANTED[letter]:
            problem = f"argument {number + 1} of {node.name} must be {_NAMES[letter]}, not {_shown(code)}"
            raise compiler.fail(arg, problem)
        if letter == "D" and code.type.kind not in APPROXIMATE:
            code = cast(compiler.env, code, DOUBLE) or code
        codes.append(code)
    helper = compiler.env.use(function.helper)
    return null_safe(
        compiler.env,
        codes,
        lambda *names: f"{helper}({', '.join(names)})",
        function.result,
        nullable=function.nullable,
    )


def _shown(code: Code) -> str:
    return str(code.type.with_nullable(True))


def _count_problem(node: n.Call, least: int, most: int | None) -> str:
    wanted = str(least) if most == least else f"at least {least}" if most is None else f"{least} to {most}"
    return f"{node.name} takes {wanted} argument{'' if wanted == '1' else 's'}, not {len(node.args)}"


def _args(compiler: ExpressionCompiler, node: n.Call, least: int, most: int | None = -1) -> list[Code]:
    most = least if most == -1 else most
    if len(node.args) < least or (most is not None and len(node.args) > most):
        raise compiler.fail(node, _count_problem(node, least, most))
    return [compiler.value(arg) for arg in node.args]


def _need(compiler: ExpressionCompiler, node: n.Call, number: int, code: Code, kinds: frozenset[Kind]) -> None:
    if code.type.kind not in kinds | {Kind.NULL}:
        wanted = "a number" if kinds <= NUMBERS else "text" if kinds <= TEXTS else "a date or time"
        problem = f"argument {number + 1} of {node.name} must be {wanted}, not {_shown(code)}"
        raise compiler.fail(node.args[number], problem)


# --- numbers ----------------------------------------------------------------------------------------


def _abs(compiler: ExpressionCompiler, node: n.Call) -> Code:
    (code,) = _args(compiler, node, 1)
    _need(compiler, node, 0, code, NUMBERS)
    return null_safe(compiler.env, [code], lambda a: f"abs({a})", code.type)


def _sign(compiler: ExpressionCompiler, node: n.Call) -> Code:
    (code,) = _args(compiler, node, 1)
    _need(compiler, node, 0, code, NUMBERS)
    helper = compiler.env.use(v.sign)
    return null_safe(compiler.env, [code], lambda a: f"{helper}({a})", code.type)


def _round(compiler: ExpressionCompiler, node: n.Call) -> Code:
    codes = _args(compiler, node, 1, 2)
    _need(compiler, node, 0, codes[0], NUMBERS)
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
    (code,) = _args(compiler, node, 1)
    up = node.name != "FLOOR"
    if node.words:
        _need(compiler, node, 0, code, TIMESTAMPS | {Kind.DATE})
        unit = _unit(compiler, node, node.words[0])
        helper = compiler.env.use(tv.ceil_time if up else tv.floor_time)
        per_day = _per_day(code.type)
        return null_safe(compiler.env, [code], lambda a: f"{helper}({a}, {unit!r}, {per_day})", code.type)
    _need(compiler, node, 0, code, NUMBERS)
    if code.type.kind in WHOLE_NUMBERS:
        return code
    type_ = code.type if code.type.kind in APPROXIMATE else DataType(Kind.DECIMAL, code.type.precision, 0)
    helper = compiler.env.use(v.ceiling if up else v.floor)
    return null_safe(compiler.env, [code], lambda a: f"{helper}({a})", type_)


def _mod(compiler: ExpressionCompiler, node: n.Call) -> Code:
    _args(compiler, node, 2)
    return compiler.value(n.Binary(node.span, "%", *node.args))


def _extreme(compiler: ExpressionCompiler, node: n.Call) -> Code:
    _args(compiler, node, 1, None)
    codes = compiler.unify(node.args, f"the arguments of {node.name}")
    if len(codes) == 1:
        return codes[0]
    function = "max" if node.name == "GREATEST" else "min"
    return null_safe(compiler.env, codes, lambda *names: f"{function}({', '.join(names)})", codes[0].type)


# --- conditions -------------------------------------------------------------------------------------


def _coalesce(compiler: ExpressionCompiler, node: n.Call) -> Code:
    _args(compiler, node, 1 if node.name == "COALESCE" else 2, None if node.name == "COALESCE" else 2)
    codes = compiler.unify(node.args, f"the arguments of {node.name}")
    source = codes[-1].source
    for code in reversed(codes[:-1]):
        name = compiler.env.temporary()
        source = f"({name} if ({name} := {code.source}) is not None else {source})"
    return Code(source, codes[0].type.with_nullable(all(code.type.nullable for code in codes)))


def _nullif(compiler: ExpressionCompiler, node: n.Call) -> Code:
    _args(compiler, node, 2)
    same = compiler.truth(n.Binary(node.span, "=", *node.args))
    first = compiler.value(node.args[0])
    return Code(f"(None if {same} else {first.source})", first.type.with_nullable(True))


def _if(compiler: ExpressionCompiler, node: n.Call) -> Code:
    _args(compiler, node, 3)
    return compiler.value(n.Case(node.span, None, ((node.args[0], node.args[1]),), node.args[2]))


# --- text -------------------------------------------------------------------------------------------


def _concat(compiler: ExpressionCompiler, node: n.Call) -> Code:
    codes = _args(compiler, node, 1, None)
    for number, code in enumerate(codes):
        _need(compiler, node, number, code, TEXTS)
    return null_safe(compiler.env, codes, lambda *names: f"({' + '.join(names)})", STRING)


def _concat_ws(compiler: ExpressionCompiler, node: n.Call) -> Code:
    codes = _args(compiler, node, 1, None)
    for number, code in enumerate(codes):
        _need(compiler, node, number, code, TEXTS)
    helper = compiler.env.use(t.concat_ws)
    rest = ", ".join(code.source for code in codes[1:])
    return null_safe(compiler.env, codes[:1], lambda a: f"{helper}({a}, {rest})", STRING)


def _trim(compiler: ExpressionCompiler, node: n.Call) -> Code:
    codes = _args(compiler, node, 1, 2)
    for number, code in enumerate(codes):
        _need(compiler, node, number, code, TEXTS)
    where = (node.words[0] if node.words else "") or {"LTRIM": "LEADING", "RTRIM": "TRAILING"}.get(node.name, "BOTH")
    helper = compiler.env.use({"LEADING": t.trim_leading, "TRAILING": t.trim_trailing, "BOTH": t.trim_both}[where])
    return null_safe(compiler.env, codes, lambda *names: f"{helper}({', '.join(names)})", STRING)


# --- time -------------------------------------------------------------------------------------------


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
    (code,) = _args(compiler, node, 1)
    _need(compiler, node, 0, code, TIMESTAMPS | {Kind.DATE, Kind.TIME, Kind.INTERVAL_DAY})
    part = _unit(compiler, node, {"DAYOFWEEK": "DOW", "DAYOFYEAR": "DOY"}.get(word, word))
    helper = compiler.env.use(tv.extract)
    per_day = v.DAY_MS if code.type.kind in (Kind.TIME, Kind.INTERVAL_DAY) else _per_day(code.type)
    return null_safe(compiler.env, [code], lambda a: f"{helper}({a}, {part!r}, {per_day})", BIGINT)


def _date_format(compiler: ExpressionCompiler, node: n.Call) -> Code:
    code, pattern = _args(compiler, node, 2)
    _need(compiler, node, 0, code, TIMESTAMPS | {Kind.DATE} | TEXTS)
    _need(compiler, node, 1, pattern, TEXTS)
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
    codes = _args(compiler, node, 2)
    millis = []
    for number, code in enumerate(codes):
        _need(compiler, node, number, code, TIMESTAMPS | {Kind.DATE})
        converted = code if code.type.kind in TIMESTAMPS and in_millis(code.type) else None
        millis.append(converted or cast(compiler.env, code, TIMESTAMP_3) or code)
    unit = _unit(compiler, node, node.words[0])
    helper = compiler.env.use(tv.difference)
    return null_safe(compiler.env, millis, lambda a, b: f"{helper}({a}, {b}, {unit!r})", INT)


def _timestamp_add(compiler: ExpressionCompiler, node: n.Call) -> Code:
    count, code = _args(compiler, node, 2)
    _need(compiler, node, 0, count, WHOLE_NUMBERS)
    _need(compiler, node, 1, code, TIMESTAMPS | {Kind.DATE})
    unit = _unit(compiler, node, node.words[0])
    helper = compiler.env.use(tv.add)
    per_day = _per_day(code.type)
    return null_safe(compiler.env, [count, code], lambda a, b: f"{helper}({b}, {a}, {unit!r}, {per_day})", code.type)


def _to_timestamp_ltz(compiler: ExpressionCompiler, node: n.Call) -> Code:
    codes = _args(compiler, node, 1, 2)
    _need(compiler, node, 0, codes[0], NUMBERS)
    digits = codes[1].constant if len(codes) == 2 else 3
    if digits not in (0, 3):
        raise compiler.fail(node.args[-1], "the precision of TO_TIMESTAMP_LTZ is 0 (seconds) or 3 (milliseconds)")
    factor = 1000 if digits == 0 else 1
    type_ = DataType(Kind.TIMESTAMP_LTZ, 3)
    return null_safe(compiler.env, codes[:1], lambda a: f"int({a} * {factor})", type_)


def _unix_timestamp(compiler: ExpressionCompiler, node: n.Call) -> Code:
    if not node.args:
        return _clock(compiler, node)
    codes = _args(compiler, node, 1, 2)
    for number, code in enumerate(codes):
        _need(compiler, node, number, code, TEXTS)
    helper = compiler.env.use(tv.unix_timestamp)
    return null_safe(compiler.env, codes, lambda *names: f"{helper}({', '.join(names)})", BIGINT, nullable=True)


def _clock(compiler: ExpressionCompiler, node: n.Call) -> Code:
    problem = f"{node.name} reads the clock: the same rows would give other answers when replayed; use the event time"
    raise compiler.fail(node, problem)


# --- JSON and collections ---------------------------------------------------------------------------


def _json_value(compiler: ExpressionCompiler, node: n.Call) -> Code:
    codes = _args(compiler, node, 2)
    for number, code in enumerate(codes):
        _need(compiler, node, number, code, TEXTS)
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


def _map(compiler: ExpressionCompiler, node: n.Call) -> Code:
    if not node.args or len(node.args) % 2:
        raise compiler.fail(node, "MAP[…] takes keys and values in turn, as in MAP['a', 1, 'b', 2]")
    keys = compiler.unify(node.args[::2], "the keys of MAP")
    values = compiler.unify(node.args[1::2], "the values of MAP")
    type_ = DataType(Kind.MAP, key=keys[0].type, element=values[0].type, nullable=False)
    source = "{" + ", ".join(f"{k.source}: {v.source}" for k, v in zip(keys, values, strict=True)) + "}"
    if all(isinstance(arg, n.Literal) for arg in node.args):
        # Made once: it may hold a threshold for each of many keys.
        made = compiler.env.function("made", f"def made():\n    return {source}")
        source = compiler.env.constant(made())
    return Code(source, type_)


def _cardinality(compiler: ExpressionCompiler, node: n.Call) -> Code:
    (code,) = _args(compiler, node, 1)
    _need(compiler, node, 0, code, frozenset({Kind.ARRAY, Kind.MAP}))
    return null_safe(compiler.env, [code], lambda a: f"len({a})", INT)


FUNCTIONS: dict[str, Simple | Special] = {
    "UPPER": Simple(str.upper, "T", STRING),
    "UCASE": Simple(str.upper, "T", STRING),
    "LOWER": Simple(str.lower, "T", STRING),
    "LCASE": Simple(str.lower, "T", STRING),
    "SUBSTRING": Simple(t.substring, "TI?I", STRING),
    "SUBSTR": Simple(t.substring, "TI?I", STRING),
    "CONCAT": _concat,
    "CONCAT_WS": _concat_ws,
    "PRINTF": compile_printf,
    "TRIM": _trim,
    "BTRIM": _trim,
    "LTRIM": _trim,
    "RTRIM": _trim,
    "REPLACE": Simple(str.replace, "TTT", STRING),
    "REGEXP_REPLACE": Simple(t.regexp_replace, "TTT", STRING),
    "REGEXP_EXTRACT": Simple(t.regexp_extract, "TT?I", STRING, nullable=True),
    "REGEXP": Simple(t.regexp, "TT", BOOLEAN),
    "REGEXP_LIKE": Simple(t.regexp, "TT", BOOLEAN),
    "POSITION": Simple(t.position, "TT", INT),
    "LOCATE": Simple(t.locate, "TT?I", INT),
    "INSTR": Simple(t.instr, "TT", INT),
    "CHAR_LENGTH": Simple(len, "T", INT),
    "CHARACTER_LENGTH": Simple(len, "T", INT),
    "LENGTH": Simple(len, "T", INT),
    "LEFT": Simple(t.left, "TI", STRING),
    "RIGHT": Simple(t.right, "TI", STRING),
    "LPAD": Simple(t.lpad, "TIT", STRING, nullable=True),
    "RPAD": Simple(t.rpad, "TIT", STRING, nullable=True),
    "REPEAT": Simple(t.repeat, "TI", STRING),
    "REVERSE": Simple(t.reverse, "T", STRING),
    "INITCAP": Simple(t.initcap, "T", STRING),
    "SPLIT_INDEX": Simple(t.split_index, "TTI", STRING, nullable=True),
    "STARTSWITH": Simple(str.startswith, "TT", BOOLEAN),
    "ENDSWITH": Simple(str.endswith, "TT", BOOLEAN),
    "MD5": Simple(t.md5, "T", STRING),
    "SHA256": Simple(t.sha256, "T", STRING),
    "ABS": _abs,
    "SIGN": _sign,
    "ROUND": _round,
    "TRUNCATE": _round,
    "FLOOR": _floor,
    "CEIL": _floor,
    "CEILING": _floor,
    "MOD": _mod,
    "SQRT": Simple(v.square_root, "D", DOUBLE),
    "POWER": Simple(v.power, "DD", DOUBLE),
    "EXP": Simple(v.exponential, "D", DOUBLE),
    "LN": Simple(v.logarithm, "D", DOUBLE),
    "LOG10": Simple(v.logarithm_10, "D", DOUBLE),
    "LOG2": Simple(v.logarithm_2, "D", DOUBLE),
    "SIN": Simple(v.sine, "D", DOUBLE),
    "COS": Simple(v.cosine, "D", DOUBLE),
    "GREATEST": _extreme,
    "LEAST": _extreme,
    "COALESCE": _coalesce,
    "IFNULL": _coalesce,
    "NULLIF": _nullif,
    "IF": _if,
    "EXTRACT": _extract,
    **dict.fromkeys(
        ("YEAR", "QUARTER", "MONTH", "WEEK", "DAYOFMONTH", "DAYOFWEEK", "DAYOFYEAR", "HOUR", "MINUTE", "SECOND"),
        _extract,
    ),
    "DATE_FORMAT": _date_format,
    "TO_TIMESTAMP": Simple(tv.to_timestamp, "T?T", TIMESTAMP_3, nullable=True),
    "TO_TIMESTAMP_LTZ": _to_timestamp_ltz,
    "TO_DATE": Simple(tv.to_date, "T?T", DataType(Kind.DATE), nullable=True),
    "UNIX_TIMESTAMP": _unix_timestamp,
    "FROM_UNIXTIME": Simple(tv.from_unixtime, "I?T", STRING),
    "TIMESTAMPDIFF": _timestamp_diff,
    "TIMESTAMPADD": _timestamp_add,
    "JSON_VALUE": _json_value,
    "JSON_EXISTS": _json_value,
    "CARDINALITY": _cardinality,
    "MAP": _map,
    **dict.fromkeys(
        ("CURRENT_TIMESTAMP", "CURRENT_DATE", "CURRENT_TIME", "LOCALTIMESTAMP", "NOW", "PROCTIME", "RAND", "UUID"),
        _clock,
    ),
}
"""Every scalar function by its name."""
