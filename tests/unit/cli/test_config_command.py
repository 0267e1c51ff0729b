"""``anomaly config`` shows every value with its origin and no secret."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from anomaly_app.cli import main
from anomaly_app.settings import KEYS

SECRET = "hunter2-do-not-print"


@pytest.fixture(autouse=True)
def settings_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("anomaly.toml").write_text(f'[registry]\nurl = "http://r:1"\npassword = "{SECRET}"\n')
    monkeypatch.setenv("ANOMALY_WORKER__APP_ID", "fraud")


def test_the_table_has_value_and_origin_of_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "--set", "web.port=8080"]) == 0
    out = capsys.readouterr().out
    lines = {line.split()[0]: line.split()[1:] for line in out.splitlines()}
    assert set(KEYS) <= set(lines)
    assert lines["web.port"] == ["8080", "command", "line"]
    assert lines["worker.app_id"] == ["fraud", "environment", "ANOMALY_WORKER__APP_ID"]
    assert lines["registry.url"] == ["http://r:1", "anomaly.toml"]
    assert lines["registry.password"] == ["********", "anomaly.toml"]
    assert lines["limits.threads"] == ["10000", "default"]
    assert SECRET not in out


def test_json_has_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "--json"]) == 0
    out = capsys.readouterr().out
    shown = json.loads(out)
    assert list(shown) == list(KEYS)
    assert shown["registry.password"] == {"value": "********", "origin": "anomaly.toml"}
    assert shown["kafka.create_topics"] == {"value": True, "origin": "default"}
    assert SECRET not in out


def test_another_file_may_be_named(capsys: pytest.CaptureFixture[str]) -> None:
    Path("other.toml").write_text("[web]\nport = 1\n")
    assert main(["config", "--config", "other.toml", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["web.port"] == {"value": 1, "origin": "other.toml"}


def test_a_setting_without_value_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "--set", "web.port"]) == 2
    assert "key=value" in capsys.readouterr().err


def test_the_example_of_encryption_and_login(capsys: pytest.CaptureFixture[str]) -> None:
    page = (Path(__file__).parents[3] / "docs" / "operations.md").read_text("utf-8")
    file, rest = page.partition("cat > secure.toml <<'END'\n")[2].split("END\n", 1)
    secret, command = rest.splitlines()[:2]
    Path("secure.toml").write_text(file)
    assert secret == "echo secret > password.txt"
    Path("password.txt").write_text("secret\n")
    assert main(command.split()[1:]) == 0
    out = capsys.readouterr().out
    assert "secure.toml, file password.txt" in out and "SCRAM-SHA-512" in out
