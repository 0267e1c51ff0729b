from __future__ import annotations

import asyncio
import ssl
from typing import Any

import pytest
from certificates import Certificate
from mail_server import Mailbox, mail_server
from notifications import a_notification, an_alert, told

from anomaly_app.errors import OptionError, SinkError
from anomaly_app.settings.delivery import EmailSink
from anomaly_app.sinks.email import Email
from anomaly_app.sinks.messages import Messages


def email(port: int, counted: list[str] | None = None, **settings: Any) -> Email:
    parsed = EmailSink.model_validate(
        {
            "to": ["ops@example.com", "Fräud desk <fraud@example.com>"],
            "sender": "Anomalies <alerts@example.com>",
            "host": "127.0.0.1",
            "port": port,
            "tls": "none",
            "timeout": "2s",
            **settings,
        }
    )
    messages = Messages(parsed, link="http://page/?a=1&b=2", acknowledge=lambda *of: "http://page/ack/1?by=ops&sig=0")
    return Email(parsed, messages, (counted if counted is not None else []).append)


def parts(box: Mailbox, number: int = -1) -> tuple[str, str]:
    text, html = [part.get_content().replace("\r\n", "\n") for part in box.mails[number].iter_parts()]
    return text, html


async def test_the_tutorials_mail() -> None:
    with mail_server() as box:
        await email(box.port).send(a_notification(an_alert(severity="critical")))
    [mail] = box.mails
    assert mail["Subject"] == "[CRITICAL] Transaction Anomaly Alert - User user001"
    assert mail["From"] == "Anomalies <alerts@example.com>"
    assert mail["To"] == "ops@example.com, Fräud desk <fraud@example.com>"
    assert box.recipients == [["ops@example.com", "fraud@example.com"]]
    assert mail["X-Anomaly-Severity"] == "critical" and mail["Auto-Submitted"] == "auto-generated"
    text, html = parts(box)
    assert "max_amount 12,345.67 is 4,639 % above avg_amount 260.50" in text
    assert "What to do:\n- Look at it now" in text and "freeze User user001" in text
    assert "4,639 % above avg_amount" in html and "<li>Look at it now" in html
    assert '<a href="http://page/?a=1&amp;b=2">Where to look</a>' in html
    assert '<a href="http://page/ack/1?by=ops&amp;sig=0">Acknowledge</a>' in html
    assert "http://page/?a=1&b=2" in text


async def test_a_repeat_is_the_same_mail_and_a_group_is_one_thread() -> None:
    with mail_server() as box:
        sink = email(box.port)
        await sink.send(a_notification())
        await sink.send(a_notification())
        await sink.send(a_notification(id="n-2"))
    one, again, other = box.mails
    assert one["Message-ID"] == again["Message-ID"] == "<n-1.anomaly@example.com>" != other["Message-ID"]
    assert one["References"] == other["References"] == "<g-1.anomaly@example.com>"
    assert one["Date"] == again["Date"]


async def test_no_value_adds_a_header_or_a_recipient_or_markup() -> None:
    nasty = 'x\r\nBcc: all@example.com\r\n\r\n<script>alert(1)</script><img src="http://evil/">\u2028'
    alert = an_alert(key={"userId": nasty}, explanation=nasty, job=nasty, payload={"action": nasty, "note": nasty})
    notification = a_notification(alert, id=f"n\r\nX: {nasty}", group=nasty, group_labels={nasty: nasty})
    with mail_server() as box:
        await email(box.port).send(notification)
        await email(box.port, title="{{ alert.key.userId }}", text="{{ alert.explanation }}").send(notification)
    for mail, recipients in zip(box.mails, box.recipients, strict=True):
        assert "Bcc" not in mail and "X" not in mail and recipients == ["ops@example.com", "fraud@example.com"]
        _, html = [part.get_content() for part in mail.iter_parts()]
        assert "<script" not in html and "<img" not in html


async def test_many_alerts_and_what_is_over() -> None:
    alerts = [an_alert(number, key={"userId": f"user{number:03}"}) for number in range(30)]
    with mail_server() as box:
        await email(box.port).send(a_notification(*alerts, more=5))
        await email(box.port).send(a_notification(told(an_alert(), status="resolved")))
    assert box.mails[0]["Subject"] == "[HIGH] 35 Transaction Anomaly Alerts - User user000 and 34 others"
    assert "and 25 more" in parts(box, 0)[0] and "and 25 more" in parts(box, 0)[1]
    assert box.mails[1]["Subject"].startswith("[RESOLVED]") and "What to do" not in parts(box, 1)[0]


