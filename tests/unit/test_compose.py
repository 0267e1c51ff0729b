"""The compose file: what it runs, where it listens, and that its settings and commands are ones that exist."""

from __future__ import annotations

import os
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
from anomaly_app.jobs.binder import bind_job
from anomaly_app.settings import SECRETS, load_settings
from anomaly_app.testing.kafka import ARTIFACTS, ApacheKafka
from anomaly_app.testing.maven import missing_tools

ROOT = Path(__file__).parents[2]
FILE = ROOT / "docker-compose.yml"
_BASE = {"kafka", "registry", "topics", "generator", "worker"}
_MONITORING = _BASE | {"deliver", "mail", "influxdb", "prometheus", "alertmanager", "grafana"}
_RETAIL = _MONITORING | {"retail-generator", "retail-worker"}
_PAYMENTS = _MONITORING | {"payments-model", "payments-generator", "payments-worker"}
PROFILES = {
    "": _BASE,
    "monitoring": _MONITORING,
    "retail": _RETAIL,
    "payments": _PAYMENTS,
    "full": _RETAIL | _PAYMENTS | {"kafka-ui"},
}
FURTHER_WORKERS = ("retail-worker", "payments-worker")
WATCHED = ("kafka", "registry", "worker", *FURTHER_WORKERS, "deliver", "influxdb")
"""Services that others wait for, or that a person does."""


@pytest.fixture(scope="module")
def services() -> Mapping[str, Any]:
    document = yaml.safe_load(FILE.read_text("utf-8"))
    return document["services"]


def of_profile(services: Mapping[str, Any], profile: str) -> set[str]:
    return {name for name, service in services.items() if profile in service.get("profiles", (profile,))}


@pytest.mark.skipif(shutil.which("docker-compose") is None, reason="docker-compose is not installed")
@pytest.mark.parametrize("profile", [*PROFILES])
def test_docker_compose_accepts_it(services: Mapping[str, Any], profile: str) -> None:
    done = subprocess.run(
        ["docker-compose", "-f", str(FILE), "--profile", profile, "config", "--services"],
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert done.returncode == 0, done.stderr
    assert of_profile(services, profile) <= set(done.stdout.split()) == set(services)


def test_each_profile_runs_what_it_says(services: Mapping[str, Any]) -> None:
    known = {profile for service in services.values() for profile in service.get("profiles", ())}
    assert known == {*PROFILES} - {""}
    assert {profile: of_profile(services, profile) for profile in PROFILES} == PROFILES


def test_what_a_service_depends_on_is_in_its_profiles(services: Mapping[str, Any]) -> None:
    for profile in PROFILES:
        running = of_profile(services, profile)
        assert all(set(services[name].get("depends_on", ())) <= running for name in running)


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
    assert services["payments-worker"]["depends_on"].pop("payments-model") == {
        "condition": "service_completed_successfully"
    }
    for name in ("generator", "worker", "retail-generator", "payments-generator", *FURTHER_WORKERS, "deliver"):
        assert services[name]["depends_on"] == {
            "topics": {"condition": "service_completed_successfully"},
            "registry": {"condition": "service_healthy"},
        }
    assert services["topics"]["depends_on"] == {"kafka": {"condition": "service_healthy"}}
    assert all("healthcheck" in services[name] for name in WATCHED)


def mounts_of(services: Mapping[str, Any], name: str) -> dict[str, str]:
    """Where a service finds what, and its place here or the name of a volume."""
    return {target: source for source, target, *_ in (mount.split(":") for mount in services[name]["volumes"])}


def jobs_of(services: Mapping[str, Any], name: str) -> list[Path]:
    paths = map(Path, services[name]["environment"]["ANOMALY_WORKER__JOBS"].split(","))
    return [ROOT / mounts_of(services, name)[str(path.parent)] / path.name for path in paths]


def test_the_topics_are_those_of_the_jobs_and_their_alerts(services: Mapping[str, Any]) -> None:
    jobs = [
        ROOT / "anomaly_app/jobs/unusual_sales.sql",
        *(job for name in FURTHER_WORKERS for job in jobs_of(services, name)),
    ]
    needed = {topic for job in jobs for topic in re.findall(r"'topic' = '([^']+)'", job.read_text("utf-8"))}
    created = re.search(r"for topic in (.*?); do", services["topics"]["command"][-1], re.DOTALL)
    assert created is not None
    assert set(created[1].replace("\\", "").split()) == needed | {"anomaly.alerts"} and len(needed) == 11


def test_the_further_workers_are_of_their_own(services: Mapping[str, Any], tmp_path: Path) -> None:
    empty = tmp_path / "anomaly.toml"
    empty.touch()
    names = ("worker", *FURTHER_WORKERS)
    environs = [{**services[name]["environment"], "ANOMALY_CONFIG": str(empty)} for name in names]
    loaded = [load_settings(environ=environ).settings for environ in environs]
    assert len({settings.worker.app_id for settings in loaded}) == 3
    assert len({settings.kafka.bootstrap_servers for settings in loaded}) == 1
    for path in jobs_of(services, "retail-worker"):
        bind_job(path.read_text("utf-8"), name=path.stem)


def test_the_model_is_made_where_the_worker_of_the_payments_looks_for_it(services: Mapping[str, Any]) -> None:
    script, jobs, model = shlex.split(services["payments-model"]["command"])
    made, asked = mounts_of(services, "payments-model"), mounts_of(services, "payments-worker")
    assert os.access(ROOT / made[str(Path(script).parent)] / Path(script).name, os.X_OK)
    assert (ROOT / made[jobs] / "training.sql").is_file()
    config = ROOT / asked[services["payments-worker"]["environment"]["ANOMALY_CONFIG"]]
    parameters = load_settings(config_file=config, environ={}).settings.parameters
    file = Path(parameters["payments.model.file"])
    assert file.name == Path(model).name and asked[str(file.parent)] == made[str(Path(model).parent)]
    (job,) = jobs_of(services, "payments-worker")
    assert all(f"SET '{name}'" in job.read_text("utf-8") for name in parameters)


def test_the_settings_exist_and_none_is_a_secret(services: Mapping[str, Any]) -> None:
    loaded = load_settings(environ=services["worker"]["environment"])
    assert loaded.settings.kafka.bootstrap_servers == "kafka:9092"
    assert loaded.settings.registry.url == "http://registry:8080/apis/ccompat/v6"
    assert not {key for key in SECRETS if loaded.origins[key] != "default"}
    assert not re.search("password|secret|token", FILE.read_text("utf-8"), re.IGNORECASE)


def test_the_delivery_runs_with_settings_that_name_services_of_its_profiles(services: Mapping[str, Any]) -> None:
    deliver = services["deliver"]
    mounts = dict(reversed(mount.split(":")[:2]) for mount in deliver["volumes"])
    file = ROOT / mounts[deliver["environment"]["ANOMALY_CONFIG"]]
    settings = load_settings(config_file=file, environ=deliver["environment"]).settings
    assert deliver["command"] == "anomaly deliver"
    assert main(["deliver", "--check", "--config", str(file)]) == 0
    assert f"127.0.0.1:{settings.delivery.port}:{settings.delivery.port}" in deliver["ports"]
    assert settings.delivery.bind == "0.0.0.0" and str(settings.worker.data_dir).startswith("/data/")
    assert [archive.path for archive in settings.delivery.archive] == ["/data/archive"] and "/data" in mounts
    receivers = {receiver.name: receiver for receiver in settings.delivery.receivers}
    routes = [settings.delivery.route, *settings.delivery.route.routes]
    assert {route.receiver for route in routes} == set(receivers)
    (influxdb,) = receivers["systems"].influxdb
    (alertmanager,) = receivers["systems"].alertmanager
    (mail,) = receivers["people"].email
    reached = {"influxdb:8086", "alertmanager:9093"}
    assert {url.removeprefix("http://") for url in (influxdb.url, alertmanager.url)} == reached
    assert mail.host == "mail" and (mail.port, mail.tls) == (1025, "none")
    assert {place.partition(":")[0] for place in reached} | {mail.host} <= PROFILES["monitoring"]
    assert influxdb.database == services["influxdb"]["environment"]["INFLUXDB_DB"]


def test_prometheus_and_grafana_look_at_services_and_ports_that_are_there(services: Mapping[str, Any]) -> None:
    listens = {
        f"{name}:{port.split(':')[-1]}" for name, service in services.items() for port in service.get("ports", ())
    }
    prometheus = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text("utf-8"))
    targets = [
        target
        for part in (*prometheus["scrape_configs"], *prometheus["alerting"]["alertmanagers"])
        for one in part.get("static_configs", ())
        for target in one["targets"]
    ]
    found = [one for part in prometheus["scrape_configs"] for one in part.get("dns_sd_configs", ())]
    targets += [f"{name}:{one['port']}" for one in found for name in one["names"]]
    assert {*(f"{name}:6066" for name in ("worker", *FURTHER_WORKERS)), "deliver:6067", "alertmanager:9093"} <= set(
        targets
    )
    assert {target.replace("localhost", "prometheus") for target in targets} <= listens
    sources = yaml.safe_load((ROOT / "deploy/grafana/provisioning/datasources/anomaly.yml").read_text("utf-8"))
    assert {source["url"].removeprefix("http://") for source in sources["datasources"]} <= listens
    (database,) = [source["jsonData"]["dbName"] for source in sources["datasources"] if source["type"] == "influxdb"]
    assert database == services["influxdb"]["environment"]["INFLUXDB_DB"]


