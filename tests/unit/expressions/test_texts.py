"""Text, regexp, bytes and digests: values that a real Flink 2.3 gave, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from anomaly_app import AnomalyError, Rows, SqlValidationError, query
from anomaly_app.errors import EvaluationError
from anomaly_app.expressions.regexp import compiled

COLUMNS = [("s", "STRING"), ("n", "INT"), ("nul", "STRING"), ("bs", "BYTES"), ("d", "DECIMAL(10, 3)")]


def one(expression: str, s: str | None = "hello world", n: int | None = 3) -> Any:
    rows = Rows(COLUMNS, [(s, n, None, b"\xc3\xa4", None)])
    ((value,),) = query(f"SELECT {expression} FROM t", {"t": rows}).rows
    return value


@pytest.mark.parametrize(
    ("call", "value"),
    [
        ("SUBSTRING(s, 0)", "hello world"),
        ("SUBSTRING(s, -5, 3)", "wor"),
        ("SUBSTRING(s, -100, 5)", ""),
        ("SUBSTRING(s, 1, -1)", None),
        ("INSTR(s, 'o', -1)", 8),
        ("INSTR(s, 'o', -5)", 5),
        ("INSTR(s, 'o', 1, 2)", 8),
        ("INSTR(s, '', -1)", 12),
        ("INSTR('aaaa', 'aa', -1, 2)", 2),
        ("INSTR('abcabc', 'abc', -3)", 1),
        ("INSTR('abcabc', 'abc', -5)", 0),
        ("IS_DECIMAL(CAST(n AS DOUBLE))", True),
        ("LOCATE('', s, 100)", 1),
        ("LOCATE('o', s, -1)", 5),
        ("LPAD(s, -1, '*')", None),
        ("LPAD('a😀b', 6, 'xy')", "xya😀b"),
        ("LPAD('a😀b', 2, '*')", "a?"),
        ("RPAD('😀', 5, '😀')", "😀😀?"),
        ("OVERLAY(s PLACING 'XX' FROM 2)", "hXXlo world"),
        ("OVERLAY(s PLACING 'XX' FROM 2 FOR 0)", "hXX"),
        ("OVERLAY(s PLACING 'XX' FROM 0)", "hello world"),
        ("TRANSLATE(s, 'lo', 'x')", "hexx wrxd"),
        ("TRANSLATE(s, 'l', nul)", "heo word"),
        ("SPLIT(s, 'o')", ["hell", " w", "rld"]),
        ("SPLIT('ab', '')", ["a", "b"]),
        ("SPLIT(s, NULL)", None),
        ("SPLIT_INDEX('', ',', 0)", None),
        ("SPLIT_INDEX('a b', '', 1)", "b"),
        ("SPLIT_INDEX(s, 111, 1)", " w"),
        ("ELT(2, s, nul, 'x')", None),
        ("ELT(9, s)", None),
        ("INITCAP('straße 2ND o''neil')", "StraßE 2nd O'Neil"),
        ("IS_DECIMAL(' 1e3')", True),
        ("IS_DECIMAL(d)", False),
        ("IS_DIGIT(n)", True),
        ("IS_ALPHA(nul)", False),
        ("ASCII('ä')", -61),
        ("CHR(353)", "a"),
        ("CHR(-1)", ""),
        ("BIN(n)", "11"),
        ("HEX(-n)", "FFFFFFFFFFFFFFFD"),
        ("HEX('ä')", "C3A4"),
        ("UNHEX('ABC')", b"\x00\xbc"),
        ("UNHEX('zz')", None),
        ("ENCODE('ä', 'UTF-16')", b"\xfe\xff\x00\xe4"),
        ("DECODE(bs, 'ISO-8859-1')", "Ã¤"),
        ("FROM_BASE64('aGk')", "hi"),
        ("URL_DECODE('%zz')", None),
        ("URL_ENCODE('a b~*')", "a+b%7E*"),
        ("INET_ATON('1.2.3')", 16908291),
        ("INET_NTOA(4294967296)", None),
        ("SHA2(s, 224)", "2f05477fc24bb4faefd86517156dafdecec45b8ad3cf2522a563582b"),
        ("MD5(bs) = MD5('ä')", True),
        ("HASH_CODE('The qUICK-brown_fox 2nd')", 83008929),
        ("HASH_CODE(1.5)", 466),
        ("REVERSE(e'a\\tb')", "b\ta"),
        ("U&'\\00e4' || _UTF16'x' || n'y'", "äxy"),
        ("REPLACE('ab', '', '-')", "-a-b-"),
    ],
)
def test_texts(call: str, value: Any) -> None:
    assert one(call) == value


@pytest.mark.parametrize(
    ("call", "value"),
    [
        ("REGEXP_REPLACE(s, 'l(o)', '$1\\')", "hel$1\\ world"),
        ("REGEXP_REPLACE(s, '[', 'x')", None),
        ("REGEXP_EXTRACT(s, '(o)', -1)", None),
        ("REGEXP_EXTRACT(s, '(o)', 2)", None),
        ("REGEXP_EXTRACT(s, '(?<last>\\w+)$', 1)", "world"),
        ("REGEXP_EXTRACT('a.b', '\\Qa.b\\E')", "a.b"),
        ("REGEXP_EXTRACT(s, '[a-z&&[^eo]]+')", "h"),
        ("REGEXP_EXTRACT('äöü', '\\w+')", None),
        ("REGEXP_EXTRACT('äöü', '\\p{L}++')", "äöü"),
        ("REGEXP_EXTRACT('Ä', '(?i)ä')", None),
        ("REGEXP_EXTRACT_ALL(s, 'o')", None),
        ("REGEXP_EXTRACT_ALL('b a', '(a)|(b)', 2)", ["b", None]),
        ("REGEXP_COUNT(s, '')", 12),
        ("REGEXP_INSTR('a😀b', 'b')", 4),
        ("REGEXP_SUBSTR(s, 'o.')", "o "),
        ("REGEXP(s, '')", False),
        ("REGEXP(s, '[')", False),
        ("STR_TO_MAP('a=1,b,c=')", {"a": "1", "b": None, "c": ""}),
        ("STR_TO_MAP('a=1|b=2', '\\|', '=')", {"a": "1", "b": "2"}),
        ("PARSE_URL('http://u:p@h:80/a?k1=v1&k=v#r', 'QUERY', 'k')", "v"),
        ("PARSE_URL('http://u:p@h:80/a?k=v#r', 'AUTHORITY')", "u:p@h:80"),
        ("PARSE_URL('http://[::1]:80/x y', 'HOST')", "[::1]"),
        ("PARSE_URL('http://h:abc/', 'HOST')", None),
        ("PARSE_URL('not a url', 'HOST')", None),
    ],
)
def test_regular_expressions_and_urls(call: str, value: Any) -> None:
    assert one(call) == value


@pytest.mark.parametrize(
    "pattern", ["[a-", "(a", "a)", "*a", "a{", "x{2,1}", "\\y", "\\", "(?<1>a)", "\\p{Nope}", "a**"]
)
def test_java_refuses_an_expression(pattern: str) -> None:
    assert compiled(pattern) is None


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        ("o$", "foo\n", "o"),
        (".+", "a\x85b", "a"),
        ("(?s).+", "a\nb", "a\nb"),
        ("(?m)^b$", "a\r\nb", "b"),
        ("[\\w.-]+", "a-b.c d", "a-b.c"),
        ("[^\\d\\s]+", "1 ab", "ab"),
        ("[]a]+", "]a", "]a"),
        ("(?x) a b # comment", "ab", "ab"),
        ("\\x41\\u0042\\0103", "ABC", "ABC"),
        ("(?i)straSSE", "STRAsse", "STRAsse"),
        ("(?<a>x)\\k<a>", "xx", "xx"),
        ("(?>a+)b", "aab", "aab"),
        ("\\h+", "a\u00a0 b", "\u00a0 "),
        ("[a-c[x-z]]+", "axbd", "axb"),
        ("(a)\\2?", "a", "a"),
        ("[&&a]", "ba", "a"),
    ],
)
def test_expressions_of_java(pattern: str, text: str, found: str) -> None:
    known = compiled(pattern)
    assert known is not None
    match = known.search(text)
    assert match is not None and match[0] == found


@pytest.mark.parametrize("pattern", ["\\p{InGreek}", "\\G", "o{1}{2}", "(?<!a+)b"])
def test_what_only_java_can_do_is_an_error_and_not_null(pattern: str) -> None:
    with pytest.raises(EvaluationError, match="not supported"):
        compiled(pattern)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        ("ELT(-1, s)", "counted from 1"),
        ("INSTR(s, 'o', 1, 0)", "must be 1 or more"),
        ("FROM_BASE64('a')", "not base 64"),
        ("ENCODE(s, 'nope')", "character set"),
        ("SHA2(s, 0)", "224, 256, 384 or 512"),
        ("REPEAT(s, 1000000)", "more than"),
        ("LPAD(s, 2000000, 'x')", "more than"),
        ("REPLACE('😀', '', '-')", "cut in two"),
        ("IS_DIGIT(bs)", "must be text or a number"),
        ("PRINTF('%.2f', d)", "CAST it to DOUBLE"),
        ("PRINTF('%tY', s)", "not supported"),
    ],
)
def test_refusals_say_why(call: str, words: str) -> None:
    with pytest.raises(AnomalyError, match=words):
        one(call)


def test_refusals_show_the_place() -> None:
    with pytest.raises(SqlValidationError, match=r"argument 1 of SPLIT must be text"):
        one("SPLIT(n, ',')")


@pytest.mark.parametrize(
    ("call", "value"),
    [
        ("PRINTF('%2$s %1$s %<s', s, n)", "3 hello world hello world"),
        ("PRINTF(s)", "hello world"),
        ("PRINTF(nul, s)", None),
        ("PRINTF('%d', s)", None),
        ("PRINTF('%d', nul)", "null"),
        ("PRINTF('%q')", None),
        ("PRINTF('%s %s', s)", None),
        ("PRINTF('%c%x|%X|%o', n + 62, -n, n, -1)", "Afffffffd|3|37777777777"),
        ("PRINTF('%e', CAST(12345.678 AS DOUBLE))", "1.234568e+04"),
        ("PRINTF('%b %B', nul, n)", "false TRUE"),
        ("PRINTF('%5%|%-3s|%4s', '😀', 'ab')", "    %|😀 |  ab"),
    ],
)
def test_printf(call: str, value: Any) -> None:
    assert one(call) == value
