"""Kubernetes: manifests and chart by Kubernetes' own schema, with settings, probes and rights that are meant."""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from jsonschema import Draft7Validator

from anomaly_app.cli import main
from anomaly_app.settings import SECRETS, load_settings

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
KUBERNETES, CHART = DEPLOY / "kubernetes", DEPLOY / "helm/anomaly-app"
VERSIONS = ("1.25", "1.34")
KUBE = ("--kube-version", "1.30.0")  # without a cluster helm does not know it
OF_THE_OPERATOR = {"ServiceMonitor", "PrometheusRule"}
Objects = Sequence[Mapping[str, Any]]

needs_kustomize = pytest.mark.skipif(shutil.which("kustomize") is None, reason="kustomize is not installed")
needs_helm = pytest.mark.skipif(shutil.which("helm") is None, reason="helm is not installed")


def run(*command: str | Path) -> str:
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=50)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def read(text: str) -> list[dict[str, Any]]:
    return [document for document in yaml.safe_load_all(text) if document]


def plain(folder: Path) -> list[dict[str, Any]]:
    """Objects of a folder as they stand there; patches are not whole."""
    kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text("utf-8"))
    files = [folder / name for name in kustomization["resources"]]
    return [one for file in files if file.is_file() for one in read(file.read_text("utf-8"))]


def template(*options: str) -> list[dict[str, Any]]:
    return read(run("helm", "template", "anomaly", CHART, "--namespace", "anomaly", *KUBE, *options))


def check(objects: Objects) -> None:
    """Kubernetes takes them, in old and new versions; names are unique."""
    assert objects
    for one in objects:
        if one["kind"] in OF_THE_OPERATOR:
            assert one["apiVersion"] == "monitoring.coreos.com/v1"
            continue
        for version in VERSIONS:
            kubernetes_validate.validate(dict(one), version, strict=True)
    names = [(one["kind"], one["metadata"]["name"]) for one in objects]
    assert len(set(names)) == len(names)


def pods(objects: Objects) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for one in objects:
        if one["kind"] in ("StatefulSet", "Deployment"):
            yield one["metadata"]["name"], one["spec"]["template"]["spec"]


def container(objects: Objects, end: str) -> Mapping[str, Any]:
    (spec,) = [spec for name, spec in pods(objects) if name.endswith(end)]
    (found,) = spec["containers"]
    return found


