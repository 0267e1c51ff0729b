"""An alert in words: what happened, who it is about, how far from normal, since when."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from anomaly_app.alerts import Alert, UsedRow
from anomaly_app.alerts.record import SILENCE, SILENCE_OVER
from anomaly_app.alerts.severity import score_of
from anomaly_app.alerts.values import iso_time, plain
from anomaly_app.delivery.notification import Told
from anomaly_app.sinks.deviation import Deviation, deviation_of, number

MOST_ROWS = 10
MOST_COLUMNS = 6
LONGEST_CELL = 30
LONGEST_TITLE = 150
LONGEST_EXPLANATION = 1_000
OWN_WORDS = ("alert", "message")


@dataclass(frozen=True, slots=True)
class Table:
    """A few rows as text.

    Args:
        columns: names.
        rows: as many texts each.
        left_out: rows that are not shown.
    """

    columns: list[str]
    rows: list[list[str]]
    left_out: int = 0

    def lines(self) -> list[str]:
        """Aligned with spaces."""
        widths = [max(map(len, column)) for column in zip(self.columns, *self.rows, strict=True)]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
            for cells in (self.columns, *self.rows)
        ]
        return [*lines, f"and {self.left_out:,} more"] if self.left_out else lines


@dataclass(frozen=True, slots=True)
class Item:
    """One alert of a message.

    Args:
        told: the alert.
        who: its key in words.
        deviation: how far from normal.
        since: when it began, and how many have come.
    """

    told: Told
    who: str
    deviation: Deviation | None
    since: str

    @property
    def how_far(self) -> str:
        """A sentence without its full stop; "" if nothing is known."""
        if self.deviation is not None:
            return self.deviation.words()
        alert = self.told.alert
        if alert.score is None:
            return ""
        # What a detector says above 1, where no column says a score.
        if alert.type == "anomaly" and alert.score > 1 and score_of(_lower(alert.payload)) is None:
            return f"{alert.score:,.3g} times as far from the forecast as the bound"
        return f"score {number(alert.score)}"


def kind_of(alert: Alert) -> str:
    """What kind of alert it is, by the name of its job: ``Transaction Anomaly Alert`` for ``unusual_transactions``."""
    if alert.type in (SILENCE, SILENCE_OVER):
        return "Silent Source Alert" if alert.type == SILENCE else "Silence Over"
    words = [word for word in _words(alert.job) if word not in ("unusual", "anomaly", "anomalies", "alert", "alerts")]
    if not words:
        return "Anomaly Alert"
    words[-1] = _singular(words[-1])
    return " ".join([*(word.capitalize() for word in words), "Anomaly Alert"])


def subject(key: Mapping[str, Any]) -> str:
    """A key in words.

    Example:
        >>> subject({"userId": "user001"}), subject({"store_id": 7, "sku": "a"}), subject({})
        ('User user001', 'Store 7, Sku a', '')
    """
    parts = []
    for name, value in key.items():
        words = _words(name)
        if len(words) > 1 and words[-1] == "id":
            words.pop()
        parts.append(f"{' '.join(words).capitalize() or name} {cell(value)}")
    return ", ".join(parts)


def rows_of(alert: Alert) -> Table | None:
    """The rows that a finding used, the last ones; None if there are none."""
    if not alert.rows:
        return None
    names = list(dict.fromkeys(name for row in alert.rows for name in row.values))
    shown = alert.rows[-MOST_ROWS:]
    names = [name for name in names if name not in alert.key and not _is_time(shown, name)][:MOST_COLUMNS]
    rows = [[row.event_time[:19].replace("T", " "), *(cell(row.values.get(name)) for name in names)] for row in shown]
    return Table(["time (UTC)", *names], rows, alert.rows_total - len(shown))


def item_of(told: Told) -> Item:
    """One alert, ready to be told."""
    since = f"{iso_time(told.starts_ms, ' ', '')[:19]} UTC"
    if told.count > 1:
        since += f" ({told.count:,} alerts)"
    return Item(told, subject(told.alert.key), deviation_of(told.alert.payload), since)


def one_line(text: str, most: int) -> str:
    """Text of others on one line, without control characters, cut."""
    if not text.isprintable():
        text = "".join(c if c.isprintable() else " " for c in text)
    text = " ".join(text.split())
    return text if len(text) <= most else text[: most - 1] + "…"


def summary(alert: Alert) -> str:
    """What happened, in one line: by the rule's own text if it gives one, else as it was explained."""
    return own_words(alert) or explanation(alert)


def own_words(alert: Alert) -> str:
    """The text that a rule itself gives out, in a column ``alert`` or ``message``; "" for none."""
    for name, value in alert.payload.items():
        if name.lower() in OWN_WORDS and isinstance(value, str) and value.strip():
            return one_line(value, LONGEST_EXPLANATION)
    return ""


def explanation(alert: Alert) -> str:
    """How it came to be, in one line."""
    return one_line(alert.explanation, LONGEST_EXPLANATION)


def facts(item: Item) -> list[tuple[str, str]]:
    """Names and texts: who, how far from normal, since when, by which rule, and the id."""
    alert = item.told.alert
    rule = alert.job if alert.query in ("", alert.job) else f"{alert.job}, {alert.query}"
    return [
        ("Who", item.who),
        ("Severity", alert.severity),
        ("Deviation", one_line(item.how_far, LONGEST_EXPLANATION)),
        ("Since", item.since),
        ("Rule", one_line(rule, LONGEST_TITLE)),
        ("Alert", alert.id),
    ]


def facts_text(item: Item) -> list[str]:
    """The alert as lines of text."""
    alert = item.told.alert
    own = [own_words(alert), ""] if own_words(alert) else []
    return [*own, explanation(alert), "", *(f"{name + ':':<11}{value}" for name, value in facts(item) if value)]


def cell(value: Any) -> str:
    """A value for a table."""
    text = "" if value is None else number(value) if isinstance(value, float) else plain(str(value))
    return text if len(text) <= LONGEST_CELL else text[: LONGEST_CELL - 1] + "…"


def _is_time(rows: Sequence[UsedRow], name: str) -> bool:
    """The column says nothing but when the row was."""
    return all(str(row.values.get(name)).rstrip("Z")[:23] == row.event_time.rstrip("Z") for row in rows)


def _lower(payload: Mapping[str, Any]) -> dict[str, Any]:
    return {name.lower(): value for name, value in payload.items()}


def _words(name: str) -> list[str]:
    return [word.lower() for word in re.findall(r"[A-Z]?[a-z0-9]+|[A-Z]+(?![a-z])|[^\W_a-zA-Z]+", name)]


def _singular(word: str) -> str:
    if word.endswith("ies"):
        return word[:-3] + "y"
    return word[:-1] if word.endswith("s") and not word.endswith(("ss", "us", "is")) else word
