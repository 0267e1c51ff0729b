"""The compose file: what it runs, where it listens, and that its settings and commands are ones that exist."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from anomaly_app.cli import main
from anomaly_app.settings import SECRETS, load_settings
from anomaly_app.testing.kafka import ARTIFACTS, ApacheKafka
from anomaly_app.testing.maven import missing_tools

ROOT = Path(__file__).parents[2]
FILE = ROOT / "docker-compose.yml"


@pytest.fixture(scope="module")
def services() -> Mapping[str, Any]:
    document = yaml.safe_load(FILE.read_text("utf-8"))
    return document["services"]


@pytest.mark.skipif(shutil.which("docker-compose") is None, reason="docker-compose is not installed")
def test_docker_compose_accepts_it(services: Mapping[str, Any]) -> None:
    done = subprocess.run(
        ["docker-compose", "-f", str(FILE), "config", "--services"], capture_output=True, text=True, timeout=50
    )
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) == set(services) == {"kafka", "registry", "topics", "generator", "worker"}


def test_the_images_are_the_official_ones_in_the_versions_of_the_tests(services: Mapping[str, Any]) -> None:
    assert services["kafka"]["image"] == f"apache/kafka:{ARTIFACTS[0].version}"
    assert services["topics"]["image"] == services["kafka"]["image"]
    assert services["registry"]["image"] == "apicurio/apicurio-registry-mem:2.6.13.Final"


def test_nothing_is_deleted_by_its_record_time(services: Mapping[str, Any]) -> None:
    assert services["kafka"]["environment"]["KAFKA_LOG_RETENTION_MS"] == -1
    assert "retention.ms=-1" in services["topics"]["command"][-1]


def test_every_port_is_bound_to_loopback(services: Mapping[str, Any]) -> None:
    ports = [port for service in services.values() for port in service.get("ports", ())]
    assert "127.0.0.1:6066:6066" in ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_services_wait_for_what_they_need(services: Mapping[str, Any]) -> None:
    for name in ("generator", "worker"):
        assert services[name]["depends_on"] == {
            "topics": {"condition": "service_completed_successfully"},
            "registry": {"condition": "service_healthy"},
        }
    assert services["topics"]["depends_on"] == {"kafka": {"condition": "service_healthy"}}
    assert all("healthcheck" in services[name] for name in ("kafka", "registry", "worker"))


def test_the_topics_are_those_of_the_job_and_its_alerts(services: Mapping[str, Any]) -> None:
    job = (ROOT / "anomaly_app/jobs/unusual_sales.sql").read_text("utf-8")
    needed = [*re.findall(r"'topic' = '([^']+)'", job), "anomaly.alerts"]
    assert len(needed) == 3
    assert all(f" {topic}" in services["topics"]["command"][-1] for topic in needed)


def test_the_settings_exist_and_none_is_a_secret(services: Mapping[str, Any]) -> None:
    loaded = load_settings(environ=services["worker"]["environment"])
    assert loaded.settings.kafka.bootstrap_servers == "kafka:9092"
    assert loaded.settings.registry.url == "http://registry:8080/apis/ccompat/v6"
    assert not {key for key in SECRETS if loaded.origins[key] != "default"}
    assert not re.search("password|secret|token", FILE.read_text("utf-8"), re.IGNORECASE)


def test_the_generator_s_command_is_one_that_runs(services: Mapping[str, Any], tmp_path: Path) -> None:
    program, *arguments = shlex.split(services["generator"]["command"])
    output = tmp_path / "sales.jsonl"
    assert program == "anomaly"
    assert main([*arguments, "--records", "5", "--output", str(output)]) == 0
    assert len(output.read_text("utf-8").splitlines()) == 5


@pytest.mark.kafka
@pytest.mark.timeout(120)
def test_kafka_starts_with_these_settings(services: Mapping[str, Any]) -> None:
    if problem := missing_tools():
        pytest.skip(problem)
    given = services["kafka"]["environment"]
    own = ("LISTENER", "QUORUM", "LOG_DIRS")
    settings = {
        name.removeprefix("KAFKA_").lower().replace("_", "."): value
        for name, value in given.items()
        if not any(part in name for part in own)
    }
    assert settings["log.retention.ms"] == -1
    with ApacheKafka(properties=settings) as node:
        node.create_topics({"t": 2})


def test_the_listeners_fit_each_other(services: Mapping[str, Any]) -> None:
    given = services["kafka"]["environment"]

    def names(key: str) -> set[str]:
        return {re.split(":", part)[0] for part in given[key].split(",")}

    controller = {given["KAFKA_CONTROLLER_LISTENER_NAMES"]}
    assert names("KAFKA_LISTENERS") == names("KAFKA_LISTENER_SECURITY_PROTOCOL_MAP")
    assert names("KAFKA_ADVERTISED_LISTENERS") == names("KAFKA_LISTENERS") - controller
    assert given["KAFKA_INTER_BROKER_LISTENER_NAME"] in names("KAFKA_ADVERTISED_LISTENERS")


def test_the_image_is_built_from_files_that_are_sent_and_there() -> None:
    sent = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    copied = [
        source
        for line in (ROOT / "Dockerfile").read_text("utf-8").splitlines()
        if line.startswith("COPY ")
        for source in line.split()[1:-1]
    ]
    assert copied and {f"!{source}" for source in copied} <= set(sent)
    assert all((ROOT / source).exists() for source in copied)
