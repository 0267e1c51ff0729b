r"""Regular expressions of Java (``java.util.regex``) as Python's.

Where the two differ, the expression is rewritten: quoting, classes and their set operations, names of properties and
groups, what ``.``, ``$``, ``\d`` and their like stand for. What Java refuses is a :class:`JavaError`: the functions of
Flink then give NULL. What Java knows and Python cannot do is an error that says so.
"""

from __future__ import annotations

import functools
import re
import sys
import unicodedata

from anomaly_app.errors import EvaluationError

_LINE_ENDS = "\\n\\r\\x85\\u2028\\u2029"
_CLASSES = {
    "d": "0-9",
    "w": "a-zA-Z0-9_",
    "s": " \\t\\n\\x0b\\f\\r",
    "h": " \\t\\xa0\\u1680\\u180e\\u2000-\\u200a\\u202f\\u205f\\u3000",
    "v": "\\n\\x0b\\f\\r\\x85\\u2028\\u2029",
}
_NAMED = {
    "Lower": "a-z",
    "Upper": "A-Z",
    "ASCII": "\\x00-\\x7f",
    "Alpha": "a-zA-Z",
    "Digit": "0-9",
    "Alnum": "a-zA-Z0-9",
    "Punct": "!-/:-@\\[-`{-~",
    "Graph": "!-~",
    "Print": " -~",
    "Blank": " \\t",
    "Cntrl": "\\x00-\\x1f\\x7f",
    "XDigit": "0-9a-fA-F",
    "Space": " \\t\\n\\x0b\\f\\r",
    "javaLowerCase": "Ll",
    "javaUpperCase": "Lu",
    "IsAlphabetic": "L",
    "IsLetter": "L",
    "IsDigit": "Nd",
    "IsUppercase": "Lu",
    "IsLowercase": "Ll",
    "IsPunctuation": "P",
}
_CATEGORIES = frozenset("L M N P S Z C Lu Ll Lt Lm Lo Mn Mc Me Nd Nl No Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So Zs Zl Zp "
                        "Cc Cf Cs Co Cn LC".split())  # fmt: skip
_ESCAPES = {"t": "\\t", "n": "\\n", "r": "\\r", "f": "\\f", "a": "\\x07", "e": "\\x1b"}
_ANCHORS = {"b": "\\b", "B": "\\B", "A": "\\A", "z": "\\Z", "Z": f"(?=(?:\\r\\n|[{_LINE_ENDS}])?\\Z)"}
_CODES = {
    "x": re.compile(r"([0-9a-fA-F]{2})|\{([0-9a-fA-F]{1,6})\}"),
    "u": re.compile(r"([0-9a-fA-F]{4})"),
    "0": re.compile(r"([0-3][0-7]{2}|[0-7]{1,2})"),
    "c": re.compile(r"(.)", re.DOTALL),
}
_NAME = re.compile(r"\{(\^?)([^}]*)\}|([A-Z])")
_REFERENCE = re.compile(r"k<([a-zA-Z][a-zA-Z0-9]*)>")
_QUANTIFIER = re.compile(r"(?:[*+?]|\{(\d+)(?:,(\d*))?\})[+?]?")
_GROUP = re.compile(r"\?(?:<([a-zA-Z][a-zA-Z0-9]*)>|(<=|<!|=|!|:|>)|([idmsuxU]*)(?:-([idmsuxU]+))?([:)]))")


class JavaError(ValueError):
    """Java refuses the expression."""


@functools.lru_cache(maxsize=64)
def _category(name: str) -> str:
    """The inside of a class with all characters of a general category."""
    wanted = ("Lu", "Ll", "Lt") if name == "LC" else (name,)
    ranges: list[str] = []
    start = -1
    for code in range(sys.maxunicode + 2):
        inside = code <= sys.maxunicode and unicodedata.category(chr(code)).startswith(wanted)
        if inside and start < 0:
            start = code
        elif not inside and start >= 0:
            ranges.append(f"\\U{start:08x}-\\U{code - 1:08x}")
            start = -1
    return "".join(ranges)


