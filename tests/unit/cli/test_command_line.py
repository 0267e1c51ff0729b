"""The command line as a whole: help, exit statuses, errors without traceback, light imports."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from anomaly_app.cli import COMMANDS, main


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_a_help_with_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    assert f"Example: anomaly {command}" in capsys.readouterr().out


def test_the_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(f" {command} " in out for command in COMMANDS)


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    from anomaly_app import __version__

    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"{__version__}\n"


def test_an_unknown_command_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["nonsense"]) == 2
    assert "nonsense" in capsys.readouterr().err


def test_an_error_of_the_package_is_one_line_and_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "--set", "web.port=x"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("anomaly: web.port (from command line): 'x' should be a valid integer")
    assert "Traceback" not in captured.err


def test_no_color_is_respected_even_where_color_is_forced() -> None:
    environ = os.environ | {"NO_COLOR": "1", "TERM": "xterm-256color", "FORCE_COLOR": "1"}
    command = [sys.executable, "-m", "anomaly_app.cli", "config"]
    plain = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
    assert "\x1b[3" not in plain.stdout


def test_the_help_loads_neither_faust_nor_numpy() -> None:
    program = (
        "import sys\n"
        "from anomaly_app.cli import main\n"
        "main(['--help'])\n"
        "sys.exit(sorted({'faust', 'numpy', 'aiokafka', 'pyarrow', 'confluent_kafka'} & set(sys.modules)) or 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_ctrl_c_ends_with_status_130(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from anomaly_app.cli import config

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(config, "load", interrupt)
    assert main(["config"]) == 130


def test_a_file_that_cannot_be_read_or_written_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.chdir(tmp_path)
    assert main(["generate", "retail", "--records", "5", "--output", "file/retail"]) == 2
    assert capsys.readouterr().err == "anomaly: file/retail: Not a directory\n"
    Path("rule.sql").write_text("SELECT 1 AS one")
    backtest = ["backtest", "rule.sql", "--table", "t=file"]
    for option in ("--html", "--alerts"):
        assert main([*backtest, option, "nowhere/told"]) == 2
        assert capsys.readouterr().err == "anomaly: nowhere/told: there is no folder nowhere\n"


def test_an_error_of_the_system_that_names_no_file_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(commands: object) -> None:
        raise OSError("of a fault")

    monkeypatch.setattr("anomaly_app.cli.create_app", fails)
    with pytest.raises(OSError, match="of a fault"):
        main(["config"])


def test_ctrl_c_while_a_command_is_imported_prints_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(commands: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("anomaly_app.cli.create_app", interrupted)
    assert main(["config"]) == 130
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("port", ["-1", "65536"])
def test_a_port_of_the_demo_is_one_that_exists(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--port", port]) == 2
    assert "Invalid value for '--port'" in capsys.readouterr().err
