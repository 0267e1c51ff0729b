"""Functions of ARRAY, MAP and ROW, and their constructors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from anomaly_app.expressions import collection_values as c, nodes as n
from anomaly_app.expressions.casts import coerce
from anomaly_app.expressions.compiling import Compiler
from anomaly_app.expressions.functions.registry import (
    Entry,
    Function,
    Special,
    arguments,
    need,
    need_kinds,
    null_if_bare,
    shown,
)
from anomaly_app.expressions.typed import Code, common_type, guarded, null_safe
from anomaly_app.schema import (
    BOOLEAN,
    INT,
    STRING,
    TEXTS,
    DataType,
    Kind,
)

_NO_ORDER = frozenset({Kind.ARRAY, Kind.MAP, Kind.ROW, Kind.BOOLEAN})


def _first(types: Sequence[DataType]) -> DataType:
    return types[0]


def _element(types: Sequence[DataType]) -> DataType:
    """Type of the elements of the array that is the first argument."""
    return _inside(types[0].element)


def _inside(type_: DataType | None) -> DataType:
    if type_ is None:
        raise ValueError("an array or map without a type of its elements")
    return type_


# --- constructors -----------------------------------------------------------------------------------


def _made_once(compiler: Compiler, node: n.Call, source: str) -> str:
    """Source of a collection, which is made once if it holds literals only: it may be a large table."""
    if not all(isinstance(arg, n.Literal) for arg in node.args):
        return source
    made = compiler.env.function("made", f"def made():\n    return {source}")
    return compiler.env.constant(made())


def _unified(compiler: Compiler, node: n.Call, parts: Sequence[n.Node], what: str) -> list[Code]:
    codes = compiler.unify(parts, what)
    if all(code.type.kind is Kind.NULL for code in codes):
        raise compiler.fail(node, f"{what} have no type: write CAST(NULL AS …)")
    return codes


def _common(codes: Sequence[Code]) -> DataType:
    return _inside(common_type(code.type for code in codes))


def _array(compiler: Compiler, node: n.Call) -> Code:
    if not node.args:
        raise compiler.fail(node, "ARRAY[…] has at least one element; CAST(NULL AS ARRAY<…>) is none")
    codes = _unified(compiler, node, node.args, "the elements of ARRAY")
    source = f"[{', '.join(code.source for code in codes)}]"
    type_ = DataType(Kind.ARRAY, element=_common(codes), nullable=False)
    return Code(_made_once(compiler, node, source), type_)


def _map(compiler: Compiler, node: n.Call) -> Code:
    if not node.args or len(node.args) % 2:
        raise compiler.fail(node, "MAP[…] takes keys and values in turn, as in MAP['a', 1, 'b', 2]")
    keys = _unified(compiler, node, node.args[::2], "the keys of MAP")
    values = _unified(compiler, node, node.args[1::2], "the values of MAP")
    type_ = DataType(Kind.MAP, key=_common(keys), element=_common(values), nullable=False)
    source = "{" + ", ".join(f"{k.source}: {v.source}" for k, v in zip(keys, values, strict=True)) + "}"
    return Code(_made_once(compiler, node, source), type_)


def _row(compiler: Compiler, node: n.Call) -> Code:
    codes = arguments(compiler, node, 1, None)
    for place, code in enumerate(codes):
        need(compiler, node, place, code, "A")
    fields = tuple((f"EXPR${place}", code.type) for place, code in enumerate(codes))
    source = f"({''.join(f'{code.source}, ' for code in codes)})"
    return Code(source, DataType(Kind.ROW, fields=fields, nullable=False))


# --- arrays -----------------------------------------------------------------------------------------


def _with_item(helper: Callable[..., Any], result: DataType | None = None, *, nullable: bool = True) -> Entry:
    """A function of an array and a value like its elements, which may be NULL.

    Args:
        helper: called with the array and the value.
        result: type of the result; that of the array if None.
        nullable: False: the value NULL makes the result NULL.
    """

    def compile_it(compiler: Compiler, node: n.Call) -> Code:
        array, item = arguments(compiler, node, 2)
        need(compiler, node, 0, array, "L")
        element = _inside(array.type.element)
        if item.type.kind is Kind.NULL:
            item = Code("None", element.with_nullable(True))
        common = common_type([element, item.type])
        if common is None or (common.kind is not element.kind and common.kind not in TEXTS):
            elements = element.with_nullable(True)
            problem = f"argument 2 of {node.name} must be like the elements, {elements}, not {shown(item)}"
            raise compiler.fail(node.args[1], f"{problem}: CAST it")
        converted = item if element.kind in TEXTS else coerce(compiler.env, item, common) or item
        type_ = result or DataType(Kind.ARRAY, element=element.with_nullable(element.nullable or item.type.nullable))
        if not nullable:
            name = compiler.env.use(helper)
            return null_safe(compiler.env, [array, converted], lambda a, b: f"{name}({a}, {b})", type_)
        tests, (name,) = guarded(compiler.env, [array])
        source = f"{compiler.env.use(helper)}({name}, {converted.source})"
        source = f"(None if {tests[0]} else {source})" if tests else source
        return Code(source, type_.with_nullable(bool(tests)))

    return compile_it


def _alike(helper: Callable[..., Any], letter: str, least: int, most: int | None) -> Entry:
    """A function of arrays or maps of one type."""

    def compile_it(compiler: Compiler, node: n.Call) -> Code:
        for place, code in enumerate(arguments(compiler, node, least, most)):
            need(compiler, node, place, code, letter)
        codes = compiler.unify(node.args, f"the arguments of {node.name}")
        name = compiler.env.use(helper)
        return null_safe(compiler.env, codes, lambda *names: f"{name}({', '.join(names)})", _common(codes))

    return compile_it


def _ordered(function: Function) -> Special:
    """A function of an array whose elements have an order."""
    form = null_if_bare(function)

    def compile_it(compiler: Compiler, node: n.Call) -> Code:
        if node.args:
            array = compiler.value(node.args[0])
            if array.type.element is not None and array.type.element.kind in _NO_ORDER:
                raise compiler.fail(node.args[0], f"the elements of {shown(array)} have no order")
        return form(compiler, node)

    return compile_it


def _join(compiler: Compiler, node: n.Call) -> Code:
    codes = arguments(compiler, node, 2, 3)
    need(compiler, node, 0, codes[0], "L")
    if _inside(codes[0].type.element).kind not in TEXTS:
        problem = f"ARRAY_JOIN joins an ARRAY<STRING>, not {shown(codes[0])}"
        raise compiler.fail(node.args[0], f"{problem}: CAST it to ARRAY<STRING>")
    return _JOIN(compiler, node)


_JOIN = null_if_bare(Function(c.join, "LT?T", STRING))


# --- maps -------------------------------------------------------------------------------------------


def _cardinality(compiler: Compiler, node: n.Call) -> Code:
    (code,) = arguments(compiler, node, 1)
    need_kinds(compiler, node, 0, code, frozenset({Kind.ARRAY, Kind.MAP}), "an ARRAY or a MAP")
    return null_safe(compiler.env, [code], lambda a: f"len({a})", INT)


def _keys(types: Sequence[DataType]) -> DataType:
    return DataType(Kind.ARRAY, element=_inside(types[0].key))


def _values(types: Sequence[DataType]) -> DataType:
    return DataType(Kind.ARRAY, element=_element(types))


def _entries(types: Sequence[DataType]) -> DataType:
    fields = (("key", _inside(types[0].key)), ("value", _element(types)))
    return DataType(Kind.ARRAY, element=DataType(Kind.ROW, fields=fields))


def _map_of(types: Sequence[DataType]) -> DataType:
    return DataType(Kind.MAP, key=_element(types), element=_element(types[1:]))


FUNCTIONS: Mapping[str, Entry] = {
    "ARRAY": _array,
    "MAP": _map,
    "ROW": _row,
    "CARDINALITY": _cardinality,
    "ELEMENT": Function(c.only, "L", _element, nullable=True),
    "ARRAY_APPEND": _with_item(c.append),
    "ARRAY_PREPEND": _with_item(c.prepend),
    "ARRAY_CONTAINS": _with_item(c.contains, BOOLEAN),
    "ARRAY_POSITION": _with_item(c.position, INT, nullable=False),
    "ARRAY_REMOVE": _with_item(c.remove),
    "ARRAY_CONCAT": _alike(c.concat, "L", 1, None),
    "ARRAY_UNION": _alike(c.union, "L", 2, 2),
    "ARRAY_EXCEPT": _alike(c.difference, "L", 2, 2),
    "ARRAY_INTERSECT": _alike(c.intersect, "L", 2, 2),
    "ARRAY_DISTINCT": Function(c.distinct, "L", _first),
    "ARRAY_JOIN": _join,
    "ARRAY_MAX": _ordered(Function(c.greatest, "L", _element, nullable=True)),
    "ARRAY_MIN": _ordered(Function(c.smallest, "L", _element, nullable=True)),
    "ARRAY_SORT": _ordered(Function(c.arranged, "L?BB", _first)),
    "ARRAY_REVERSE": Function(c.backwards, "L", _first),
    "ARRAY_SLICE": null_if_bare(Function(c.part, "LI?I", _first)),
    "MAP_KEYS": Function(c.keys, "M", _keys),
    "MAP_VALUES": Function(c.values, "M", _values),
    "MAP_ENTRIES": Function(c.pairs, "M", _entries),
    "MAP_UNION": _alike(c.merged, "M", 1, None),
    "MAP_FROM_ARRAYS": Function(c.from_arrays, "LL", _map_of),
}
