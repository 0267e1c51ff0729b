"""Acknowledgements: somebody has seen an alert. A link in a message says which alert, and proves that it was sent.

The link is signed with ``delivery.signing_key``; who has it may acknowledge that one alert, and nothing else.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from urllib.parse import quote, urlencode

import msgspec

from anomaly_app.alerts.values import iso_time

LINK_LASTS_MS = 7 * 24 * 3_600_000
"""From when the notification was decided."""

_ID = re.compile(r"[A-Za-z0-9._-]{1,100}")


class Ack(msgspec.Struct, frozen=True, kw_only=True):
    """A record of the topic of acknowledgements; its key is the id of the alert.

    Args:
        alert: id of the alert.
        by: who; a name that was given, or the receiver to whom the link was sent.
        at_ms: when, in ms since 1970.
        comment: what was said with it.
    """

    alert: str
    by: str
    at_ms: int
    comment: str = ""


def is_alert_id(text: str) -> bool:
    """Whether a text may be the id of an alert.

    Example:
        >>> is_alert_id("0e1f2a3b"), is_alert_id("../x"), is_alert_id("")
        (True, False, False)
    """
    return _ID.fullmatch(text) is not None


def signature(key: str, alert_id: str, by: str, until_ms: int) -> str:
    """Of a link: 64 hex digits."""
    text = "\0".join(("anomaly-ack-1", alert_id, by, str(until_ms)))
    return hmac.new(key.encode(), text.encode(), hashlib.sha256).hexdigest()


def ack_link(page: str, key: str, alert_id: str, by: str, created_ms: int) -> str:
    """The address at which an alert can be acknowledged; "" without a page or a key.

    Args:
        page: ``delivery.link``.
        key: ``delivery.signing_key``.
        alert_id: of the alert.
        by: receiver that gets the link; it is written down as who acknowledged.
        created_ms: when the notification was decided: the same notification always has the same link.

    Example:
        >>> ack_link("http://127.0.0.1:6067/", "secret", "0e1f", "ops", 0).partition("&sig=")[0]
        'http://127.0.0.1:6067/ack/0e1f?by=ops&until=604800000'
        >>> ack_link("", "secret", "0e1f", "ops", 0)
        ''
    """
    if not (page and key):
        return ""
    until_ms = created_ms + LINK_LASTS_MS
    query = urlencode({"by": by, "until": until_ms, "sig": signature(key, alert_id, by, until_ms)}, quote_via=quote)
    return f"{page.rstrip('/')}/ack/{quote(alert_id, safe='')}?{query}"


def check_link(key: str, alert_id: str, by: str, until: str, given: str, now_ms: int) -> str:
    """What is wrong with a link; "" if it may acknowledge.

    Args:
        key: ``delivery.signing_key``.
        alert_id: of the path.
        by: of the query.
        until: of the query, as it stands there.
        given: the signature of the query.
        now_ms: now, in ms since 1970.

    Example:
        >>> good = signature("secret", "0e1f", "ops", 1_000)
        >>> check_link("secret", "0e1f", "ops", "1000", good, 999)
        ''
        >>> check_link("secret", "0e1f", "ops", "1000", good, 1_000)
        'this link was good until 1970-01-01 00:00 UTC'
        >>> check_link("secret", "0e1f", "eve", "1000", good, 999)
        'this link is not complete, or was not made here'
    """
    wrong = "this link is not complete, or was not made here"
    if not key or not is_alert_id(alert_id) or not re.fullmatch(r"[0-9]{1,15}", until):
        return wrong
    if not hmac.compare_digest(signature(key, alert_id, by, int(until)).encode(), given.encode()):
        return wrong
    if now_ms >= int(until):
        return f"this link was good until {iso_time(int(until), ' ', '')[:16]} UTC"
    return ""
