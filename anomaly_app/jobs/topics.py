"""Which topics a table is about: one, a list of them, or all whose names fit a pattern."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from anomaly_app.errors import EvaluationError
from anomaly_app.expressions.regexp import JavaError, compile_java
from anomaly_app.jobs.options import TableOptions

OF_RECORDS = (".late", ".dlq")
"""End the names of topics to which records of another one are set apart."""

DISCOVERY_MS = 300_000
"""How often a pattern is looked up, if nothing is said: five minutes, as in Flink."""

_INTERVAL = "scan.topic-partition-discovery.interval"


@dataclass(frozen=True, slots=True)
class Topics:
    r"""Topics of a source.

    Args:
        names: of them; () for a pattern that was not looked up yet.
        pattern: a regular expression of Java that a whole name fits; "" for names.
        discovery_ms: how often new topics of the pattern are looked for; 0 for never.
        all: if each topic is read for itself, and this is one of them, the names of all.

    Example:
        >>> europe = Topics(pattern=r"sales\.eu\..+")
        >>> europe.among(["sales.eu.de", "sales.us.ny", "sales.eu.de.dlq", "sales.eu.fr"])
        ['sales.eu.de', 'sales.eu.fr']
    """

    names: tuple[str, ...] = ()
    pattern: str = ""
    discovery_ms: int = DISCOVERY_MS
    all: tuple[str, ...] = ()

    @property
    def several(self) -> bool:
        """Whether there may be more than one."""
        return bool(self.pattern) or len(self.names) > 1 or len(self.all) > 1

    @property
    def told(self) -> str:
        """As written."""
        return self.pattern or ";".join(self.names)

    def among(self, names: Iterable[str]) -> list[str]:
        """Those of some topics that are meant by a pattern, sorted.

        Kafka's own are not, nor are the late rows and dead letters of a topic that is.
        """
        fits = compile_java(self.pattern).fullmatch
        found = {name for name in names if fits(name) and not name.startswith("__")}
        apart = {name + end for name in found for end in OF_RECORDS}
        return sorted(found - apart)


def topics_of(options: TableOptions) -> Topics:
    """The topics of a table that is read; raises ``SqlValidationError``."""
    pattern = options.values.get("topic-pattern")
    discovery = options.duration_ms(_INTERVAL)
    if pattern is None:
        names = [part.strip() for part in options.require("topic", "or 'topic-pattern'").split(";")]
        names = names[:-1] if len(names) > 1 and not names[-1] else names
        for name in names:
            _check(options, name)
            if names.count(name) > 1:
                raise options.fail("topic", f"{name!r} is there twice")
        if discovery is not None:
            options.warn(_INTERVAL, "it is for a 'topic-pattern'")
        return Topics(tuple(names))
    if "topic" in options.values:
        raise options.fail("topic-pattern", "'topic' and 'topic-pattern' say the same: give one of them")
    try:
        compile_java(pattern)
    except (JavaError, EvaluationError) as error:
        raise options.fail("topic-pattern", f"'{pattern}' is not a regular expression: {error}") from None
    return Topics((), pattern, DISCOVERY_MS if discovery is None else discovery)


def topic_of(options: TableOptions) -> str:
    """The topic of a table that is written; raises ``SqlValidationError``."""
    if "topic-pattern" in options.values:
        raise options.fail("topic-pattern", "a table that is written has one 'topic'")
    topic = options.require("topic")
    if ";" in topic:
        raise options.fail("topic", "a table that is written has one topic, not a list")
    _check(options, topic)
    return topic


def _check(options: TableOptions, topic: str) -> None:
    if not topic or len(topic) > 249 or not all(c.isascii() and (c.isalnum() or c in "._-") for c in topic):
        raise options.fail("topic", f"{topic!r} is not a topic name (letters, digits, '.', '_' and '-')")
