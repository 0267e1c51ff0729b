"""Every error that this package raises, in one tree.

::

    AnomalyError
    ├── SettingsError              a setting is wrong: names its key and where it came from
    ├── OptionError                an option of a detector or of a sink is unknown or impossible
    ├── SqlError                   a statement or rule is wrong: shows the line with a caret
    │   ├── SqlSyntaxError         it cannot be read
    │   └── SqlValidationError     it can be read but means nothing, or nothing that is supported
    ├── MatcherError               a matcher of labels cannot be read
    ├── DataError                  a record or a value is wrong
    │   ├── DecodeError            bytes that are not what the format or the schema says
    │   │   └── IgnoredError       and that an option of the format says to let go
    │   └── EvaluationError        an expression fails on a row (a CAST, a division by zero)
    │       └── SkipTargetError    AFTER MATCH SKIP cannot go where it should
    ├── LimitError                 a bound on memory or time was reached
    ├── BrokerError                Kafka is unreachable
    │   └── BrokerRefusal          Kafka says no, and will say so again: credentials, rights, a topic that is missing
    ├── RegistryError              the schema registry is unreachable or refuses
    ├── SinkError                  a receiver of alerts is unreachable or does not take them
    └── StateError                 stored state is unreadable or belongs to another version

Each class has ``code`` (stable, for programs) and ``retriable`` (whether the same call may succeed later).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import ClassVar, Self

from anomaly_app.secrecy import is_elsewhere, is_secret, without


class AnomalyError(Exception):
    """Root of all errors of this package."""

    code: ClassVar[str] = "anomaly"
    retriable: ClassVar[bool] = False


class SettingsError(AnomalyError):
    """A setting has a wrong value.

    Args:
        key: dotted name of the setting, such as ``kafka.bootstrap_servers``.
        origin: where the value came from, such as ``environment ANOMALY_KAFKA__BOOTSTRAP_SERVERS`` or ``anomaly.toml``.
        problem: what is wrong with it and what would be right.

    Example:
        >>> print(SettingsError("web.port", "command line", "70000 is not a port (1 to 65535)"))
        web.port (from command line): 70000 is not a port (1 to 65535)
    """

    code = "settings"

    def __init__(self, key: str, origin: str, problem: str) -> None:
        self.key, self.origin, self.problem = key, origin, problem
        super().__init__(f"{key} (from {origin}): {problem}")


class OptionError(AnomalyError):
    """An option of a detector or of a sink is unknown, of another type, or impossible.

    Args:
        option: its name.
        problem: what is wrong with it and what would be right.
    """

    code = "option"

    def __init__(self, option: str, problem: str) -> None:
        self.option = option
        super().__init__(problem)


LONG_LINE = 400
"""Characters of a line that an error quotes at most."""


class SqlError(AnomalyError):
    r"""A statement is wrong; the message quotes the line, secrets in it masked, and points at the place.

    Args:
        problem: what is wrong and what was expected, in one sentence.
        text: the whole text that was read; "" if it is not known.
        start: offset of the first wrong character in ``text``.
        end: offset behind the last wrong one.

    Example:
        >>> print(SqlSyntaxError("expected a number", "SELECT *\nFROM t LIMIT x", 22, 23))
        line 2, column 14: expected a number
          FROM t LIMIT x
                       ^
    """

    code = "sql"

    def __init__(self, problem: str, text: str = "", start: int = 0, end: int | None = None) -> None:
        self.problem, self.text = problem, text
        self.start = min(start, len(text))
        self.end = max(self.start, self.start + 1 if end is None else end)
        line_start = text.rfind("\n", 0, self.start) + 1
        self.line = text.count("\n", 0, line_start) + 1
        self.column = self.start - line_start + 1
        self._line_start, self._file = line_start, ""
        super().__init__(problem)

    def __str__(self) -> str:
        """The message, made when somebody wants it: a parser that tries ways makes many errors that nobody sees."""
        return self._file + (self._render(self._line_start) if self.text else self.problem)

    def in_file(self, path: object) -> Self:
        """The same error with the name of the file in its message."""
        self._file = f"{path}: {self._file}"
        return self

    def _render(self, line_start: int) -> str:
        text = _OPTION.sub(_masked, self.text)  # as long as it was
        problem = self.problem
        if text != self.text:
            problem = without(problem, [found[3] for found in _OPTION.finditer(self.text) if _is_secret(found)])
        line_end = text.find("\n", line_start)
        quoted = text[line_start : line_end if line_end >= 0 else len(text)]
        place = self.column - 1
        if len(quoted) > LONG_LINE:
            begin = max(0, place - LONG_LINE // 4)
            cut = quoted[begin : begin + LONG_LINE]
            behind = "…" if begin + LONG_LINE < len(quoted) else ""
            quoted, place = ("…" + cut + behind, place - begin + 1) if begin else (cut + behind, place)
        width = max(1, min(self.end - self.start, len(quoted) - place))
        margin = "".join("\t" if c == "\t" else " " for c in quoted[:place])
        return f"line {self.line}, column {self.column}: {problem}\n  {quoted.rstrip()}\n  {margin}{'^' * width}"


_OPTION = re.compile(r"((['\"`][\w.-]+['\"`]\s*[=:>]{0,2}|[\w.-]+\s*[=:>]{1,2})\s*')((?:[^']|'')*)('?)")
"""A name and a text behind it, as an option is written, or nearly so: errors quote what is written wrongly."""


def _masked(found: re.Match[str]) -> str:
    """An option whose value, if it is a secret, is as many stars."""
    before, _, value, behind = found.groups()
    return before + re.sub(r"[^\n]", "*", value) + behind if _is_secret(found) else str(found[0])


def _is_secret(found: re.Match[str]) -> bool:
    return len(found[3]) > 1 and is_secret(found[2]) and not is_elsewhere(found[3])


class SqlSyntaxError(SqlError):
    """The text does not follow the grammar."""

    code = "sql-syntax"


class SqlValidationError(SqlError):
    """The text is well formed but refers to nothing, mixes types, or asks for what is not supported."""

    code = "sql-validation"


class MatcherError(AnomalyError):
    """A matcher of labels cannot be read."""

    code = "matcher"


class DataError(AnomalyError):
    """A record or one of its values is wrong."""

    code = "data"


class DecodeError(DataError):
    """Bytes that the format or the schema does not allow."""

    code = "decode"


class IgnoredError(DecodeError):
    """A record that cannot be read, of a table with ``ignore-parse-errors``: counted, and no dead letter."""

    code = "ignored"


class EvaluationError(DataError):
    """An expression failed on a row."""

    code = "evaluation"


class SkipTargetError(EvaluationError):
    """AFTER MATCH SKIP would go to the first row of the match, or to a variable without rows."""

    code = "skip-target"


class LimitError(AnomalyError):
    """A bound on held rows, threads or memory was reached."""

    code = "limit"


class BrokerError(AnomalyError):
    """Kafka cannot be used as configured."""

    code = "broker"
    retriable = True


class BrokerRefusal(BrokerError):
    """Kafka answered, and said no; the same question will get the same answer."""

    code = "broker-refusal"
    retriable = False


class RegistryError(AnomalyError):
    """The schema registry cannot be used as configured."""

    code = "registry"
    retriable = True


class SinkError(AnomalyError):
    """A receiver of alerts is unreachable or does not take what it was sent.

    Args:
        problem: what happened, without the address, which may be a secret.
        retriable: sending it again may help.
        retry_after_s: how long the other side asks to wait; None if it does not say.
    """

    code = "sink"

    def __init__(self, problem: str, *, retriable: bool = True, retry_after_s: float | None = None) -> None:
        super().__init__(problem)
        self.retriable = retriable  # type: ignore[misc]  # of this failure, not of all
        self.retry_after_s = retry_after_s


class StateError(AnomalyError):
    """Stored state cannot be used."""

    code = "state"


FAILURES = (AnomalyError, ArithmeticError, ValueError)
"""What generated source raises on a row that it cannot take: dates beyond the calendar are ValueError in Python."""


@contextmanager
def not_too_deep(text: str, place: Sequence[int] | Callable[[], Sequence[int]]) -> Iterator[None]:
    """Around what goes down a tree: one that is deeper than the stack, or than Python's compiler takes, is an error.

    Args:
        text: of the statements.
        place: start and end of what is gone through, or what tells it.
    """
    try:
        yield
    except (RecursionError, SyntaxError) as error:
        if isinstance(error, SyntaxError) and "too many nested parentheses" not in str(error):
            raise
        start, end = place() if callable(place) else place
        problem = (
            "this is nested too deeply, or too many operators follow each other: name parts of it in queries below"
        )
        raise SqlValidationError(problem, text, start, end) from None
