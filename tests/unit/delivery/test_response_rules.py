"""Settings of responses: what is right, and where what is wrong stands."""

from __future__ import annotations

from pathlib import Path

import pytest

from anomaly_app.delivery.response_rules import Rule, compile_rules
from anomaly_app.delivery.routes import RouteTree
from anomaly_app.errors import SettingsError
from anomaly_app.settings import load_settings

RECEIVERS = """
[delivery.route]
receiver = "ops"
[[delivery.receivers]]
name = "ops"
slack = [{url = "https://hooks.slack.com/services/x"}]
[[delivery.receivers]]
name = "centre"
kafka = [{topic = "all"}]
"""
GOOD = """
[[response]]
name = "freeze"
matchers = ['severity="critical"', 'job=~"unusual_.*"']
dry_run = false
[[response.steps]]
title = "freeze the account"
http = "https://user:secret@bank.example:8443/accounts/{{ alert.key.userId }}/freeze?by={{ alert.job }}"
token = "hidden"
[[response.steps]]
notify = "ops"
[[response.steps]]
wait_for_ack = "15m"
[[response.steps]]
escalate = "ops"
"""


def compiled(tmp_path: Path, text: str) -> tuple[Rule, ...]:
    file = tmp_path / "anomaly.toml"
    file.write_text(RECEIVERS + text)
    loaded = load_settings(config_file=file, environ={})
    return compile_rules(loaded, RouteTree.compile(loaded).receivers)


def test_a_rule_is_read(tmp_path: Path) -> None:
    (rule,) = compiled(tmp_path, GOOD)
    assert (rule.name, rule.dry_run, rule.max_per_hour) == ("freeze", False, 60)
    assert [(step.kind, step.name, step.receiver, step.ways, step.wait_ms) for step in rule.steps] == [
        ("http", "freeze the account", "", (), 0),
        ("notify", "notify", "ops", ("ops/slack/0",), 0),
        ("wait_for_ack", "wait for ack", "", (), 900_000),
        ("escalate", "escalate", "ops", ("ops/slack/0",), 0),
    ]


def test_nothing_is_done_unless_it_is_said(tmp_path: Path) -> None:
    (rule,) = compiled(tmp_path, GOOD.replace("dry_run = false", ""))
    assert rule.dry_run


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        ('notify = "ops"', 'notify = "opps"', "response[0].steps[1].notify (from FILE, line 20)", "did you mean ops?"),
        ('notify = "ops"', 'notify = "x"', "response[0].steps[1].notify (from FILE, line 20)",
         "receivers are ops, centre"),
        ('escalate = "ops"', 'escalate = "centre"', "response[0].steps[3].escalate (from FILE, line 24)",
         "centre has no webhook, slack, email, pagerduty or apprise that could be told"),
        ('notify = "ops"', 'notify = "ops"\nwait_for_ack = "5m"', "response[0].steps[1] (from FILE, line 19)",
         "notify and wait_for_ack are two steps: give each a table of its own"),
        ('notify = "ops"', 'title = "x"', "response[0].steps[1] (from FILE, line 19)",
         "a step has one of http, notify, wait_for_ack and escalate"),
        ('notify = "ops"', 'notify = "ops"\nmethod = "PUT"', "response[0].steps[1].method (from FILE, line 21)",
         "means nothing in a step of the kind notify"),
        ('token = "hidden"', 'max_per_minute = 3', "response[0].steps[0].max_per_minute (from FILE, line 18)",
         "means nothing in a step of the kind http"),
        ("bank.example", "{{ alert.key.host }}", "response[0].steps[0].http (from FILE, line 17)",
         "a template may stand behind it only"),
        ("https://user", "ftp://user", "response[0].steps[0].http (from FILE, line 17)", "should begin with http"),
        ("8443", "port", "response[0].steps[0].http (from FILE, line 17)", "should begin with http"),
        ("'severity=\"critical\"'", "'severity'", "response[0].matchers[0] (from FILE, line 13)", "expected ="),
        ("unusual_.*", "unusual_(", "response[0].matchers[1] (from FILE, line 13)", "is no regular expression"),
        ("[[response.steps]]\nescalate",
         '[[response]]\nname = "freeze"\nmatchers = ["a=b"]\n[[response.steps]]\nescalate',
         "response[1].name (from FILE, line 24)", "there are two rules that are named freeze"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_its_place(tmp_path: Path, old: str, new: str, line: str, said: str) -> None:
    assert old in GOOD
    with pytest.raises(SettingsError) as caught:
        compiled(tmp_path, GOOD.replace(old, new))
    text = str(caught.value).replace(str(tmp_path / "anomaly.toml"), "FILE")
    assert text.startswith(f"{line}: ") and said in text
    assert "secret" not in text and "bank" not in text and "hidden" not in text


def test_the_wait_may_not_be_empty(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"response\[0\]\.steps\[2\]\.wait_for_ack"):
        compiled(tmp_path, GOOD.replace('"15m"', '"soon"'))