def server_context(certificate: Certificate) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.file, certificate.key)
    return context


async def test_starttls_and_a_password(certificate: Certificate) -> None:
    with mail_server(starttls=server_context(certificate)) as box:
        settings = {
            "host": "localhost",
            "tls": "starttls",
            "ca_file": str(certificate.file),
            "username": "ann",
            "timeout": "15s",
        }
        await email(box.port, **settings, password="right-password").send(a_notification())
        assert len(box.mails) == 1 and box.users == ["ann"]
        with pytest.raises(SinkError, match="refuses username and password: 535") as caught:
            await email(box.port, **settings, password="wrong-password").send(a_notification())
        assert "wrong-password" not in str(caught.value) and caught.value.retriable
        with pytest.raises(SinkError, match="its certificate is not trusted: self-signed certificate"):
            await email(box.port, **{**settings, "ca_file": ""}, password="right-password").send(a_notification())
        with pytest.raises(SinkError, match="its certificate is not trusted: "):  # it is not one of 127.0.0.1
            await email(box.port, **{**settings, "host": "127.0.0.1"}, password="x").send(a_notification())


async def test_tls_from_the_start(certificate: Certificate) -> None:
    settings = {"host": "localhost", "tls": "tls"}
    with mail_server(tls=server_context(certificate)) as box:
        await email(box.port, **settings, ca_file=str(certificate.file)).send(a_notification())
        assert len(box.mails) == 1
        with pytest.raises(SinkError, match="its certificate is not trusted: self-signed certificate"):
            await email(box.port, **settings).send(a_notification())


async def test_a_server_without_starttls_gets_nothing() -> None:
    with mail_server() as box:
        with pytest.raises(SinkError, match="cannot do what is set"):
            await email(box.port, tls="starttls").send(a_notification())
        assert not box.mails


@pytest.mark.parametrize(
    ("answer", "retriable"), [("451 later", True), ("552 too large", False), ("554 it looks like spam", False)]
)
async def test_mail_that_is_not_taken(answer: str, retriable: bool) -> None:
    with mail_server() as box:
        box.refuse_data = answer
        with pytest.raises(SinkError, match=answer) as caught:
            await email(box.port).send(a_notification())
        assert caught.value.retriable is retriable


async def test_recipients_that_are_refused() -> None:
    counted: list[str] = []
    with mail_server() as box:
        box.refuse["ops@example.com"] = "550 nobody of that name"
        await email(box.port, counted).send(a_notification())
        assert box.recipients == [["fraud@example.com"]] and counted == ["recipient_refused"]
        box.refuse["fraud@example.com"] = "450 mailbox is busy"
        with pytest.raises(SinkError, match="all recipients are refused: 550 nobody") as caught:
            await email(box.port).send(a_notification())
        assert caught.value.retriable
        box.refuse["fraud@example.com"] = "550 nobody either"
        with pytest.raises(SinkError) as caught:
            await email(box.port).send(a_notification())
        assert not caught.value.retriable


async def test_servers_that_hang_or_die() -> None:
    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async def die(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 hello\r\n")
        await reader.readline()
        writer.close()

    async def die_after_data(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 hello\r\n")
        while (line := await reader.readline()) and not line.startswith(b"DATA"):
            writer.write(b"250 ok\r\n")
        writer.write(b"354 go on\r\n")
        while await reader.readline() != b".\r\n":
            pass
        writer.close()

    for behave, problem in (
        (hang, "no connection within 0.2 s"),
        (die, "the mail server closed the connection"),
        (die_after_data, "the mail server closed the connection"),
    ):
        server = await asyncio.start_server(behave, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(SinkError) as caught:
            await email(port, connect_timeout="200ms").send(a_notification())
        assert str(caught.value) == problem and caught.value.retriable
        server.close()
    with pytest.raises(SinkError, match="it cannot be reached: Connect"):
        await email(port).send(a_notification())


@pytest.mark.parametrize(
    ("settings", "option"),
    [
        ({"to": ["nobody"]}, "to"),
        ({"to": ["a@example.com\nBcc: b@example.com"]}, "to"),
        ({"to": ["a@example.com, b@example.com <c@d>"]}, "to"),
        ({"to": ["ä@example.com"]}, "to"),
        ({"to": [""]}, "to"),
        ({"sender": "alerts@"}, "sender"),
        ({"host": ""}, "host"),
        ({"username": "ann", "password": "pass"}, "tls"),
    ],
)
def test_settings_that_cannot_be(settings: dict[str, Any], option: str) -> None:
    with pytest.raises(OptionError) as caught:
        email(25, **settings)
    assert caught.value.option == option