class _Translator:
    def __init__(self, pattern: str) -> None:
        self.pattern, self.place, self.flags, self.groups, self.depth = pattern, 0, 0, 0, 0
        self.names: set[str] = set()

    def fail(self, problem: str) -> JavaError:
        return JavaError(f"{problem} at character {self.place + 1}")

    def unsupported(self, what: str) -> EvaluationError:
        return EvaluationError(f"{what} is not supported in the regular expression {self.pattern!r}")

    @property
    def next(self) -> str:
        return self.pattern[self.place : self.place + 1]

    def take(self) -> str:
        self.place += 1
        return self.pattern[self.place - 1 : self.place]

    def whole(self) -> str:
        result = self.alternatives()
        if self.next:
            raise self.fail("unmatched )")
        return result

    def alternatives(self) -> str:
        self.depth += 1
        if self.depth > 100:
            raise self.unsupported("nesting of more than 100 levels")
        flags, parts = self.flags, [self.sequence()]
        while self.next == "|":
            self.take()
            parts.append(self.sequence())
        self.flags = flags
        self.depth -= 1
        return "|".join(parts)

    def sequence(self) -> str:
        parts: list[str] = []
        while self.next and self.next not in "|)":
            if self.pattern.startswith("\\Q", self.place):
                parts += self.quoted()
            else:
                parts.append(self.atom())
            found = _QUANTIFIER.match(self.pattern, self.place)
            if found is None and self.next == "{":
                raise self.fail("illegal repetition")
            if found is not None and parts and parts[-1]:
                if found[2] and int(found[2]) < int(found[1]):
                    raise self.fail("illegal repetition range")
                self.place = found.end()
                parts[-1] += found[0]
                if self.next == "{":
                    raise self.unsupported("a quantifier of a quantifier")
        return "".join(parts)

    def quoted(self) -> list[str]:
        end = self.pattern.find("\\E", self.place + 2)
        text = self.pattern[self.place + 2 : end if end >= 0 else None]
        self.place = end + 2 if end >= 0 else len(self.pattern)
        return [re.escape(character) for character in text] or [""]

    def atom(self) -> str:
        if self.flags & re.VERBOSE and (self.next.isspace() or self.next == "#"):
            if self.take() == "#":
                while self.next and self.next not in "\n\r\x85\u2028\u2029":
                    self.take()
            return ""
        character = self.take()
        if character == "(":
            return self.group()
        if character == "[":
            return self.char_class()
        if character == "\\":
            return self.escape()
        if character == ".":
            return "[\\s\\S]" if self.flags & re.DOTALL else f"[^{_LINE_ENDS}]"
        if character == "^":
            return f"(?:^|(?<=[{_LINE_ENDS}])(?!\\Z))" if self.flags & re.MULTILINE else "\\A"
        if character == "$":
            return f"(?=[{_LINE_ENDS}]|\\Z)" if self.flags & re.MULTILINE else _ANCHORS["Z"]
        if character in "*+?":
            raise self.fail(f"dangling {character}")
        if character == "{":
            raise self.fail("illegal repetition")
        return self.cased(re.escape(character))

    def cased(self, source: str) -> str:
        """Of one character or class: in either case if that is asked for, of A to Z only unless (?u) is given."""
        if not self.flags & re.IGNORECASE:
            return source
        return f"(?i:{source})" if self.flags & re.UNICODE else f"(?ai:{source})"

    def group(self) -> str:
        if self.next != "?":
            self.groups += 1
            return f"({self.inside()})"
        found = _GROUP.match(self.pattern, self.place)
        if found is None:
            raise self.fail("unknown inline modifier or group")
        self.place = found.end()
        name, kind, on, off, end = found.groups()
        if name:
            if name in self.names:
                raise self.fail(f"the group {name} is defined twice")
            self.names.add(name)
            self.groups += 1
            return f"(?P<{name}>{self.inside()})"
        if kind:
            return f"(?{kind}{self.inside()})"
        before = self.flags
        for letter in on:
            self.flags |= self.flag(letter)
        for letter in off or "":
            self.flags &= ~self.flag(letter)
        if end == ")":
            return ""
        source = f"(?:{self.inside()})"
        self.flags = before
        return source

    def flag(self, letter: str) -> int:
        known = {"i": re.IGNORECASE, "m": re.MULTILINE, "s": re.DOTALL, "x": re.VERBOSE, "u": re.UNICODE}
        if letter not in known:
            raise self.unsupported(f"the flag {letter}")
        return int(known[letter])

    def inside(self) -> str:
        source = self.alternatives()
        if self.take() != ")":
            raise self.fail("unclosed group")
        return source

    def escape(self) -> str:
        letter = self.next
        if letter == "b" and self.pattern.startswith("b{g}", self.place):
            raise self.unsupported("\\b{g}")
        if letter and letter in _ANCHORS:
            self.take()
            return _ANCHORS[letter]
        if letter == "R":
            self.take()
            return f"(?:\\r\\n|[\\x0b\\f{_LINE_ENDS}])"
        if letter == "k":
            found = _REFERENCE.match(self.pattern, self.place)
            if found is None or found[1] not in self.names:
                raise self.fail("\\k needs the <name> of a group before it")
            self.place = found.end()
            return f"(?P={found[1]})"
        if letter and letter in "123456789":
            digits = self.take()
            while self.next.isdecimal() and int(digits + self.next) <= self.groups:
                digits += self.take()
            return f"(?:\\{digits})" if int(digits) <= self.groups else "(?!)"
        if letter and letter in "GXN":
            raise self.unsupported(f"\\{letter}")
        inside, negated = self.escaped_class()
        if negated:
            return self.cased(f"[^{inside}]")
        return self.cased(f"[{inside}]")

    def escaped_class(self) -> tuple[str, bool]:
        """The inside of a class for what stands behind a backslash, and whether it is what is not meant."""
        letter = self.take()
        if not letter:
            raise self.fail("a backslash at the end")
        if letter.lower() in _CLASSES:
            return _CLASSES[letter.lower()], letter.isupper()
        if letter in "pP":
            return self.named(letter == "P")
        if letter in _ESCAPES:
            return _ESCAPES[letter], False
        if letter in "xu0c":
            return self.coded(letter), False
        if letter.isascii() and letter.isalnum():
            raise self.fail(f"\\{letter} is unknown")
        return re.escape(letter) if letter not in "^-]&~|[" else "\\" + letter, False

    def coded(self, letter: str) -> str:
        found = _CODES[letter].match(self.pattern, self.place)
        if found is None:
            raise self.fail(f"\\{letter} needs the number of a character")
        self.place = found.end()
        digits = found[found.lastindex or 1]
        code = ord(digits) ^ 64 if letter == "c" else int(digits, 8 if letter == "0" else 16)
        if code > sys.maxunicode:
            raise self.fail(f"\\{letter} is beyond the last character")
        return f"\\U{code:08x}"

    def named(self, negated: bool) -> tuple[str, bool]:
        found = _NAME.match(self.pattern, self.place)
        if found is None:
            raise self.fail("\\p needs a name")
        self.place = found.end()
        name = found[2] if found[2] is not None else found[3]
        bare = name.removeprefix("Is").removeprefix("general_category=").removeprefix("gc=")
        if name in _NAMED:
            inside = _NAMED[name]
            return (_category(inside) if inside in _CATEGORIES else inside), negated
        if bare in _CATEGORIES:
            return _category(bare), negated
        if name.startswith(("In", "Is", "java", "script=", "sc=", "block=", "blk=")):
            raise self.unsupported(f"\\p{{{name}}}")
        raise self.fail(f"the property {name} is unknown")

    def char_class(self) -> str:
        return self.cased(self.class_source())

    def class_source(self) -> str:
        """A class from behind its bracket; with set operations as a test ahead of a class."""
        negated = self.next == "^"
        if negated:
            self.take()
        while self.pattern.startswith("&&", self.place):
            self.place += 2
        sides = [self.class_side(first=True)]
        while self.pattern.startswith("&&", self.place):
            while self.next == "&":
                self.take()
            if self.next == "]":
                break
            sides.append(self.class_side(first=False))
        if self.take() != "]":
            raise self.fail("unclosed character class")
        if len(sides) == 1 and isinstance(sides[0], str):
            return f"[{'^' if negated else ''}{sides[0]}]"
        sources = [f"[{side}]" if isinstance(side, str) else f"(?:{'|'.join(side)})" for side in sides]
        source = "".join(f"(?={test})" for test in sources[1:]) + sources[0]
        return f"(?:(?!{source})[\\s\\S])" if negated else f"(?:{source})"

    def class_side(self, first: bool) -> str | list[str]:
        """Members up to ``]`` or ``&&``: the inside of one class, or several classes of which one must fit."""
        plain: list[str] = []
        others: list[str] = []
        while True:
            character = self.next
            if not character:
                raise self.fail("unclosed character class")
            if (character == "]" and not (first and not plain and not others)) or self.pattern.startswith(
                "&&", self.place
            ):
                break
            self.take()
            if character == "[":
                inner = self.class_source()
                others.append(inner)
                continue
            if character == "\\" and self.next == "Q":
                self.place -= 1
                plain += self.quoted()
                continue
            low, negated = self.escaped_class() if character == "\\" else (_member(character), False)
            if negated:
                others.append(f"[^{low}]")
                continue
            if self.next == "-" and self.pattern[self.place + 1 : self.place + 2] not in ("]", "[", "") and (
                len(low) <= 2 or low.startswith(("\\U", "\\x"))
            ):  # fmt: skip
                self.take()
                other = self.take()
                high, negated = self.escaped_class() if other == "\\" else (_member(other), False)
                if negated or _code(high) < _code(low):
                    raise self.fail("illegal character range")
                low = f"{low}-{high}"
            plain.append(low)
        if not others:
            if not plain:
                raise self.fail("empty character class")
            return "".join(plain)
        return [*([f"[{''.join(plain)}]"] if any(plain) else []), *others]