def test_what_is_mounted_is_there_and_the_containers_look_for_it_there(services: Mapping[str, Any]) -> None:
    volumes = set(yaml.safe_load(FILE.read_text("utf-8"))["volumes"])
    mounted: dict[str, dict[str, Path]] = {}
    for name, service in services.items():
        for mount in service.get("volumes", ()):
            source, target, *mode = mount.split(":")
            if source.startswith("."):
                assert (ROOT / source).exists() and mode == ["ro"]
                mounted.setdefault(name, {})[target] = ROOT / source
            else:
                assert source in volumes

    def found(name: str, path: str) -> bool:
        return any(
            (source / Path(path).relative_to(target)).is_file()
            for target, source in mounted[name].items()
            if Path(path).is_relative_to(target)
        )

    assert found("grafana", services["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    assert found("grafana", "/etc/grafana/provisioning/datasources/anomaly.yml")
    for name in ("prometheus", "alertmanager"):
        (file,) = [word.partition("=")[2] for word in services[name]["command"] if word.startswith("--config.file=")]
        assert found(name, file)


GENERATORS = [
    ("generator", "sales.jsonl"),
    ("retail-generator", "pos_events.jsonl"),
    ("payments-generator", "transactions.jsonl"),
]


@pytest.mark.parametrize(("name", "output"), GENERATORS)
def test_the_generators_commands_run(services: Mapping[str, Any], tmp_path: Path, name: str, output: str) -> None:
    program, *arguments = shlex.split(services[name]["command"])
    assert program == "anomaly"
    given = tmp_path / output if name == "generator" else tmp_path
    assert main([*arguments, "--records", "50", "--output", str(given)]) == 0
    assert (tmp_path / output).read_text("utf-8").count("\n") in range(10, 51)


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
