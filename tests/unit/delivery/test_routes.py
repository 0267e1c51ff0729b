"""The route tree takes alerts where Alertmanager's does, and names what is wrong with its settings."""

from __future__ import annotations

import random
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from delivering import load, receiver

from anomaly_app.delivery.routes import Route, RouteTree
from anomaly_app.errors import SettingsError
from anomaly_app.settings import load_settings

HEAD = '[delivery.route]\nreceiver = "ops"\n'


def compiled(text: str, folder: Path) -> RouteTree:
    return RouteTree.compile(load(text, folder))


def test_a_route_has_what_the_one_above_it_says(tmp_path: Path) -> None:
    tree = compiled(
        HEAD
        + """
group_by = ["user_id"]
repeat_interval = "1h"
mute_time_intervals = ["night"]
[[delivery.route.routes]]
matchers = 'job="a"'
group_wait = "1s"
[[delivery.route.routes.routes]]
receiver = "dev"
group_by = []
[[delivery.time_intervals]]
name = "night"
[[delivery.time_intervals.time_intervals]]
times = [{start_time = "00:00", end_time = "06:00"}]
"""
        + receiver("ops")
        + receiver("dev"),
        tmp_path,
    )
    root, below, deepest = tree.root.walk()
    assert (below.receiver, below.group_by, below.group_wait, below.repeat_interval) == (
        root.receiver, ("user_id",), 1_000, 3_600_000,
    )  # fmt: skip
    assert deepest.receiver is tree.receivers["dev"]
    assert (deepest.group_by, deepest.group_wait, deepest.group_interval) == ((), 1_000, 300_000)
    assert [interval.name for interval in root.mute] == ["night"] and not below.mute
    assert len({route.id for route in tree.root.walk()}) == 3
    assert root.group_by == ("user_id",)


def test_the_root_groups_by_job_and_type(tmp_path: Path) -> None:
    assert compiled(HEAD + receiver("ops"), tmp_path).root.group_by == ("job", "type")


def test_delivery_without_receivers_has_a_root_for_nobody() -> None:
    tree = RouteTree.compile(load_settings(environ={}))
    assert tree.root.receiver is None and tree.receivers_of({"job": "a"}) == frozenset()


