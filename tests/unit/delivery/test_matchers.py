"""Matchers read as Alertmanager's are, and say where they cannot be."""

from __future__ import annotations

import pytest

from anomaly_app.delivery.matchers import Matcher, may_both_hold, parse_matchers
from anomaly_app.errors import MatcherError


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('severity="critical"', [("severity", "=", "critical")]),
        ("severity=critical", [("severity", "=", "critical")]),
        (' severity  !=  "critical" ', [("severity", "!=", "critical")]),
        ('{a="1",b!~"2.*"}', [("a", "=", "1"), ("b", "!~", "2.*")]),
        ('a="1", b=~2|3,', [("a", "=", "1"), ("b", "=~", "2|3")]),
        ('{a="1",}', [("a", "=", "1")]),
        ("{}", []),
        ('"büro mitte"="Haus \\"A\\", 1. Stock"', [("büro mitte", "=", 'Haus "A", 1. Stock')]),
        ("büro=Mitte", [("büro", "=", "Mitte")]),
        ('a=""', [("a", "=", "")]),
        (r'a=~"\d+\\.\n"', [("a", "=~", "\\d+\\.\n")]),
        (r"a=~\d+", None),
        ("foo:bar=a:b", [("foo:bar", "=", "a:b")]),
        ("a=b=c", None),
        ("a==b", None),
        ("a=", None),
        ("=b", None),
        ("", None),
        ("{", None),
        ('{a="1"', None),
        ('a="1"}', None),
        ('a="1', None),
        ('a="1" b="2"', None),
        ('""="1"', None),
        ("a ~ b", None),
        ("{a}", None),
        (",a=b", None),
    ],
)
def test_a_text_is_read_or_refused(text: str, found: list[tuple[str, str, str]] | None) -> None:
    if found is None:
        with pytest.raises(MatcherError):
            parse_matchers(text)
    else:
        matchers = parse_matchers(text)
        assert [(each.name, each.operator, each.value) for each in matchers] == found
        assert parse_matchers("{" + ",".join(map(str, matchers)) + "}") == matchers


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("severity critical", "expected =, !=, =~ or !~ at character 10"),
        ('severity="critical', 'expected a value (an empty one is "") at character 10 (a " without its end?)'),
        ('{severity="critical"', "expected , or } at its end"),
        ('a=~"("', "is no regular expression"),
        ('a=~"(?=x)y"', "there is no look-around and no back reference"),
        (r'a=~"(x)\1"', "is no regular expression"),
        ('a=~"(x{1000}){1000}"', "is no regular expression"),
        ('a=~"x.\udcff"', "is no regular expression"),
    ],
)
def test_what_is_wrong_is_said(text: str, problem: str) -> None:
    with pytest.raises(MatcherError) as found:
        parse_matchers(text)
    assert problem in str(found.value)


@pytest.mark.parametrize(
    ("matcher", "labels", "holds"),
    [
        ("a=1", {"a": "1"}, True),
        ("a=1", {}, False),
        ('a=""', {}, True),
        ("a!=1", {}, True),
        ('a=~".+"', {}, False),
        ('a=~".*"', {}, True),
        ("a=~b", {"a": "bb"}, False),
        ("a=~b|c", {"a": "bc"}, False),
        ("a!~b|c", {"a": "c"}, False),
        ("a=~b.*", {"a": "b\n"}, False),
        ('a=~"[[:alpha:]]+"', {"a": "bc"}, True),
        (r'a=~"\pL+"', {"a": "bü"}, True),
        ("a=~büro.*", {"a": "büro 7"}, True),
        ("a=~.*x", {"a": "\udcff x"}, True),
        # 2 to the power of 60 steps for an engine that goes back.
        ('a=~"(b+)+c"', {"a": "b" * 60}, False),
        ('a!~"(b|b)*c"', {"a": "b" * 60}, True),
    ],
)
def test_a_matcher_holds(matcher: str, labels: dict[str, str], holds: bool) -> None:
    assert parse_matchers(matcher)[0].matches(labels) is holds


@pytest.mark.parametrize(
    ("first", "second", "may"),
    [
        ("a=1", "a=2", False),
        ("a=1", "b=2", True),
        ("a=~1|2", "a=~2|3", True),
        ("a=~1|2", "a=~3|4", False),
        ("a=1", "a!=1", False),
        ("a=x1", 'a=~"x."', True),
        ("a=y1", 'a=~"x."', False),
        ('a=~"x."', 'a=~"y."', True),
        ('severity!~"low|medium|high"', "severity!=critical", False),
        ('a=""', 'a=~".+"', False),
    ],
)
def test_whether_two_may_hold_together(first: str, second: str, may: bool) -> None:
    assert may_both_hold(parse_matchers(first), parse_matchers(second)) is may
    assert may_both_hold(parse_matchers(second), parse_matchers(first)) is may


def test_severities_are_known() -> None:
    assert Matcher("severity", "=~", "h.*").values() == {"high"}
