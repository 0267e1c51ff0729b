"""Calls of responses against a server that fails on purpose."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import msgspec
import pytest
from notifications import T0, an_alert

from anomaly_app.alerts import encode
from anomaly_app.delivery.response_records import ResponseRequest
from anomaly_app.errors import SettingsError
from anomaly_app.settings import load_settings
from anomaly_app.sinks.breaker import Clock
from anomaly_app.sinks.responses import ResponseCalls
from anomaly_app.testing.receivers import DIE, FailingReceiver, error, redirect


def request_of(key: dict[str, Any] | None = None, **payload: Any) -> ResponseRequest:
    alert = an_alert(key=key, severity="critical", payload=payload or None)
    return ResponseRequest("k-1", "freeze", 0, alert, encode(alert), "eu-1", T0)


class FastClock:
    """Sleeping takes no time."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.clock = Clock(lambda: T0 + round(self.seconds * 1_000), lambda: self.seconds, self._sleep)

    async def _sleep(self, seconds: float) -> None:
        self.seconds += seconds


def calls(tmp_path: Path, url: str, *more: str, clock: FastClock | None = None) -> ResponseCalls:
    file = tmp_path / "anomaly.toml"
    step = [f'http = "{url}"', 'title = "freeze the account"', *more]
    file.write_text(
        "[[response]]\nname = 'freeze'\nmatchers = ['severity=critical']\n[[response.steps]]\n" + "\n".join(step) + "\n"
    )
    return ResponseCalls(
        load_settings(config_file=file, environ={}),
        **({} if clock is None else {"clock": clock.clock, "chance": random.Random(1)}),  # type: ignore[arg-type]
    )


async def test_a_call_has_a_key_the_alert_and_the_token(tmp_path: Path) -> None:
    async with FailingReceiver() as bank:
        made = calls(
            tmp_path, f"{bank.url}/accounts/{{{{ alert.key.userId }}}}/freeze?by={{{{ rule }}}}", 'token = "t-1"'
        )
        outcome = await made.make(request_of())
        await made.close()
    assert (outcome.sent, outcome.attempts) == (True, 1)
    (came,) = bank["/accounts/user001/freeze"].requests
    assert came.path == "/accounts/user001/freeze?by=freeze"
    assert came.key == "k-1" and came.headers["authorization"] == "Bearer t-1"
    assert came.json()["payload"]["max_amount"] == 12_345.67 and came.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ("a/../../admin", "/users/a%2F..%2F..%2Fadmin/x?u=a%2F..%2F..%2Fadmin"),
        ("a?b=c#d&e", "/users/a%3Fb%3Dc%23d%26e/x?u=a%3Fb%3Dc%23d%26e"),
        ("%2e%2e", "/users/%252e%252e/x?u=%252e%252e"),
        ("a b+ü@evil.example", "/users/a%20b%2B%C3%BC%40evil.example/x?u=a%20b%2B%C3%BC%40evil.example"),
        (7, "/users/7/x?u=7"),
    ],
)
async def test_values_are_quoted(tmp_path: Path, value: Any, path: str) -> None:
    async with FailingReceiver(choose=lambda path, number: None) as bank:
        made = calls(tmp_path, f"{bank.url}/users/{{{{ alert.key.userId }}}}/x?u={{{{ alert.key.userId }}}}")
        assert (await made.make(request_of({"userId": value}))).sent
        await made.close()
        ((came,),) = [box.requests for box in bank._boxes.values()]
    assert came.path == path


@pytest.mark.parametrize(
    "key", [{"userId": ".."}, {"userId": "."}, {"userId": ""}, {"userId": None}, {}, {"other": "a"}]
)
async def test_an_address_that_would_be_another_one_is_not_called(tmp_path: Path, key: dict[str, Any]) -> None:
    async with FailingReceiver() as bank:
        made = calls(tmp_path, f"{bank.url}/users/{{{{ alert.key.userId }}}}/freeze")
        outcome = await made.make(request_of(key))
        await made.close()
        assert bank._boxes == {}
    assert not outcome.sent and outcome.attempts == 1 and outcome.problem.startswith("the template fails: ")


