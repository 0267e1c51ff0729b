"""What a person reads: what it is, who it is about, how far from normal, since when, and where to look."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import msgspec

from anomaly_app.alerts import Severity
from anomaly_app.alerts.values import iso_time
from anomaly_app.delivery.notification import Notification
from anomaly_app.settings.delivery import Sending
from anomaly_app.sinks.advice import actions
from anomaly_app.sinks.base import Count
from anomaly_app.sinks.templates import Template, TemplateFailed
from anomaly_app.sinks.wording import (
    LONGEST_TITLE,
    Item,
    Table,
    cell,
    facts_text,
    item_of,
    kind_of,
    one_line,
    rows_of,
    subject,
    summary,
)

LEVELS: tuple[Severity, ...] = ("low", "medium", "high", "critical")
MOST_ITEMS = 10
"""Alerts that a text tells one by one."""
TEMPLATE_FAILED = "template_failed"

Acknowledge: TypeAlias = Callable[[str, str, int], str]
"""(id of an alert, receiver, when the notification was decided in ms) to a signed address; "" for none."""


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

    @property
    def one(self) -> bool:
        """It tells a single alert."""
        return len(self.items) == 1 and not self.left_out


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
        items = [item_of(told) for told in notification.alerts[:MOST_ITEMS]]
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
            actions=[] if resolved else actions(first.alert, _who(items), one),
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
    kinds = {kind_of(entry.alert) for entry in told}
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


def _lead(notification: Notification) -> str:
    if notification.note:
        return notification.note
    if notification.reason == "digest":
        return f"More messages came than may be sent in a minute: {notification.held_back:,} are told here as one."
    if notification.status == "resolved":
        return "It is over: no new alert has come."
    return "It still lasts." if notification.reason == "repeat" else ""


def _who(items: Sequence[Item]) -> str:
    return items[0].who if len({item.who for item in items}) == 1 else "them"


def _table_of(items: Sequence[Item], total: int) -> Table:
    rows = [
        [
            "resolved" if item.told.status == "resolved" else item.told.alert.severity,
            cell(item.who or item.told.alert.job),
            item.deviation.short() if item.deviation else "",
            item.since.removesuffix(" UTC").partition(" UTC")[0],
            f"{item.told.count:,}",
        ]
        for item in items
    ]
    return Table(["severity", "who", "deviation", "since (UTC)", "alerts"], rows, total - len(items))


def _text_of(message: Message) -> str:
    lines = [message.lead, ""] if message.lead else []
    table = message.table.lines() if message.table is not None else []
    if message.one:
        lines += facts_text(message.items[0]) + ([""] if table else []) + table
    else:
        lines += [*table, "", *(f"- {summary(item.told.alert)}" for item in message.items)]
    if message.actions:
        lines += ["", "What to do:", *(f"- {action}" for action in message.actions)]
    if message.link:
        lines += ["", f"Where to look: {message.link}"]
    if message.acknowledge:
        lines += [f"Acknowledge: {message.acknowledge}"]
    return "\n".join(lines)


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
        for item in [item_of(told)]
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
