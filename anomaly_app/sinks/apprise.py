"""Any service that apprise knows, by an address of apprise (extra ``apprise``)."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor

from anomaly_app.alerts import Severity
from anomaly_app.delivery.notification import Notification
from anomaly_app.errors import OptionError, SinkError
from anomaly_app.settings.delivery import AppriseSink
from anomaly_app.sinks.messages import Messages

THREADS = 2
"""Of one sink: a service that hangs holds up no other sink."""
TYPES: dict[Severity, str] = {"critical": "failure", "high": "failure", "medium": "warning", "low": "info"}
_TALKATIVE = ("apprise", "urllib3.connectionpool")
"""Loggers that write addresses when they may write everything, and a line for each message when they may not."""


class Apprise:
    """Sends notifications as text by apprise, in threads.

    Args:
        settings: of the sink.
        messages: puts them into words.

    Raises:
        OptionError: apprise is not installed, or does not know the address.
    """

    def __init__(self, settings: AppriseSink, messages: Messages) -> None:
        try:
            import apprise
        except ImportError as error:
            raise OptionError("url", "needs the extra: pip install 'anomaly-app[apprise]'") from error
        for name in _TALKATIVE:
            logger = logging.getLogger(name)
            logger.setLevel(max(logger.level, logging.WARNING))
        self._service = apprise.Apprise(asset=apprise.AppriseAsset(http_redirects=False))
        if not settings.url.get_secret_value() or not self._service.add(settings.url.get_secret_value()):
            raise OptionError("url", "should be an address that apprise knows")
        self._messages, self._timeout_s = messages, settings.timeout / 1_000
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="apprise")

    async def send(self, notification: Notification) -> None:
        """Send it once. Apprise does not say what is wrong, so it may always be tried again."""
        message = self._messages.message(notification)
        type_ = "success" if message.resolved else TYPES[message.severity]

        def notify() -> bool:
            return bool(self._service.notify(title=message.title, body=message.text, notify_type=type_))

        try:
            async with asyncio.timeout(self._timeout_s):
                taken = await asyncio.get_running_loop().run_in_executor(self._threads, notify)
        except TimeoutError:
            raise SinkError(f"no answer within {self._timeout_s:g} s") from None
        # A service of apprise may raise what its libraries do, with the address in it.
        except Exception as error:
            raise SinkError(f"apprise fails: {type(error).__name__}") from None
        if not taken:
            raise SinkError("the service did not take it")

    async def close(self) -> None:
        """Let its threads end."""
        self._threads.shutdown(wait=False, cancel_futures=True)
