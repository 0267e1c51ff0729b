"""What becomes of an alert, in words."""

from __future__ import annotations

from pathlib import Path

from delivering import MINUTE, START, Play, alert, incoming, load, receiver

from anomaly_app.delivery.explain import describe, explain
from anomaly_app.delivery.matchers import parse_matchers
from anomaly_app.delivery.response_rules import Rule, Step
from anomaly_app.delivery.silences import Silence

TEXT = (
    """
[delivery.route]
receiver = "ops"
[[delivery.route.routes]]
matchers = 'job="sales"'
continue = true
group_by = ["user_id"]
repeat_interval = "1h"
[[delivery.route.routes.routes]]
matchers = 'severity="critical"'
receiver = "pager"
mute_time_intervals = ["night"]
[[delivery.route.routes]]
matchers = ['tenant=~"eu-.*"']
receiver = "lake"
[[delivery.inhibit_rules]]
source_matchers = 'type="silence"'
target_matchers = 'type!="silence"'
equal = ["job"]
[[delivery.time_intervals]]
name = "night"
[[delivery.time_intervals.time_intervals]]
times = [{start_time = "07:00", end_time = "09:00"}]
[[delivery.receivers]]
name = "lake"
[[delivery.receivers.kafka]]
topic = "all"
[[delivery.receivers]]
name = "spare"
"""
    + receiver("ops")
    + receiver("pager")
)
HELD = (
    'held back by delivery.inhibit_rules[0]: type="silence" → type!="silence", equal job: no such source is there now'
)


def test_the_tree_is_described(tmp_path: Path) -> None:
    play = Play(load(TEXT, tmp_path))
    assert list(describe(play.tree)) == [
        "all alerts → ops · groups by job, type · waits 30 seconds, then 5 minutes, repeats after 4 hours",
        '├─ job="sales" → ops · groups by user_id · waits 30 seconds, then 5 minutes, repeats after 1 hour · continue',
        '│  └─ severity="critical" → pager · groups by user_id · waits 30 seconds, then 5 minutes, repeats after 1 hour'
        " · mute at night",
        '└─ tenant=~"eu-.*" → lake · groups by job, type · waits 30 seconds, then 5 minutes, repeats after 4 hours',
        "receiver lake: lake/kafka/0",
        "receiver spare: no sinks: what comes to it is dropped (no route leads to it)",
        "receiver ops: ops/webhook/0",
        "receiver pager: pager/webhook/0",
        'inhibition: delivery.inhibit_rules[0]: type="silence" → type!="silence", equal job',
    ]


def test_an_alert_is_explained(tmp_path: Path) -> None:
    play = Play(load(TEXT, tmp_path))
    found = list(explain(play.dispatcher, alert(0, severity="critical"), "eu-1", START).lines())
    assert found == [
        'labels: job="sales", query="unusual", type="pattern", severity="critical", tenant="eu-1", user_id="ann"',
        "routes:",
        "  delivery.route (all alerts): yes",
        '    delivery.route.routes[0] (job="sales"): yes',
        '      delivery.route.routes[0].routes[0] (severity="critical"): yes, and the alert ends here',
        '    delivery.route.routes[1] (tenant=~"eu-.*"): yes, and the alert ends here',
        HELD,
        "lake/kafka/0: gets every alert, in order",
        'pager/webhook/0 (group {user_id="ann"}): told at 2026-01-05 08:15:00 UTC: mute interval night; '
        "looked at again then",
    ]
    found = list(explain(play.dispatcher, alert(0, job="other"), "", START).lines())
    assert found[2:] == [
        "  delivery.route (all alerts): yes, and the alert ends here",
        '    delivery.route.routes[0] (job="sales"): no: job="sales"',
        '    delivery.route.routes[1] (tenant=~"eu-.*"): no: tenant=~"eu-.*"',
        HELD,
        'ops/webhook/0 (group {job="other", type="pattern"}): told at 2026-01-05 08:00:30 UTC: the first of its group: '
        "others are waited for 30 seconds",
    ]


def test_what_is_known_is_explained(tmp_path: Path) -> None:
    play = Play(load(TEXT, tmp_path))

    def last() -> str:
        return list(explain(play.dispatcher, alert(9), "", play.now).lines())[-1].partition(": ")[2]

    play.take(incoming(0))
    play.now += 1_000
    assert last() == "told at 2026-01-05 08:00:30 UTC: the group waits for others since 2026-01-05 08:00:00 UTC"
    play.works = lambda sink: False
    play.until(START + MINUTE)
    assert last() == "not told: a notification of its group is on its way: it is told with the next"
    play.works = lambda sink: True
    play.step()
    assert last() == (
        "told at 2026-01-05 09:00:30 UTC: the same was told: it is repeated after 1 hour if it still comes"
    )
    play.dispatcher.acknowledge(f"{0:032x}", "bo", play.now)
    assert last() == "not told: the same was told, and bo has taken it"
    play.take(incoming(1, job="sales", type="silence", key={"table": "sales"}))
    assert last() == ("told at 2026-01-05 08:06:00 UTC: held back by another alert, at least until then")
    play.dispatcher.put_silence(
        Silence(
            id="7",
            matchers=("user_id=ann",),
            starts_ms=START,
            ends_ms=START + 10 * MINUTE,
            created_by="bo",
            comment="x",
        )
    )
    assert last() == "told at 2026-01-05 08:10:00 UTC: silenced; if it still comes then it is told at once"
    assert "silence 7 (user_id=ann): until 2026-01-05 08:10:00 UTC, which is soon; bo: x" in list(
        explain(play.dispatcher, alert(9), "", play.now).lines()
    )


def test_responses_are_told(tmp_path: Path) -> None:
    steps = (Step("http", "freeze the account"), Step("notify", "notify", "ops", ("ops/webhook/0",)))
    rules = [
        Rule("freeze", parse_matchers("job=sales"), steps, dry_run=True, max_per_hour=1),
        Rule("polite", parse_matchers("job=sales"), steps, dry_run=False, max_per_hour=1, heed_silences=True),
        Rule("other", parse_matchers("job=other"), steps, dry_run=False, max_per_hour=1),
    ]
    play = Play(load(TEXT, tmp_path))
    found = explain(play.dispatcher, alert(1), "", START, rules)
    assert list(found.lines())[-2:] == [
        "response freeze: freeze the account, then notify (dry run)",
        "response polite: freeze the account, then notify",
    ]
    silence = Silence(
        id="s", matchers=("job=sales",), starts_ms=START, ends_ms=START + MINUTE, created_by="bo", comment="x"
    )
    play.dispatcher.put_silence(silence)
    assert list(explain(play.dispatcher, alert(1), "", START, rules).lines())[-2:] == [
        "response freeze: freeze the account, then notify (dry run)",
        "response polite: not begun while it is silenced",
    ]