def check_rights(objects: Objects) -> None:
    """What Kubernetes calls restricted, and no way into the cluster's API."""
    for name, spec in pods(objects):
        assert spec["automountServiceAccountToken"] is False, name
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for one in spec["containers"]:
            assert one["securityContext"]["allowPrivilegeEscalation"] is False
            assert one["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert one["image"].startswith(("apache/", "apicurio/")) or one["securityContext"]["readOnlyRootFilesystem"]
            assert "memory" in one["resources"]["limits"] and "cpu" in one["resources"]["requests"]


def check_wiring(objects: Objects) -> None:
    """Probes, ports, volumes and selectors fit each other."""
    labels = [one["spec"]["template"]["metadata"]["labels"] for one in objects if one["kind"] in ("StatefulSet",)]
    for name, spec in pods(objects):
        for one in spec["containers"]:
            ports = {port["name"] for port in one.get("ports", ())}
            for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                if "httpGet" in one.get(probe, {}):
                    path = "/ready" if probe == "readinessProbe" else "/health"
                    assert one[probe]["httpGet"] == {"path": path, "port": "http"} and "http" in ports
            volumes = {volume["name"] for volume in spec.get("volumes", ())} | {"data"}
            assert {mount["name"] for mount in one.get("volumeMounts", ())} <= volumes, name
    for one in objects:
        if one["kind"] == "Service" and one["metadata"]["name"].startswith("anomaly"):
            assert any(one["spec"]["selector"].items() <= known.items() for known in labels)
    assert container(objects, "worker")["ports"] == [{"name": "http", "containerPort": 6066}]
    assert container(objects, "deliver")["ports"] == [{"name": "http", "containerPort": 6067}]


def environment(objects: Objects, end: str, settings: Mapping[str, str]) -> dict[str, str]:
    return {**settings, **{one["name"]: one["value"] for one in container(objects, end)["env"]}}


def check_settings(environ: Mapping[str, str], config: str, tmp_path: Path) -> None:
    """Every name in the environment is a setting, and no secret stands in it."""
    file = tmp_path / "anomaly.toml"
    file.write_text(config, "utf-8")
    password = tmp_path / "password"
    password.write_text("of a test\n", "utf-8")
    given = {key: str(password) if key.endswith("_FILE") else value for key, value in environ.items()}
    loaded = load_settings(config_file=file, environ=given)
    assert "0.0.0.0" in (loaded.settings.web.bind, loaded.settings.delivery.bind)
    assert str(loaded.settings.worker.data_dir).startswith("/data/")
    assert main(["deliver", "--check", "--config", str(file)]) == 0
    set_directly = {f"ANOMALY_{key.upper().replace('.', '__')}" for key in SECRETS} & set(environ)
    assert set_directly == set()


def env_file(path: Path) -> dict[str, str]:
    return dict(line.split("=", 1) for line in path.read_text("utf-8").splitlines() if line)


def data_of(objects: Objects, part: str) -> dict[str, str]:
    (found,) = [one["data"] for one in objects if one["kind"] == "ConfigMap" and part in one["metadata"]["name"]]
    return dict(found)


@pytest.mark.parametrize("name", ["base", "overlays/local", "overlays/production"])
def test_the_manifests_are_of_kubernetes_schema(name: str) -> None:
    folder = KUBERNETES / name
    check(plain(folder))
    kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text("utf-8"))
    named = [*kustomization["resources"]]
    named += [patch["path"] for patch in kustomization.get("patches", ()) if "path" in patch]
    named += [
        file for one in kustomization["configMapGenerator"] for file in (*one.get("envs", ()), *one.get("files", ()))
    ]
    assert all((folder / one).exists() for one in named)
    assert {file.name for file in folder.iterdir()} - {"kustomization.yaml"} <= set(named)


def test_the_base_runs_what_there_is_and_may_do_nothing_else(tmp_path: Path) -> None:
    objects = plain(KUBERNETES / "base")
    check_rights(objects)
    check_wiring(objects)
    settings, config = env_file(KUBERNETES / "base/settings.env"), (KUBERNETES / "base/anomaly.toml").read_text("utf-8")
    for end in ("worker", "deliver"):
        check_settings(environment(objects, end, settings), config, tmp_path)
    assert container(objects, "worker")["args"][:3] == ["faust", "-A", "anomaly_app"]
    assert container(objects, "deliver")["args"] == ["anomaly", "deliver"]


def test_the_overlays_settings_exist(tmp_path: Path) -> None:
    objects = plain(KUBERNETES / "base")
    base, local = KUBERNETES / "base", KUBERNETES / "overlays/local"
    for overlay, config in (("local", local / "anomaly.toml"), ("production", base / "anomaly.toml")):
        settings = env_file(base / "settings.env") | env_file(KUBERNETES / f"overlays/{overlay}/settings.env")
        check_settings(environment(objects, "deliver", settings), config.read_text("utf-8"), tmp_path)


def test_the_generator_s_command_is_one_that_runs(tmp_path: Path) -> None:
    program, *arguments = container(plain(KUBERNETES / "overlays/local"), "generator")["args"]
    output = tmp_path / "sales.jsonl"
    assert program == "anomaly"
    assert main([*arguments, "--records", "5", "--output", str(output)]) == 0
    assert len(output.read_text("utf-8").splitlines()) == 5


def test_the_local_images_are_those_of_compose() -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))["services"]
    objects = plain(KUBERNETES / "overlays/local")
    for name in ("kafka", "registry"):
        assert container(objects, name)["image"] == compose[name]["image"]