def _member(character: str) -> str:
    return "\\" + character if character in "\\^-]&~|[" else character


_CONTROLS = {"\\t": 9, "\\n": 10, "\\r": 13, "\\f": 12}


def _code(member: str) -> int:
    """The number of a character that stands in a class as itself, escaped or as its number."""
    if member.startswith(("\\U", "\\x")):
        return int(member[2:], 16)
    return _CONTROLS.get(member, ord(member[-1]))


def compile_java(pattern: str) -> re.Pattern[str]:
    r"""Compile an expression of Java.

    Raises:
        JavaError: Java refuses it.
        EvaluationError: Java takes it, but Python cannot do it.

    Example:
        >>> compile_java(r"(?<y>\p{Alpha}++)\Q.\E[a-z&&[^o]]").fullmatch("ab.c")["y"]
        'ab'
    """
    source = _Translator(pattern).whole()
    try:
        return re.compile(source)
    except (re.error, OverflowError, RecursionError) as error:
        raise EvaluationError(f"the regular expression {pattern!r} is not supported: {error}") from None


@functools.lru_cache(maxsize=256)
def compiled(pattern: str) -> re.Pattern[str] | None:
    """The expression, compiled once; None for one that Java refuses.

    Raises:
        EvaluationError: Java takes it, but Python cannot do it.
    """
    try:
        return compile_java(pattern)
    except JavaError:
        return None