def test_changed_times_leave_a_route_what_it_is(tmp_path: Path) -> None:
    routes = "[[delivery.route.routes]]\nmatchers = 'job=\"{}\"'\n{}\n"
    first = compiled(HEAD + routes.format("a", "") + routes.format("b", "") + receiver("ops"), tmp_path)
    second = compiled(HEAD + routes.format("b", 'group_wait = "1s"') + receiver("ops"), tmp_path)
    assert second.root.routes[0].id == first.root.routes[1].id
    twins = compiled(HEAD + routes.format("a", "") * 2 + receiver("ops"), tmp_path)
    assert len({route.id for route in twins.root.walk()}) == 3


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (HEAD, "delivery.route.receiver (from {file}, line 2): there is no 'ops'; there are no receivers"),
        ("[delivery.route]\n" + receiver("ops"), "delivery.route.receiver (from {file}, line 1): is needed"),
        (
            HEAD + receiver("ops") + '[[delivery.route.routes]]\nreceiver = "obs"\n',
            "delivery.route.routes[0].receiver (from {file}, line 10): there is no 'obs'; did you mean ops?",
        ),
        (
            HEAD + receiver("ops") + "[[delivery.route.routes]]\nmatchers = ['a=1', 'severity critical']\n",
            "delivery.route.routes[0].matchers[1] (from {file}, line 10): 'severity critical': expected =",
        ),
        (
            HEAD + "matchers = 'a=1'\n" + receiver("ops"),
            "delivery.route.matchers (from {file}, line 3): the root takes",
        ),
        (HEAD + "continue = true\n" + receiver("ops"), "delivery.route.continue (from {file}, line 3): the root has"),
        (
            HEAD + 'group_by = ["...", "job"]\n' + receiver("ops"),
            "delivery.route.group_by (from {file}, line 3): ... is for all labels",
        ),
        (
            HEAD + 'group_by = ["job", "job"]\n' + receiver("ops"),
            "delivery.route.group_by[1] (from {file}, line 3): job is there twice",
        ),
        (
            HEAD + 'mute_time_intervals = ["nights"]\n' + receiver("ops"),
            "delivery.route.mute_time_intervals[0] (from {file}, line 3): there is no 'nights'",
        ),
        (HEAD + receiver("ops") + receiver("ops"), "delivery.receivers[1].name (from {file}, line 11): there are two"),
        (
            HEAD + receiver("ops") + "[[delivery.inhibit_rules]]\nsource_matchers = 'a'\ntarget_matchers = 'b=1'\n",
            "delivery.inhibit_rules[0].source_matchers[0] (from {file}, line 10): 'a': expected =",
        ),
    ],
)
def test_wrong_settings_are_named_with_their_place(text: str, problem: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as found:
        compiled(text, tmp_path)
    assert problem.format(file=tmp_path / "anomaly.toml") in str(found.value)


# Alertmanager's own tool is the oracle of routing.


def random_tree(choose: random.Random, depth: int = 0) -> dict[str, Any]:
    operator, name = choose.choice(["=", "!=", "=~", "!~"]), choose.choice(["job", "severity", "user_id", "gone"])
    value = choose.choice(["", "a", "b", "a|b", ".+", "x.*", "critical", "low|high"])
    route: dict[str, Any] = {"receiver": f"r{choose.randrange(6)}", "continue": choose.random() < 0.4}
    route["matchers"] = [f'{name}{operator}"{value}"'] * (choose.random() < 0.9)
    if choose.random() < 0.2:
        del route["receiver"]
    if depth < 3:
        route["routes"] = [random_tree(choose, depth + 1) for _ in range(choose.randrange(4))]
    return route


def toml(route: dict[str, Any], path: str) -> str:
    text = f"[[{path}]]\n"
    for name in ("receiver", "continue"):
        if name in route:
            text += f"{name} = {str(route[name]).lower() if name == 'continue' else repr(route[name])}\n"
    text += f"matchers = {route['matchers']}\n"
    return text + "".join(toml(each, f"{path}.routes") for each in route.get("routes", []))


def yaml(route: dict[str, Any], indent: str) -> str:
    text = f"{indent}- continue: {str(route['continue']).lower()}\n"
    if "receiver" in route:
        text += f"{indent}  receiver: {route['receiver']}\n"
    text += f"{indent}  matchers: {route['matchers']}\n"
    if route.get("routes"):
        text += f"{indent}  routes:\n" + "".join(yaml(each, indent + "  ") for each in route["routes"])
    return text


@pytest.mark.skipif(shutil.which("amtool") is None, reason="needs amtool (Debian: prometheus-alertmanager)")
@pytest.mark.parametrize("seed", range(12))
def test_alerts_go_where_alertmanager_would_send_them(seed: int, tmp_path: Path) -> None:
    choose = random.Random(seed)
    routes = [random_tree(choose) for _ in range(5)]
    names = [f"r{number}" for number in range(6)]
    text = "[delivery.route]\nreceiver = 'r0'\n" + "".join(toml(each, "delivery.route.routes") for each in routes)
    tree = compiled(text + "".join(f"[[delivery.receivers]]\nname = '{name}'\n" for name in names), tmp_path)
    config = tmp_path / "alertmanager.yml"
    config.write_text(
        "route:\n  receiver: r0\n  routes:\n"
        + "".join(yaml(each, "    ") for each in routes)
        + "receivers:\n"
        + "".join(f"  - name: {name}\n" for name in names)
    )
    for _ in range(8):
        labels = {
            "job": choose.choice(["a", "b", "xx"]),
            "severity": choose.choice(["low", "critical"]),
            "user_id": choose.choice(["a", "xb"]),
        }
        run = subprocess.run(
            ["amtool", "config", "routes", "test", f"--config.file={config}", *(f"{n}={v}" for n, v in labels.items())],
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
        )
        found = [route.receiver.name for route in tree.routes_of(labels) if route.receiver is not None]
        assert ",".join(found) == run.stdout.strip()


def test_routes_tell_apart_only_what_their_matchers_name(tmp_path: Path) -> None:
    tree = compiled(HEAD + "[[delivery.route.routes]]\nmatchers = 'job=\"a\"'\n" + receiver("ops"), tmp_path)

    def ends(labels: dict[str, str]) -> list[Route]:
        return list(tree.routes_of(labels))

    assert ends({"job": "a", "user_id": "ann"}) == ends({"job": "a"}) == [tree.root.routes[0]]
    assert ends({"job": "b"}) == ends({}) == [tree.root]
