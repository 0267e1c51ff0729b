"""The scripts are a few lines each, and what they call is there."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted(path for path in (ROOT / "scripts").iterdir() if path.is_file())


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_script_is_short_executable_and_well_formed(script: Path) -> None:
    lines = script.read_text("utf-8").splitlines()
    assert lines[0] == "#!/usr/bin/env bash"
    assert len(lines) <= 10
    assert "set -euo pipefail" in lines
    assert os.access(script, os.X_OK)
    subprocess.run(["bash", "-n", str(script)], check=True)


def test_the_environment_is_left_alone_while_it_is_up_to_date(tmp_path: Path) -> None:
    copy = tmp_path / "scripts" / "venv"
    copy.parent.mkdir()
    copy.write_text((ROOT / "scripts" / "venv").read_text("utf-8"))
    copy.chmod(0o755)
    project, stamp = tmp_path / "pyproject.toml", tmp_path / ".venv" / "installed-dev"
    stamp.parent.mkdir()
    project.touch()
    stamp.touch()
    os.utime(project, (1, 1))
    for extra in ("dev", "demo"):
        subprocess.run([str(copy), extra], check=True, timeout=10)
    assert sorted(path.name for path in stamp.parent.iterdir()) == ["installed-dev"]


def test_no_fitting_python_is_said(tmp_path: Path) -> None:
    copy = tmp_path / "scripts" / "venv"
    copy.parent.mkdir()
    copy.write_text((ROOT / "scripts" / "venv").read_text("utf-8"))
    copy.chmod(0o755)
    (tmp_path / "pyproject.toml").touch()
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("bash", "dirname", "env"):
        (tools / name).symlink_to(f"/usr/bin/{name}")
    done = subprocess.run([str(copy)], env={"PATH": str(tools)}, capture_output=True, text=True, timeout=10)
    assert done.returncode == 2
    assert "Python 3.11, 3.12 or 3.13 is needed" in done.stderr
