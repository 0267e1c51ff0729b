"""JSON functions: values that a real Flink 2.3 gave, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from anomaly_app import AnomalyError, Rows, query
from anomaly_app.expressions.json_paths import MissingError, PathError, parse_path

COLUMNS = [("j", "STRING"), ("i", "INT"), ("x", "DOUBLE"), ("nul", "STRING"), ("ts", "TIMESTAMP(3)"),
           ("m", "MAP<STRING, INT>"), ("r", "ROW<b INT, a STRING>"), ("p", "STRING")]  # fmt: skip
J = '{"a": [{"v": 1}, {"v": 2}], "s": "x", "n": null, "d": 1.50, "e": 1e3, "o": {"k": true, "b": 2}, "a.b": 4}'


def one(expression: str, j: str | None = J) -> Any:
    row = (j, 7, 1e20, None, "2020-01-01 10:11:12.120", {"b": 1, "a": None}, (1, "ä"), "$.s")
    ((value,),) = query(f"SELECT {expression} FROM t", {"t": Rows(COLUMNS, [row])}).rows
    return value


@pytest.mark.parametrize(
    ("call", "value"),
    [
        ("JSON_VALUE(j, '$.d')", "1.50"),
        ("JSON_VALUE(j, '$.e')", "1E+3"),
        ("JSON_VALUE(j, p)", "x"),
        ("JSON_VALUE(j, 's')", "x"),
        ("JSON_VALUE(j, '$[\"a.b\"]')", "4"),
        ("JSON_VALUE(j, '$.a[-1].v')", "2"),
        ("JSON_VALUE(j, '$.a.length()')", "2"),
        ("JSON_VALUE(j, '$.')", None),
        ("JSON_VALUE(j, '$.a')", None),
        ("JSON_VALUE(j, '$.n' DEFAULT 'd' ON ERROR)", "d"),
        ("JSON_VALUE(j, '$.zzz' DEFAULT 'd' ON EMPTY)", None),
        ("JSON_VALUE(j, 'lax $.zzz' DEFAULT 'd' ON EMPTY)", "d"),
        ("JSON_VALUE(j, 'lax $.a' DEFAULT 'd' ON EMPTY DEFAULT 'e' ON ERROR)", "d"),
        ("JSON_VALUE(nul, '$.a' DEFAULT 'd' ON ERROR)", None),
        ("JSON_VALUE('null', 'lax $' DEFAULT 'd' ON EMPTY DEFAULT 'e' ON ERROR)", "e"),
        ("JSON_VALUE('broken', 'lax $' DEFAULT 'd' ON EMPTY DEFAULT 'e' ON ERROR)", "d"),
        ("JSON_VALUE('{\"a\":01}', '$.a')", None),
        ("JSON_VALUE('12x', '$')", None),
        ("JSON_VALUE('{\"a\":1} trailing', '$.a')", "1"),
        ("JSON_VALUE(j, '$.a[0].v' RETURNING INT NULL ON EMPTY NULL ON ERROR)", 1),
        ("JSON_VALUE(j, '$.d' RETURNING DOUBLE)", 1.5),
        ("JSON_VALUE(j, '$.o.k' RETURNING BOOLEAN)", True),
        ("JSON_VALUE(j, '$.zzz' RETURNING INT DEFAULT 7 ON ERROR)", 7),
        ("JSON_EXISTS(j, '$.n')", False),
        ("JSON_EXISTS(j, '$.zzz' TRUE ON ERROR)", True),
        ("JSON_EXISTS(j, '$.zzz' UNKNOWN ON ERROR)", None),
        ("JSON_EXISTS(j, 'lax $.zzz' TRUE ON ERROR)", False),
        ("JSON_EXISTS(j, '$.s[*].v')", True),
        ("JSON_EXISTS(j, '$..nothing')", True),
        ("JSON_QUERY(j, '$.o')", '{"b":2,"k":true}'),
        ("JSON_QUERY(j, '$.a[*].v')", "[1,2]"),
        ("JSON_QUERY(j, '$.a[?(@.v > 1)].v')", "[2]"),
        ("JSON_QUERY(j, '$..v')", "[1,2]"),
        ("JSON_QUERY(j, '$.a[0:1]')", '[{"v":1}]'),
        ("JSON_QUERY(j, '$[\"s\",\"d\"]')", '{"d":1.50,"s":"x"}'),
        ("JSON_QUERY(j, '$.s')", None),
        ("JSON_QUERY(j, '$.s' WITH WRAPPER)", '["x"]'),
        ("JSON_QUERY(j, '$.a' WITH CONDITIONAL ARRAY WRAPPER)", '[{"v":1},{"v":2}]'),
        ("JSON_QUERY(j, '$.a[*].v' WITH UNCONDITIONAL WRAPPER)", "[[1,2]]"),
        ("JSON_QUERY(j, '$.zzz' EMPTY OBJECT ON ERROR)", "{}"),
        ("JSON_QUERY(j, 'lax $.s' EMPTY ARRAY ON EMPTY)", "[]"),
        ("JSON_QUERY(j, '$.a' RETURNING ARRAY<STRING>)", ['{"v":1}', '{"v":2}']),
        ("j IS JSON OBJECT", True),
        ("nul IS NOT JSON", True),
        ("'1' IS JSON SCALAR AND NOT '[1]' IS JSON SCALAR", True),
    ],
)  # fmt: skip
def test_reading(call: str, value: Any) -> None:
    assert one(call) == value


@pytest.mark.parametrize(
    ("call", "value"),
    [
        ("JSON_OBJECT('z' VALUE i, KEY 'a' VALUE x, 'a': nul)", '{"a":null,"z":7}'),
        ("JSON_OBJECT('a' VALUE nul, 'b' VALUE 'q\"' ABSENT ON NULL)", '{"b":"q\\""}'),
        ("JSON_OBJECT()", "{}"),
        ("JSON_OBJECT('a' VALUE JSON_ARRAY(i, nul), 'b' VALUE JSON(' {\"y\": 1.50, \"x\": 2}'))",
         '{"a":[7],"b":{"x":2,"y":1.50}}'),
        ("JSON_ARRAY(nul, x NULL ON NULL)", "[null,1.0E+20]"),
        ("JSON_ARRAY()", "[]"),
        ("JSON_STRING(m)", '{"a":null,"b":1}'),
        ("JSON_STRING(r)", '{"a":"ä","b":1}'),
        ("JSON_STRING(ts)", '"2020-01-01T10:11:12.12"'),
        ("JSON_STRING(CAST(1e-5 AS DOUBLE))", "0.000010"),
        ("JSON_STRING(CAST('NaN' AS DOUBLE))", '"NaN"'),
        ("JSON_STRING(NULL)", None),
        ("JSON_QUOTE('ä/\"')", '"\\u00e4\\/\\""'),
        ("JSON_UNQUOTE('\"a\\u00e4\\n\"')", "aä\n"),
        ("JSON_UNQUOTE('\"bad\\q\"')", '"bad\\q"'),
    ],
)  # fmt: skip
def test_building(call: str, value: Any) -> None:
    assert one(call) == value


@pytest.mark.parametrize(
    ("call", "words"),
    [
        ("JSON_VALUE(j, '$.zzz' ERROR ON ERROR)", "the result of JSON_VALUE is an error"),
        ("JSON_QUERY(j, 'lax $.zzz' ERROR ON EMPTY)", "the result of JSON_QUERY is empty"),
        ("JSON_VALUE(j, '$.s' RETURNING DATE)", "CAST the STRING"),
        ("JSON_VALUE(j, '$.s' TRUE ON ERROR)", "there are DEFAULT, ERROR, NULL"),
        ("JSON_VALUE(j, '$.s' DEFAULT NULL ON ERROR)", "DEFAULT needs a value"),
        ("JSON_EXISTS(j, p)", "must be written out"),
        ("JSON_QUERY(j, '$.a[?(@.w)]')", "must compare"),
        ("JSON_QUERY(j, '$.a.keys()')", "only length"),
        ("JSON_QUERY(j, '$.a' KEEP QUOTES)", "expected NULL, ERROR, DEFAULT"),
        ("JSON_OBJECT(nul VALUE 1)", "must not be NULL"),
        ("JSON_OBJECT('a' VALUE NULL)", "a bare NULL has no type"),
        ("JSON_OBJECT('a' VALUE DATE '2020-01-01')", "has no form in JSON"),
        ("JSON_STRING(MAP[1, 'x'])", "has no form in JSON"),
        ("JSON_OBJECT('a' VALUE JSON('{'))", "no JSON"),
        ("JSON('{}')", "stands in JSON_OBJECT"),
        ("i IS JSON", "IS JSON needs text"),
        ("i IS BOOLEAN", "expected NULL, TRUE, FALSE, UNKNOWN, JSON"),
    ],
)
def test_refusals_say_why(call: str, words: str) -> None:
    with pytest.raises(AnomalyError, match=words):
        one(call)


@pytest.mark.parametrize("path", ["", "$.", "$a", " $.a", "$.a b", "$. a", "$[", "$[]", "$['a", "$.a]", "$..", "$.a."])
def test_no_paths(path: str) -> None:
    with pytest.raises(PathError):
        parse_path(path)


def test_steps_on_what_does_not_have_them() -> None:
    for path in ("$.b", "$.a.b", "$[0]", "$.a[7]", "$.a[-7]", "$.a.b[*]", "$['x','y'].z"):
        with pytest.raises(MissingError):
            parse_path(path).follow({"a": [1]})
    assert parse_path("$.*.b").follow({"x": {"b": 1}, "y": 2}) == [1]
    assert parse_path("$[?(@.b >= 1 && @.b < 3 || @.c == 'x')]").follow([{"b": 2}, {"b": 3}, {"c": "x"}]) == [
        {"b": 2},
        {"c": "x"},
    ]


def test_what_the_engine_does_in_corners_of_paths() -> None:
    assert one("JSON_QUERY(j, 'lax $.zzz[*].v')") == "[]"
    assert one("JSON_QUERY(j, '$.zzz[*].v')") is None
    assert one("JSON_QUERY('[1,2,3,4]', '$[1:-1]')") == "[]"
    assert one("JSON_QUERY('[1,2,3,4]', '$[:-2]')") == "[1,2]"
    assert one("JSON_QUERY('[1,2,3,4]', '$[-2:-1]')") == "[3]"
    assert one("""JSON_QUERY('[{"a":1},{"b":2}]', '$[?(@.a != 5)]')""") == '[{"a":1},{"b":2}]'
    assert one("""JSON_QUERY('[{"a":"1"},{"a":true}]', '$[?(@.a == 1)]')""") == '[{"a":"1"}]'


def test_deeply_nested_json_is_none() -> None:
    assert one("j IS JSON", "[" * 100_000) is False