async def test_a_body_is_json_whatever_the_values_are(tmp_path: Path) -> None:
    body = """'''{"user": "{{ alert.key.userId }}", "amount": "{{ alert.payload.amount }}",
        "list": ["{{ alert.key }}", 3], "said": "{{ alert.payload.note | upper }}: {{ rule }}",
        "tenant": "{{ tenant }}", "fixed": {"a": null}}'''"""
    evil = '", "admin": true, "x": "</script>\n{{ 1 }}'
    async with FailingReceiver() as bank:
        made = calls(tmp_path, f"{bank.url}/freeze", f"body = {body}", 'method = "PUT"')
        assert (await made.make(request_of({"userId": evil}, amount=12.5, note=evil))).sent
        await made.close()
    (came,) = bank["/freeze"].requests
    assert came.json() == {
        "user": evil, "amount": 12.5, "list": [{"userId": evil}, 3], "said": f"{evil.upper()}: freeze",
        "tenant": "eu-1", "fixed": {"a": None},
    }  # fmt: skip


async def test_it_is_tried_again_under_the_same_key_until_it_is_given_up(tmp_path: Path) -> None:
    clock = FastClock()
    async with FailingReceiver() as bank:
        bank["/freeze"].plan(error(500), error(429, retry_after="40"), DIE)
        made = calls(tmp_path, f"{bank.url}/freeze", clock=clock)
        outcome = await made.make(request_of())
        assert outcome.sent and outcome.attempts == 4 and clock.seconds > 40
        assert set(bank["/freeze"].kept) == {"k-1"} and bank["/freeze"].doubles == {"k-1": 1}
        bank["/freeze"].always = error(503, "come back later")
        made_ = calls(tmp_path, f"{bank.url}/freeze", 'give_up_after = "2m"', clock=clock)
        outcome = await made_.make(request_of())
        assert not outcome.sent and 119 < clock.seconds < 121
        assert outcome.problem == "given up after 2 minutes: answer 503: come back later"
        await made.close()
        await made_.close()


async def test_a_refusal_is_final_and_no_other_host_is_asked(tmp_path: Path) -> None:
    async with FailingReceiver() as bank, FailingReceiver() as elsewhere:
        bank["/freeze"].plan(error(422, "no such account"))
        made = calls(tmp_path, f"{bank.url}/freeze", 'give_up_after = "0s"')
        assert (await made.make(request_of())).problem == "answer 422: no such account"
        bank["/freeze"].always = redirect(f"{elsewhere.url}/freeze")
        outcome = await made.make(request_of())
        assert "leads to another host, which is not followed" in outcome.problem and elsewhere._boxes == {}
        await made.close()


@pytest.mark.parametrize(
    ("url", "more", "said"),
    [
        (
            "http://h/x",
            "body = '{\"a\": {{ alert.key }}}'",
            "response[0].steps[0].body (from FILE, line 7): is no JSON",
        ),
        ("http://h/x", 'body = \'{"a": "{{ alert. }}"}\'', "response[0].steps[0].body (from FILE, line 7): line 1 of"),
        ("http://h/{{ x", "", "response[0].steps[0].http (from FILE, line 5): line 1 of the template"),
        ("http://h/x", 'headers = {"a b" = "c"}', "response[0].steps[0].headers (from FILE, line 7): 'a b' has"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(tmp_path: Path, url: str, more: str, said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        calls(tmp_path, url, *([more] if more else []))
    assert str(caught.value).replace(str(tmp_path / "anomaly.toml"), "FILE").startswith(said)


def test_the_alert_that_is_sent_is_the_record() -> None:
    request = request_of()
    assert msgspec.json.decode(request.raw)["id"] == request.alert.id
