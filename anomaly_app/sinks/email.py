"""Mail over SMTP, as HTML and as text."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, getaddresses
from html import escape

import aiosmtplib

from anomaly_app.delivery.notification import Notification
from anomaly_app.errors import OptionError, SinkError
from anomaly_app.settings.delivery import EmailSink
from anomaly_app.sinks.base import Count
from anomaly_app.sinks.http import failure, tls_context
from anomaly_app.sinks.messages import Message, Messages
from anomaly_app.sinks.wording import Item, Table, explanation, facts, one_line, own_words, summary

RECIPIENT_REFUSED = "recipient_refused"
"""Counted where the server takes a mail for some of the recipients only."""
MOST_WORDS = 200
GOODBYE_S = 1.0
COLOURS = {"critical": "#b00020", "high": "#d9480f", "medium": "#b08900", "low": "#4a6572", "resolved": "#2b8a3e"}


class Email:
    """Sends notifications by mail.

    Args:
        settings: of the sink.
        messages: puts them into words.
        count: is told of recipients whom the server refuses while it takes the mail for others.

    Raises:
        OptionError: an address or the file of certificates is wrong.
    """

    def __init__(self, settings: EmailSink, messages: Messages, count: Count = lambda what: None) -> None:
        self._settings, self._messages, self._count = settings, messages, count
        self._sender = parse_address(settings.sender, "sender")
        self._to = [parse_address(each, "to") for each in settings.to]
        if not settings.host or not all(c.isprintable() and not c.isspace() for c in settings.host):
            raise OptionError("host", "should be the name of a mail server")
        self._tls = None if settings.tls == "none" else tls_context(settings.ca_file)
        if settings.username and settings.tls == "none":
            raise OptionError("tls", "'none' would send the password so that anybody can read it: use starttls or tls")

    async def send(self, notification: Notification) -> None:
        """Send one mail to all recipients.

        It has the same ``Message-ID`` each time, by which mail programs know a double.
        """
        mail = compose(notification, self._messages.message(notification), self._sender, self._to)
        settings = self._settings
        client = aiosmtplib.SMTP(
            hostname=settings.host,
            port=settings.port,
            use_tls=settings.tls == "tls",
            start_tls=settings.tls == "starttls",
            tls_context=self._tls,
            timeout=settings.timeout / 1_000,
            local_hostname=_own_name(),
        )
        try:
            async with asyncio.timeout(settings.timeout / 1_000):
                await self._connect(client)
                refused, _ = await client.send_message(
                    mail, sender=self._sender.addr_spec, recipients=[address.addr_spec for address in self._to]
                )
        except TimeoutError:
            raise SinkError(f"no answer within {settings.timeout / 1_000:g} s") from None
        except (aiosmtplib.SMTPException, OSError, ValueError) as error:
            raise self._problem(error) from None
        else:
            for _ in refused:
                self._count(RECIPIENT_REFUSED)
            # The mail is taken: what goes wrong in saying goodbye is of no matter.
            with contextlib.suppress(aiosmtplib.SMTPException, OSError):
                async with asyncio.timeout(GOODBYE_S):
                    await client.quit()
        finally:
            client.close()

    async def close(self) -> None:
        """There is no connection between mails."""

    async def _connect(self, client: aiosmtplib.SMTP) -> None:
        settings = self._settings
        try:
            async with asyncio.timeout(settings.connect_timeout / 1_000):
                await client.connect()
        except TimeoutError:
            raise SinkError(f"no connection within {settings.connect_timeout / 1_000:g} s") from None
        if settings.username:
            await client.login(settings.username, settings.password.get_secret_value())

    def _problem(self, error: Exception) -> SinkError:
        if isinstance(error, aiosmtplib.SMTPRecipientsRefused):
            for_good = all(refused.code >= 500 for refused in error.recipients)
            return SinkError(f"all recipients are refused: {self._words(error.recipients[0])}", retriable=not for_good)
        if isinstance(error, aiosmtplib.SMTPAuthenticationError):
            return SinkError(f"the mail server refuses username and password: {self._words(error)}")
        if isinstance(error, aiosmtplib.SMTPResponseException):
            # What is wrong with the mail stays wrong; what is wrong with the account may be put right.
            for_good = isinstance(error, aiosmtplib.SMTPDataError) and error.code >= 500
            return SinkError(f"the mail server refuses: {self._words(error)}", retriable=not for_good)
        if isinstance(error, aiosmtplib.SMTPNotSupported) or type(error) is aiosmtplib.SMTPException:
            return SinkError(f"the mail server cannot do what is set: {one_line(error.message, MOST_WORDS)}")
        if isinstance(error, aiosmtplib.SMTPServerDisconnected):
            return SinkError("the mail server closed the connection")
        cause = error.__cause__ if isinstance(error, aiosmtplib.SMTPException) else error
        return SinkError(failure(cause) if isinstance(cause, Exception) else "the mail server cannot be reached")

    def _words(self, error: aiosmtplib.SMTPResponseException) -> str:
        text = one_line(f"{error.code} {error.message}", MOST_WORDS)
        for secret in (self._settings.password.get_secret_value(), self._settings.username):
            text = text.replace(secret, "********") if secret else text
        return text


def parse_address(text: str, option: str) -> Address:
    """An address of the settings, with or without a name: ``Fraud desk <fraud@example.com>``.

    Raises:
        OptionError: it is none.
    """
    name, spec = (getaddresses([text]) or [("", "")])[0] if text.count("@") == 1 else ("", "")
    user, _, domain = spec.rpartition("@")
    try:
        if not text.isprintable() or not user or not domain or not spec.isascii() or re.search(r"[\s,;<>]", spec):
            raise ValueError
        return Address(name, addr_spec=spec)
    except (ValueError, IndexError):
        raise OptionError(option, f"{text!r} should be an address such as ops@example.com") from None


def compose(notification: Notification, message: Message, sender: Address, to: Sequence[Address]) -> EmailMessage:
    """The mail; the same notification gives the same mail."""
    mail = EmailMessage(policy=SMTP)
    first = notification.alerts[0]
    mail["Subject"] = message.title
    mail["From"], mail["To"] = sender, to
    mail["Date"] = format_datetime(datetime.fromtimestamp(notification.created_ms / 1_000, UTC))
    mail["Message-ID"] = _reference(notification.id, sender)
    # Mail programs show what is about one group together.
    mail["References"] = _reference(notification.group, sender)
    mail["Auto-Submitted"] = "auto-generated"
    mail["X-Anomaly-Severity"] = message.severity
    mail["X-Anomaly-Status"] = notification.status
    mail["X-Anomaly-Job"] = one_line(first.alert.job, 200)
    mail["X-Anomaly-Alert"] = one_line(first.alert.id, 200)
    mail.set_content(message.text + "\n")
    mail.add_alternative(html(message), subtype="html")
    return mail


def html(message: Message) -> str:
    """The message as a page without anything from elsewhere."""
    colour = COLOURS["resolved" if message.resolved else message.severity]
    parts = [f'<h2 style="border-left: 6px solid {colour}; padding-left: 10px">{escape(message.title)}</h2>']
    if message.templated:
        parts.append(f'<pre style="font-family: inherit; white-space: pre-wrap">{escape(message.text)}</pre>')
    else:
        parts += _usual(message)
    body = "\n".join(parts)
    return f'<html><body style="font-family: sans-serif; font-size: 14px; color: #222">\n{body}\n</body></html>\n'


def _usual(message: Message) -> list[str]:
    parts = [f"<p>{escape(message.lead)}</p>"] if message.lead else []
    table = [_table(message.table)] if message.table is not None else []
    if message.one:
        [item] = message.items
        words = [summary(item.told.alert)] + [explanation(item.told.alert)] * bool(own_words(item.told.alert))
        parts += [*(f"<p>{escape(text)}</p>" for text in words), _facts(item), *table]
    else:
        parts += [*table, _listed(summary(item.told.alert) for item in message.items)]
    if message.actions:
        parts.append(f"<p><b>What to do</b></p>{_listed(message.actions)}")
    links = [(message.link, "Where to look"), (message.acknowledge, "Acknowledge")]
    written = " &nbsp; ".join(f'<a href="{escape(address)}">{name}</a>' for address, name in links if address)
    return [*parts, f"<p>{written}</p>"] if written else parts


def _listed(texts: Iterable[str]) -> str:
    return f"<ul>{''.join(f'<li>{escape(text)}</li>' for text in texts)}</ul>"


def _facts(item: Item) -> str:
    rows = [
        f'<tr><td style="padding-right: 12px"><b>{name}</b></td><td>{escape(value)}</td></tr>'
        for name, value in facts(item)
        if value
    ]
    return f'<table style="margin-bottom: 12px">{"".join(rows)}</table>'


def _table(table: Table) -> str:
    cell = 'style="padding: 2px 10px 2px 0; text-align: left; border-bottom: 1px solid #ddd"'
    head = "".join(f"<th {cell}>{escape(name)}</th>" for name in table.columns)
    rows = "".join(
        "<tr>" + "".join(f"<td {cell}>{escape(value)}</td>" for value in row) + "</tr>" for row in table.rows
    )
    more = f"<p>and {table.left_out:,} more</p>" if table.left_out else ""
    return f'<table style="border-collapse: collapse"><tr>{head}</tr>{rows}</table>{more}'


def _reference(id_: str, sender: Address) -> str:
    return f"<{re.sub(r'[^A-Za-z0-9._-]', '-', id_)[:100]}.anomaly@{sender.domain}>"


def _own_name() -> str:
    """For the greeting. The library would ask a name server, in this thread."""
    return re.sub(r"[^A-Za-z0-9.-]", "-", socket.gethostname()) or "localhost"
