"""Matchers of labels, in the syntax of Alertmanager."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal, TypeAlias

import re2

from anomaly_app.delivery.labels import LEVELS, SEVERITY
from anomaly_app.errors import MatcherError
from anomaly_app.settings.loading import LoadedSettings

Operator: TypeAlias = Literal["=", "!=", "=~", "!~"]
_OPERATORS: dict[str, Operator] = {"=": "=", "!=": "!=", "=~": "=~", "!~": "!~"}

_TOKEN = re.compile(
    r"""\s*(?:(?P<operator>=~|!~|!=|=)
          |(?P<mark>[{},])
          |"(?P<quoted>(?:[^"\\]|\\.)*)"
          |(?P<word>[^\s{}!=~,\\"'`]+))\s*""",
    re.VERBOSE | re.DOTALL,
)
_PLAIN = re.compile(r"[A-Za-z_:][A-Za-z0-9_:]*")
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\"}
_LITERALS = re.compile(r"[\w |:/@-]*")
"""Regular expressions that are nothing but alternatives of texts."""
_REMEMBERED = 128
"""Values of a label for which is known whether they match an expression: most labels have few."""


@dataclass(frozen=True, slots=True)
class Matcher:
    r"""A condition on one label.

    Args:
        name: of the label.
        operator: ``=``, ``!=``, or ``=~`` and ``!~`` with a regular expression for the whole value.
        value: text, or the expression in the syntax of RE2, which Alertmanager has as well. Its time grows with the
            length of a label and no faster, whatever the expression: one person's route cannot hold up all alerts.

    Raises:
        MatcherError: the expression cannot be read.

    Example:
        >>> matcher = Matcher("tenant", "=~", "eu-.*")
        >>> matcher.matches({"tenant": "eu-north"}), matcher.matches({"tenant": "neu-1"}), matcher.matches({})
        (True, False, False)
        >>> print(Matcher("büro", "!=", 'the "old" one'))
        "büro"!="the \"old\" one"
    """

    name: str
    operator: Operator
    value: str
    _holds: Callable[[str], bool] | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        holds = _expression(self.value) if self.operator in ("=~", "!~") else None
        object.__setattr__(self, "_holds", holds)

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether it holds; a label that is missing is empty."""
        value = labels.get(self.name, "")
        if self._holds is not None:
            return self._holds(value) == (self.operator == "=~")
        return (value == self.value) == (self.operator == "=")

    def values(self) -> frozenset[str] | None:
        """The only values that it allows; None if that cannot be told.

        Example:
            >>> sorted(Matcher("job", "=~", "a|b").values()), Matcher("job", "!=", "a").values()
            (['a', 'b'], None)
        """
        if self.operator == "=":
            return frozenset((self.value,))
        if self.operator == "=~" and _LITERALS.fullmatch(self.value):
            return frozenset(self.value.split("|"))
        if self.name == SEVERITY:
            return frozenset(level for level in LEVELS if self.matches({SEVERITY: level}))
        return None

    def __str__(self) -> str:
        name = self.name if _PLAIN.fullmatch(self.name) else _quoted(self.name)
        return f"{name}{self.operator}{_quoted(self.value)}"


def parse_matchers(text: str) -> tuple[Matcher, ...]:
    r"""Read one or several matchers.

    Names and values stand in double quotes, or bare where they have no space and none of ``{}!=~,"'``\\``. Around
    all of them may be braces.

    Args:
        text: such as ``severity="critical"`` or ``{tenant=~"eu-.*", "büro"!=Mitte}``.

    Raises:
        MatcherError: it cannot be read; the message says where and what was expected.

    Example:
        >>> [str(matcher) for matcher in parse_matchers('{severity="critical", user_id!~bot-.+,}')]
        ['severity="critical"', 'user_id!~"bot-.+"']
        >>> parse_matchers("severity critical")
        Traceback (most recent call last):
        anomaly_app.errors.MatcherError: 'severity critical': expected =, !=, =~ or !~ at character 10
    """
    tokens = _Tokens(text)
    braces = tokens.mark("{")
    found: list[Matcher] = []
    while not (braces and tokens.mark("}")):
        if not braces and found and tokens.ended:
            break
        name = tokens.text("the name of a label" if found or braces else 'a matcher, such as severity="critical",')
        if not name:
            raise MatcherError(f"{text!r}: the name of a label is empty")
        operator = tokens.operator()
        value = tokens.text('a value (an empty one is "")')
        try:
            found.append(Matcher(name, operator, value))
        except MatcherError as error:
            raise MatcherError(f"{text!r}: {error}") from None
        if not tokens.mark(","):
            if braces and not tokens.mark("}"):
                raise tokens.unexpected(", or }")
            break
    if not tokens.ended:
        raise tokens.unexpected("nothing more" if braces else ", and another matcher, or nothing more")
    return tuple(found)


def compile_matchers(loaded: LoadedSettings, key: str, texts: Iterable[str]) -> tuple[Matcher, ...]:
    """Read the matchers of a setting.

    Args:
        loaded: where they are from.
        key: path of the list, such as ``response[0].matchers``.
        texts: its elements, each with one or several matchers.

    Raises:
        SettingsError: one cannot be read; the message names the place in the file.
    """
    found: list[Matcher] = []
    for number, text in enumerate(texts):
        try:
            found += parse_matchers(text)
        except MatcherError as error:
            raise loaded.error(f"{key}[{number}]", str(error)) from None
    return tuple(found)


def matches(matchers: Iterable[Matcher], labels: Mapping[str, str]) -> bool:
    """Whether all of them hold."""
    for matcher in matchers:
        if not matcher.matches(labels):
            return False
    return True


def may_both_hold(first: Iterable[Matcher], second: Iterable[Matcher]) -> bool:
    """Whether an alert may fulfil all of both; in doubt it may.

    Example:
        >>> critical, worse = parse_matchers("severity=critical"), parse_matchers('severity=~"high|critical"')
        >>> may_both_hold(critical, worse), may_both_hold(critical, parse_matchers("severity!=critical"))
        (True, False)
    """
    by_name: dict[str, list[Matcher]] = {}
    for matcher in (*first, *second):
        by_name.setdefault(matcher.name, []).append(matcher)
    return all(_satisfiable(name, matchers) for name, matchers in by_name.items())


def _satisfiable(name: str, matchers: list[Matcher]) -> bool:
    finite = next((values for values in (matcher.values() for matcher in matchers) if values is not None), None)
    if finite is None and name == SEVERITY:
        finite = frozenset(LEVELS)
    return finite is None or any(matches(matchers, {name: value}) for value in finite)


def _expression(text: str) -> Callable[[str], bool]:
    """Whether all of a value matches."""
    if _LITERALS.fullmatch(text):
        return frozenset(text.split("|")).__contains__
    options = re2.Options()
    options.log_errors = False
    try:
        fullmatch = re2.compile(text, options).fullmatch
    except re2.error as error:
        said = error.args[0].decode("utf-8", "replace")
        hint = "; there is no look-around and no back reference" if said.startswith("invalid perl operator") else ""
        raise MatcherError(f"{text!r} is no regular expression: {said}{hint}") from None
    except UnicodeEncodeError:
        raise MatcherError(f"{text!r} is no regular expression: it is no text of UTF-8") from None

    @lru_cache(_REMEMBERED)
    def holds(value: str) -> bool:
        return fullmatch(value.encode("utf-8", "replace")) is not None

    return holds


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r") + '"'


def _unescaped(text: str) -> str:
    # Other escapes stay as they are: "\d+" is what people write in expressions.
    return _ESCAPED.sub(lambda found: _ESCAPES.get(found[1], found[0]), text)


class _Tokens:
    def __init__(self, text: str) -> None:
        self._text, self._at = text, 0
        self._next: re.Match[str] | None = None
        self._advance(0)

    def _advance(self, to: int) -> None:
        self._at = to
        self._next = _TOKEN.match(self._text, to)

    @property
    def ended(self) -> bool:
        return not self._text[self._at :].strip()

    def unexpected(self, expected: str) -> MatcherError:
        rest = self._text[self._at :]
        place = self._at + len(rest) - len(rest.lstrip())
        problem = f"expected {expected} at character {place + 1}" if rest.strip() else f"expected {expected} at its end"
        if rest.lstrip().startswith('"'):
            problem += ' (a " without its end?)' if self._next is None else ""
        return MatcherError(f"{self._text!r}: {problem}")

    def mark(self, mark: str) -> bool:
        if self._next is None or self._next["mark"] != mark:
            return False
        self._advance(self._next.end())
        return True

    def operator(self) -> Operator:
        if self._next is None or self._next["operator"] is None:
            raise self.unexpected("=, !=, =~ or !~")
        found = _OPERATORS[self._next["operator"]]
        self._advance(self._next.end())
        return found

    def text(self, expected: str) -> str:
        if self._next is None or (self._next["quoted"] is None and self._next["word"] is None):
            raise self.unexpected(expected)
        quoted, word = self._next["quoted"], self._next["word"]
        self._advance(self._next.end())
        return word if quoted is None else _unescaped(quoted)