@needs_kustomize
@pytest.mark.parametrize(("overlay", "workers"), [("local", 1), ("production", 3)])
def test_kustomize_builds_the_overlays(overlay: str, workers: int, tmp_path: Path) -> None:
    objects = read(run("kustomize", "build", KUBERNETES / f"overlays/{overlay}"))
    check(objects)
    check_rights(objects)
    check_wiring(objects)
    assert {one["metadata"].get("namespace", "anomaly") for one in objects} == {"anomaly"}
    (worker,) = [o for o in objects if o["kind"] == "StatefulSet" and o["metadata"]["name"] == "anomaly-worker"]
    assert worker["spec"]["replicas"] == workers
    settings, config = data_of(objects, "settings"), data_of(objects, "config")["anomaly.toml"]
    for end in ("worker", "deliver"):
        check_settings(environment(objects, end, settings), config, tmp_path)
        (used,) = container(objects, end)["envFrom"]
        assert used["configMapRef"]["name"].startswith("anomaly-settings-"), "a change of them restarts the pods"


FULL = {
    "image": {"repository": "registry.example.org/anomaly-app", "tag": "1.2.3"},
    "imagePullSecrets": [{"name": "pull"}],
    "kafka": {
        "bootstrapServers": "a:9092,b:9092",
        "securityProtocol": "SASL_SSL",
        "saslMechanism": "SCRAM-SHA-512",
        "saslUsername": "anomaly",
        "existingSecret": "kafka-login",
        "replicationFactor": 3,
    },
    "registry": {"url": "http://registry:8080"},
    "settings": {"ANOMALY_WORKER__STATE_MB": "512"},
    "jobs": {"b.sql": "SELECT 1;\n", "a.sql": "SELECT 2;\n"},
    "worker": {
        "replicas": 3,
        "storage": {"size": "20Gi", "className": "fast"},
        "nodeSelector": {"disk": "ssd"},
        "tolerations": [{"key": "kafka", "operator": "Exists"}],
    },
    "deliver": {"existingSecret": "receivers", "nodeSelector": {"disk": "ssd"}},
    "ingress": {"enabled": True, "className": "nginx", "host": "anomaly.example.org", "tlsSecret": "tls"},
    "networkPolicy": {"namespaces": ["monitoring", "ingress"]},
    "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
    "prometheusRule": {"enabled": True},
}


def faults(values: Any) -> list[str]:
    schema = json.loads((CHART / "values.schema.json").read_text("utf-8"))
    Draft7Validator.check_schema(schema)
    return [error.json_path for error in Draft7Validator(schema).iter_errors(values)]


def test_the_chart_s_values_are_of_its_schema_which_finds_faults() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text("utf-8"))
    assert faults(values) == faults(FULL) == []
    assert faults({"worker": {"replica": 3}}) == ["$.worker"]
    assert faults({"kafka": {"bootstrapServers": "kafka"}}) == ["$.kafka.bootstrapServers"]
    assert faults({"settings": {"anomaly.worker": "x"}}) == ["$.settings"]
    assert faults({"jobs": {"../a.sql": "x"}}) == ["$.jobs"]


def test_the_chart_s_delivery_is_one_that_is_read(tmp_path: Path) -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text("utf-8"))
    file = tmp_path / "anomaly.toml"
    file.write_text(values["deliver"]["config"], "utf-8")
    assert load_settings(config_file=file, environ={}).settings.delivery.route.receiver == "alertmanager"


def test_the_chart_brings_the_alert_rules() -> None:
    assert (CHART / "rules").resolve() == DEPLOY / "prometheus/rules"


@needs_helm
def test_the_chart_passes_lint(tmp_path: Path) -> None:
    values = tmp_path / "values.yaml"
    values.write_text(yaml.safe_dump(FULL), "utf-8")
    run("helm", "lint", "--strict", *KUBE, CHART)
    run("helm", "lint", "--strict", *KUBE, CHART, "--values", values)


