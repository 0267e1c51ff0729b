"""Prometheus' and Alertmanager's settings: accepted by the programs themselves, each rule with tests of its own."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
RULES = sorted((DEPLOY / "prometheus/rules").glob("*.yml"))
TESTS = sorted((DEPLOY / "prometheus/tests").glob("*.yml"))

needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
needs_amtool = pytest.mark.skipif(shutil.which("amtool") is None, reason="amtool is not installed")


def run(*command: str | Path) -> str:
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=50)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def rules() -> Iterator[dict[str, Any]]:
    for file in RULES:
        for group in yaml.safe_load(file.read_text("utf-8"))["groups"]:
            yield from group["rules"]


@needs_promtool
def test_prometheus_accepts_its_settings_and_the_rules() -> None:
    run("promtool", "check", "config", DEPLOY / "prometheus/prometheus.yml")
    run("promtool", "check", "rules", *RULES)


@needs_promtool
@pytest.mark.parametrize("file", TESTS, ids=lambda file: file.stem)
def test_the_rules_fire_when_they_should(file: Path) -> None:
    run("promtool", "test", "rules", file)


def test_every_rule_is_seen_to_fire_and_is_explained() -> None:
    fired: set[str] = set()
    for file in TESTS:
        for test in yaml.safe_load(file.read_text("utf-8"))["tests"]:
            for case in test["alert_rule_test"]:
                if case.get("exp_alerts"):
                    fired.add(case["alertname"])
    names = [rule["alert"] for rule in rules()]
    assert len(names) == len(set(names)) >= 20
    assert fired == set(names)
    page = (ROOT / "docs/monitoring.md").read_text("utf-8")
    assert [name for name in names if f"`{name}`" not in page] == []


def test_rules_speak_the_severities_of_alerts_and_say_what_and_why() -> None:
    for rule in rules():
        assert rule["labels"]["severity"] in ("low", "medium", "high", "critical"), rule["alert"]
        assert set(rule["annotations"]) == {"summary", "description"}, rule["alert"]


@needs_amtool
def test_alertmanager_accepts_its_settings_and_routes_by_severity() -> None:
    file = DEPLOY / "alertmanager/alertmanager.yml"
    run("amtool", "check-config", file)
    for severity, receiver in (("critical", "at-once"), ("high", "nobody"), ("low", "nobody")):
        to = run("amtool", "config", "routes", "test", f"--config.file={file}", f"severity={severity}")
        assert to.strip() == receiver


def test_what_inhibits_is_a_rule() -> None:
    names = {rule["alert"] for rule in rules()}
    document = yaml.safe_load((DEPLOY / "alertmanager/alertmanager.yml").read_text("utf-8"))
    sources = [matcher for one in document["inhibit_rules"] for matcher in one["source_matchers"]]
    assert len(sources) == 3 and {source.split('"')[1] for source in sources} <= names
