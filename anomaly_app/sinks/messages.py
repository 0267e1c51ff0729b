"""What a person reads: what it is, who it is about, how far from normal, since when, and where to look."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import msgspec

from anomaly_app.alerts import Alert, Severity
from anomaly_app.alerts.silent_source import SILENCE, SILENCE_OVER
from anomaly_app.alerts.values import iso_time, plain
from anomaly_app.delivery.notification import Notification, Told
from anomaly_app.settings.delivery import Sending
from anomaly_app.sinks.advice import actions
from anomaly_app.sinks.base import Count
from anomaly_app.sinks.deviation import Deviation, deviation_of, number
from anomaly_app.sinks.templates import Template, TemplateFailed

LEVELS: tuple[Severity, ...] = ("low", "medium", "high", "critical")
MOST_ITEMS = 10
"""Alerts that a text tells one by one."""
MOST_ROWS = 10
MOST_COLUMNS = 6
LONGEST_CELL = 30
LONGEST_TITLE = 150
LONGEST_EXPLANATION = 1_000
TEMPLATE_FAILED = "template_failed"

Acknowledge: TypeAlias = Callable[[str, str, int], str]
"""(id of an alert, receiver, when the notification was decided in ms) to a signed address; "" for none."""


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
        score = self.told.alert.score
        return "" if score is None else f"score {number(score)}"


@dataclass(frozen=True, slots=True)
class Message:
    """A notification in words.

    Args:
        title: one line.
        text: several, complete in itself: for who can show text only.
        templated: the title or the text is of a template of the settings.
        severity: of the worst alert.
        resolved: everything in it is over.
        lead: a sentence that stands above the alerts; "" for none.
        items: the alerts that are told one by one.
        left_out: how many are not.
        table: rows that the alert used; of several alerts, these.
        actions: what to do.
        link: where to look; "" for nowhere.
        acknowledge: address at which the first alert can be acknowledged; "" for none.
    """

    title: str
    text: str
    templated: bool
    severity: Severity
    resolved: bool
    lead: str
    items: list[Item]
    left_out: int
    table: Table | None
    actions: list[str]
    link: str
    acknowledge: str


class Messages:
    """Puts notifications into words.

    Args:
        settings: of the sink: may have templates of title and text.
        link: where to look.
        acknowledge: gives addresses to acknowledge; None for none.
        count: is told when a template fails.

    Raises:
        OptionError: a template cannot be read.
    """

    def __init__(
        self,
        settings: Sending,
        *,
        link: str = "",
        acknowledge: Acknowledge | None = None,
        count: Count = lambda what: None,
    ) -> None:
        self._title = Template(settings.title, "title") if settings.title else None
        self._text = Template(settings.text, "text") if settings.text else None
        self._link, self._acknowledge, self._count = link, acknowledge, count

    def message(self, notification: Notification) -> Message:
        """The notification in words: by the templates, or where these fail as if there were none."""
        first = notification.alerts[0]
        severity = max((told.alert.severity for told in notification.alerts), key=LEVELS.index)
        items = [_item(told) for told in notification.alerts[:MOST_ITEMS]]
        one = len(notification.alerts) == 1 and not notification.more
        link = self._acknowledge and self._acknowledge(first.alert.id, notification.receiver, notification.created_ms)
        resolved = notification.status == "resolved"
        message = Message(
            title=title_of(notification, severity),
            text="",
            templated=False,
            severity=severity,
            resolved=resolved,
            lead=_lead(notification),
            items=items,
            left_out=len(notification.alerts) - len(items) + notification.more,
            table=rows_of(first.alert) if one else _table_of(items, len(notification.alerts) + notification.more),
            actions=[] if resolved else actions(first.alert, items[0].who),
            link=self._link,
            acknowledge="" if resolved else link or "",
        )
        message = replace(message, text=_text_of(message))
        if self._title is None and self._text is None:
            return message
        values = _values(notification, message)
        title = self._rendered(self._title, values, message.title)
        return replace(
            message,
            title=one_line(title, LONGEST_TITLE) or message.title,
            text=self._rendered(self._text, values, message.text),
            templated=self._text is not None,
        )

    def _rendered(self, template: Template | None, values: Mapping[str, Any], usual: str) -> str:
        if template is None:
            return usual
        try:
            return template.render(values)
        except TemplateFailed:
            self._count(TEMPLATE_FAILED)
            return usual


def title_of(notification: Notification, severity: Severity) -> str:
    """One line, such as ``[HIGH] Transaction Anomaly Alert - User user-7``."""
    told = notification.alerts
    level = "RESOLVED" if notification.status == "resolved" else severity.upper()
    if notification.reason == "digest":
        total = len(told) + notification.more
        return one_line(f"[{level}] {notification.held_back:,} messages held back: {total:,} alerts", LONGEST_TITLE)
    kinds = {topic_of(entry.alert) for entry in told}
    total = sum(entry.count for entry in told) + notification.more
    what = (kinds.pop() if len(kinds) == 1 else "Anomaly Alert") + ("s" if total > 1 else "")
    text = f"[{level}] {'Escalated: ' if notification.reason == 'escalation' else ''}"
    text += f"{f'{total:,} ' if total > 1 else ''}{what}"
    keys = {key: None for entry in told if (key := subject(entry.alert.key))}
    if keys:
        others = len(keys) - 1 + notification.more
        text += f" - {next(iter(keys))}" + (
            f" and {others:,} others" if others > 1 else " and 1 other" if others else ""
        )
    return one_line(text, LONGEST_TITLE)


def topic_of(alert: Alert) -> str:
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
        parts.append(f"{' '.join(words).capitalize() or name} {_cell(value)}")
    return ", ".join(parts)


def rows_of(alert: Alert) -> Table | None:
    """The rows that a finding used, the last ones; None if there are none."""
    if not alert.rows:
        return None
    names = list(dict.fromkeys(name for row in alert.rows for name in row.values))
    names = [name for name in names if name not in alert.key][:MOST_COLUMNS]
    shown = alert.rows[-MOST_ROWS:]
    rows = [[row.event_time[:19].replace("T", " "), *(_cell(row.values.get(name)) for name in names)] for row in shown]
    return Table(["time (UTC)", *names], rows, alert.rows_total - len(shown))


def one_line(text: str, most: int) -> str:
    """Text of others on one line, without control characters, cut."""
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return text if len(text) <= most else text[: most - 1] + "…"


def _item(told: Told) -> Item:
    since = f"{iso_time(told.starts_ms, ' ', '')[:19]} UTC"
    if told.count > 1:
        since += f" ({told.count:,} alerts)"
    return Item(told, subject(told.alert.key), deviation_of(told.alert.payload), since)


def _lead(notification: Notification) -> str:
    if notification.note:
        return notification.note
    if notification.reason == "digest":
        return f"More messages came than may be sent in a minute: {notification.held_back:,} are told here as one."
    if notification.status == "resolved":
        return "It is over: no new alert has come."
    return "It still lasts." if notification.reason == "repeat" else ""


def _table_of(items: Sequence[Item], total: int) -> Table:
    rows = [
        [
            "resolved" if item.told.status == "resolved" else item.told.alert.severity,
            _cell(item.who or item.told.alert.job),
            item.deviation.short() if item.deviation else "",
            item.since.removesuffix(" UTC").partition(" UTC")[0],
            f"{item.told.count:,}",
        ]
        for item in items
    ]
    return Table(["severity", "who", "deviation", "since (UTC)", "alerts"], rows, total - len(items))


def _text_of(message: Message) -> str:
    lines = [message.lead, ""] if message.lead else []
    if len(message.items) == 1 and not message.left_out:
        lines += facts_text(message.items[0])
    else:
        for item in message.items:
            level = "RESOLVED" if item.told.status == "resolved" else item.told.alert.severity.upper()
            lines.append(f"{level} {explanation(item.told.alert)}")
            lines.append("  " + "; ".join(f"{name.lower()}: {value}" for name, value in facts(item) if name in _SHORT))
        if message.left_out:
            lines.append(f"and {message.left_out:,} more")
    if message.table is not None:
        lines += ["", *message.table.lines()]
    if message.actions:
        lines += ["", "What to do:", *(f"- {action}" for action in message.actions)]
    if message.link:
        lines += ["", f"Where to look: {message.link}"]
    if message.acknowledge:
        lines += [f"Acknowledge: {message.acknowledge}"]
    return "\n".join(lines)


_SHORT = ("Deviation", "Since")


def explanation(alert: Alert) -> str:
    """What happened, in one line."""
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
    return [explanation(item.told.alert), "", *(f"{name + ':':<11}{value}" for name, value in facts(item) if value)]


def _values(notification: Notification, message: Message) -> dict[str, Any]:
    """What templates see."""
    alerts = [
        {
            **msgspec.to_builtins(told.alert),
            "labels": told.labels,
            "status": told.status,
            "starts": iso_time(told.starts_ms),
            "ends": iso_time(told.ends_ms),
            "count": told.count,
            "who": subject(told.alert.key),
            "deviation": item.how_far,
            "percent": item.deviation and item.deviation.percent,
        }
        for told in notification.alerts
        for item in [_item(told)]
    ]
    return {
        "title": message.title,
        "text": message.text,
        "severity": message.severity,
        "status": notification.status,
        "reason": notification.reason,
        "note": notification.note,
        "receiver": notification.receiver,
        "group_labels": notification.group_labels,
        "alerts": alerts,
        "alert": alerts[0],
        "more": notification.more,
        "held_back": notification.held_back,
        "actions": message.actions,
        "link": message.link,
        "acknowledge": message.acknowledge,
    }


def _cell(value: Any) -> str:
    text = "" if value is None else number(value) if isinstance(value, float) else plain(str(value))
    return text if len(text) <= LONGEST_CELL else text[: LONGEST_CELL - 1] + "…"


def _words(name: str) -> list[str]:
    return [word.lower() for word in re.findall(r"[A-Z]?[a-z0-9]+|[A-Z]+(?![a-z])|[^\W_a-zA-Z]+", name)]


def _singular(word: str) -> str:
    if word.endswith("ies"):
        return word[:-3] + "y"
    return word[:-1] if word.endswith("s") and not word.endswith(("ss", "us", "is")) else word