@needs_helm
def test_the_chart_with_its_own_values(tmp_path: Path) -> None:
    objects = template()
    check(objects)
    check_rights(objects)
    check_wiring(objects)
    settings, config = data_of(objects, "settings"), data_of(objects, "-deliver")["anomaly.toml"]
    for end in ("worker", "deliver"):
        check_settings(environment(objects, end, settings), config, tmp_path)
    kinds = [one["kind"] for one in objects]
    assert not OF_THE_OPERATOR & set(kinds) and "Ingress" not in kinds and "NetworkPolicy" in kinds


@needs_helm
def test_the_chart_with_everything(tmp_path: Path) -> None:
    values = tmp_path / "values.yaml"
    values.write_text(yaml.safe_dump(FULL), "utf-8")
    objects = template("--values", str(values))
    check(objects)
    check_rights(objects)
    check_wiring(objects)
    settings, config = data_of(objects, "settings"), data_of(objects, "-deliver")["anomaly.toml"]
    assert settings["ANOMALY_WORKER__JOBS"] == "/etc/anomaly/jobs/a.sql,/etc/anomaly/jobs/b.sql"
    assert data_of(objects, "jobs") == FULL["jobs"]
    for end in ("worker", "deliver"):
        check_settings(environment(objects, end, settings), config, tmp_path)
        used = container(objects, end)
        assert used["image"] == "registry.example.org/anomaly-app:1.2.3"
        assert {"name": "kafka", "mountPath": "/etc/anomaly/kafka", "readOnly": True} in used["volumeMounts"]
    (worker,) = [spec for name, spec in pods(objects) if name.endswith("worker")]
    assert worker["nodeSelector"] == {"disk": "ssd"} and worker["tolerations"]
    monitors = {one["metadata"]["name"]: one for one in objects if one["kind"] == "ServiceMonitor"}
    services = [one["metadata"] for one in objects if one["kind"] == "Service"]
    assert len(monitors) == 2
    for monitor in monitors.values():
        wanted = monitor["spec"]["selector"]["matchLabels"].items()
        assert len([one for one in services if wanted <= one["labels"].items()]) == 1, "each pod is scraped once"
        assert monitor["spec"]["endpoints"][0]["honorLabels"] is True
    rules = [one["spec"]["groups"] for one in objects if one["kind"] == "PrometheusRule"]
    written = [
        yaml.safe_load(file.read_text("utf-8"))["groups"] for file in sorted((DEPLOY / "prometheus/rules").iterdir())
    ]
    assert rules == written


@needs_helm
def test_the_chart_without_a_delivery() -> None:
    objects = template("--set", "deliver.enabled=false,serviceMonitor.enabled=true,prometheusRule.enabled=true")
    check([*objects])
    assert not [one for one in objects if "deliver" in one["metadata"]["name"]]


@needs_helm
def test_a_wrong_value_is_named() -> None:
    done = subprocess.run(
        ["helm", "template", "x", str(CHART), *KUBE, "--set", "worker.replica=3"],
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert done.returncode != 0 and "replica" in done.stderr


def _calls(tree: ast.AST) -> Iterable[tuple[str, list[Any], dict[str, Any]]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id != "k8s_yaml":
            yield (
                node.func.id,
                [ast.literal_eval(one) for one in node.args],
                {str(one.arg): ast.literal_eval(one.value) for one in node.keywords},
            )


def test_tilt_builds_the_image_of_the_manifests_and_names_their_parts() -> None:
    calls = [*_calls(ast.parse((ROOT / "Tiltfile").read_text("utf-8")))]
    (build,) = [call for call in calls if call[0] == "docker_build"]
    sent = {
        line.removeprefix("!") for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if line[0] == "!"
    }
    assert build[1] == ["anomaly-app", "."] and set(build[2]["only"]) == sent
    (overlay,) = [call[1][0] for call in calls if call[0] == "kustomize"]
    assert (ROOT / overlay / "kustomization.yaml").is_file()
    parts = {name for name, _ in pods([*plain(KUBERNETES / "base"), *plain(ROOT / overlay)])}
    resources = {call[1][0]: call[2] for call in calls if call[0] == "k8s_resource"}
    assert set(resources) == parts
    assert {name for one in resources.values() for name in one.get("resource_deps", ())} <= parts
