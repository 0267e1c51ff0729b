"""Messages to Slack by an incoming webhook, in Block Kit."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from anomaly_app.delivery.notification import Notification
from anomaly_app.settings.delivery import SlackSink
from anomaly_app.sinks.http import Client
from anomaly_app.sinks.messages import Message, Messages
from anomaly_app.sinks.wording import Item, Table, explanation, facts, one_line, own_words, summary

LONGEST_HEADER = 150
LONGEST_SECTION = 2_900
"""Slack refuses more than 3,000 characters; escaped ones count as what they are written with."""
MOST_IN_FULL = 5
"""Alerts of which the explanation is told; the table has all of them."""

_encoder = msgspec.json.Encoder()


class Slack:
    """Posts notifications to a channel.

    Args:
        settings: of the sink.
        messages: puts them into words.

    Raises:
        OptionError: a setting is wrong.
    """

    def __init__(self, settings: SlackSink, messages: Messages) -> None:
        self._client = Client(settings.url.get_secret_value(), settings)
        self._messages, self._channel = messages, settings.channel

    async def send(self, notification: Notification) -> None:
        """Post it."""
        content = blocks_of(self._messages.message(notification))
        if self._channel:
            content["channel"] = self._channel
        answer = await self._client.request(_encoder.encode(content), {"Content-Type": "application/json"})
        self._client.check(answer)

    async def close(self) -> None:
        """Close its connections."""
        await self._client.close()


def blocks_of(message: Message) -> dict[str, Any]:
    """A message for the API of Slack."""
    blocks: list[dict[str, Any]] = [
        {
            "type": "header",
            "text": {"type": "plain_text", "text": one_line(message.title, LONGEST_HEADER), "emoji": False},
        }
    ]
    blocks += [_section(escape(message.text))] if message.templated else _usual(message)
    # The text stands in notifications of the phone, and where blocks cannot be shown.
    return {"text": escape(message.title), "blocks": blocks}


def escape(text: str) -> str:
    """What others wrote is no mention, link or command.

    Example:
        >>> escape("<!channel> & <http://evil|click>")
        '&lt;!channel&gt; &amp; &lt;http://evil|click&gt;'
    """
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _usual(message: Message) -> list[dict[str, Any]]:
    blocks = [_section(escape(message.lead))] if message.lead else []
    told = [_section(escape(summary(item.told.alert))) for item in message.items[:MOST_IN_FULL]]
    table = [] if message.table is None else [_section(_drawn(message.table))]
    if message.one:
        if own_words(message.items[0].told.alert):
            told.append(_section(escape(explanation(message.items[0].told.alert))))
        blocks += [*told, _fields(message.items[0]), *table]
    else:
        blocks += [*table, *told]
    if message.actions:
        blocks.append(_section("*What to do*\n" + "\n".join(f"• {escape(action)}" for action in message.actions)))
    links = [_link(message.link, "Where to look"), _link(message.acknowledge, "Acknowledge")]
    if any(links):
        blocks.append(_section("  |  ".join(link for link in links if link)))
    if message.one:
        id_ = {"type": "plain_text", "text": f"alert {message.items[0].told.alert.id}", "emoji": False}
        blocks.append({"type": "context", "elements": [id_]})
    return blocks


def _drawn(table: Table) -> str:
    lines = table.lines()
    while len(lines) > 2 and len("\n".join(escape(line) for line in lines)) > LONGEST_SECTION - 10:
        lines = [*lines[:-2], "…"]
    # A back-quote of others would end the block.
    return "```" + escape("\n".join(lines)).replace("`", "'") + "```"


def _fields(item: Item) -> dict[str, Any]:
    named = [(name, value) for name, value in facts(item) if value and name != "Alert"]
    return {
        "type": "section",
        "fields": [
            {"type": "mrkdwn", "verbatim": True, "text": _cut(f"*{name}*\n{escape(value)}", 1_900)}
            for name, value in named
        ],
    }


def _section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": {"type": "mrkdwn", "verbatim": True, "text": _cut(text, LONGEST_SECTION)}}


def _link(address: str, text: str) -> str:
    return f"<{escape(address).replace('|', '%7C')}|{text}>" if address else ""


def _cut(text: str, most: int) -> str:
    if len(text) <= most:
        return text
    return re.sub(r"&[a-z]*$", "", text[: most - 1]) + "…"
