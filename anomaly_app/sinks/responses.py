"""Calls that responses make: freeze an account, ask for a second factor.

The address is that of the settings; values stand behind its host only, quoted, and one that is empty or would lead to
another folder is refused. The body is JSON whose texts may be templates, so that no value can change what it is.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import msgspec
from yarl import URL

from anomaly_app.delivery.response_records import ResponseRequest
from anomaly_app.errors import OptionError, SinkError
from anomaly_app.settings import LoadedSettings
from anomaly_app.settings.delivery import ResponseStep
from anomaly_app.sinks.breaker import Clock, backoff_s
from anomaly_app.sinks.http import Client
from anomaly_app.sinks.sender import SYSTEM_CLOCK, Outcome
from anomaly_app.sinks.templates import Template, TemplateFailed
from anomaly_app.sinks.webhook import IDEMPOTENCY
from anomaly_app.words import duration

Values: TypeAlias = Mapping[str, Any]
_Render: TypeAlias = Callable[[Values], Any]

_ALONE = re.compile(r"\s*\{\{((?:(?!\{\{|\}\}).)*)\}\}\s*", re.DOTALL)
"""A text that is one expression and nothing else."""


class ResponseCalls:
    """Makes the calls of all rules.

    Args:
        loaded: the settings.
        clock: where time comes from.
        chance: of the pauses between attempts.

    Raises:
        SettingsError: an address, a header, a certificate or a template is wrong.
    """

    def __init__(
        self, loaded: LoadedSettings, clock: Clock = SYSTEM_CLOCK, chance: random.Random | None = None
    ) -> None:
        self._clock, self._chance = clock, chance or random.Random()
        self._calls: dict[tuple[str, int], _Call] = {}
        for number, rule in enumerate(loaded.settings.response):
            for place, step in enumerate(rule.steps):
                if not step.http.get_secret_value():
                    continue
                try:
                    self._calls[rule.name, place] = _Call(step)
                except OptionError as error:
                    key = f"response[{number}].steps[{place}].{error.option}"
                    raise loaded.error(key, str(error)) from error

    async def make(self, request: ResponseRequest) -> Outcome:
        """Call until it is taken, refused or given up. Cancelling it is safe: it may be made again under its key.

        Args:
            request: of :attr:`anomaly_app.delivery.responses.Responses.requests`.
        """
        call = self._calls[request.rule, request.step]
        attempts, deadline_ms = 0, request.since_ms + call.give_up_after_ms
        while True:
            attempts += 1
            try:
                await call.make(request)
            except SinkError as error:
                if not error.retriable:
                    return Outcome(False, attempts, str(error))
                left_s = (deadline_ms - self._clock.now_ms()) / 1_000
                if left_s <= 0:
                    return Outcome(False, attempts, f"given up after {duration(call.give_up_after_ms)}: {error}")
                pause_s = max(backoff_s(attempts, self._chance), error.retry_after_s or 0.0)
                await self._clock.sleep(min(pause_s, left_s))
            else:
                return Outcome(True, attempts)

    async def close(self) -> None:
        """Close connections."""
        for call in self._calls.values():
            await call.client.close()


class _Call:
    """The call of one step."""

    def __init__(self, step: ResponseStep) -> None:
        url = step.http.get_secret_value()
        scheme, _, rest = url.partition("://")
        host = re.split(r"[/?#]", rest, maxsplit=1)[0]
        self.give_up_after_ms = step.give_up_after
        self._method = step.method
        self._address = Template(url, "http", address=True)
        self._body = _body(step.body) if step.body else None
        self.client = Client(
            f"{scheme}://{host}",
            step,
            option="http",
            token=step.token.get_secret_value(),
            secrets=[part for part in re.split(r"[/?#&=]", rest) if "{" not in part],
        )

    async def make(self, request: ResponseRequest) -> None:
        alert = msgspec.to_builtins(request.alert)
        values = {"alert": alert, "tenant": request.tenant, "rule": request.rule, "id": request.id}
        try:
            # A value that is not there fails: an address without it would be another one.
            address = _checked(self._address.render(_present(values)))
            body = request.raw if self._body is None else msgspec.json.encode(self._body(values))
        except TemplateFailed as error:
            raise SinkError(f"the template fails: {error}", retriable=False) from None
        # As it is: yarl would take back some of the quoting.
        url = URL(address, encoded=address.isascii() and " " not in address)
        if url.user:
            url = url.with_user(None)
        headers = {"Content-Type": "application/json", IDEMPOTENCY: request.id}
        self.client.check(await self.client.request(body, headers, method=self._method, url=url))


def _present(value: Any) -> Any:
    """Without values that are null or empty."""
    if not isinstance(value, dict):
        return value
    return {name: _present(inner) for name, inner in value.items() if inner is not None and inner != ""}


def _checked(address: str) -> str:
    path = re.split(r"[?#]", address.partition("://")[2], maxsplit=1)[0]
    if any(part in (".", "..") for part in path.split("/")):
        raise TemplateFailed("a value would lead to another folder")
    return address


def _body(text: str) -> _Render:
    """JSON whose texts may be templates; a text that is one expression becomes its value, such as a number.

    Raises:
        OptionError: it is no JSON, or a template in it cannot be read.
    """
    try:
        document = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        problem = (
            f"is no JSON: {error}; expressions stand inside of texts, as in " + '{"user": "{{ alert.key.userId }}"}'
        )
        raise OptionError("body", problem) from None
    return _renderer(document)


def _renderer(value: Any) -> _Render:
    if isinstance(value, dict):
        members = {name: _renderer(inner) for name, inner in value.items()}
        return lambda values: {name: render(values) for name, render in members.items()}
    if isinstance(value, list):
        elements = [_renderer(inner) for inner in value]
        return lambda values: [render(values) for render in elements]
    if not isinstance(value, str) or "{" not in value:
        return lambda values: value
    Template(value, "body")
    alone = _ALONE.fullmatch(value)
    if alone is None:
        return Template(value, "body").render
    expression = Template("{{ (" + alone[1] + ") | tojson }}", "body")
    return lambda values: msgspec.json.decode(expression.render(values))
