"""docs/tutorial-retail.md: its parameters are those of the job files, and its commands run."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from retail_pack import JOBS, PACK, text_of

from anomaly_app.cli import main

PAGE = (Path(__file__).parents[2] / "docs" / "tutorial-retail.md").read_text("utf-8")
COMMANDS = [
    " ".join(command.replace("\\\n", " ").split())
    for block in re.findall(r"^```bash\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    for command in re.split(r"\n(?! )", block.strip())
]


def test_parameters_are_those_of_the_job_files() -> None:
    told = {name: usual for name, usual in re.findall(r"^\| `(retail\.[a-z_.]+)` \| `(.+?)` \|", PAGE, re.MULTILINE)}
    said = {
        name: value.replace("''", "'")
        for job in JOBS
        for name, value in re.findall(r"^SET '(retail\.[^']+)' = '((?:[^']|'')*)'", text_of(job), re.MULTILINE)
    }
    assert told == said


def test_commands_over_files_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    run = [command for command in COMMANDS if "--output" in command or "--table" in command]
    assert len(run) == 3
    for command in run:
        command = command.replace("$JOBS", str(PACK)).replace("--records 100000", "--records 4000")
        assert main(shlex.split(command)[1:]) == 0, command
    shown = capsys.readouterr().out
    assert (tmp_path / "backtest.html").stat().st_size > 2_000
    assert re.search(r"REFUND_PATTERN +100\.0% +100\.0%", shown)
    assert "only there" in shown


def test_options_that_the_page_names_exist(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("backtest", "generate"):
        assert main([command, "--help"]) == 0
        help_ = capsys.readouterr().out
        for line in COMMANDS:
            if line.startswith(f"anomaly {command} "):
                options = re.findall(r"(--[a-z-]+)", line.partition("#")[0])
                assert all(option in help_ for option in options), line
