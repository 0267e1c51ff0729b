"""Ctrl-C reaches the processes that tests start, in whatever way the tests themselves were started."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
INNER = "ANOMALY_TEST_IGNORES_SIGINT"


@pytest.mark.skipif(INNER not in os.environ, reason="run by the test below")
def test_a_child_can_be_interrupted() -> None:
    command = "import os, signal, time; os.kill(os.getpid(), signal.SIGINT); time.sleep(1)"
    with pytest.raises(subprocess.CalledProcessError):
        subprocess.run([sys.executable, "-c", command], check=True, timeout=20, stderr=subprocess.DEVNULL)


def test_in_the_background_of_a_shell() -> None:
    inner = f"{Path(__file__).relative_to(ROOT)}::{test_a_child_can_be_interrupted.__name__}"
    command = [
        "sh",
        "-c",
        'trap "" INT; exec "$@"',
        "sh",
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
    ]
    done = subprocess.run([*command, inner], cwd=ROOT, env={**os.environ, INNER: "1"}, capture_output=True, text=True)
    assert done.returncode == 0 and "1 passed" in done.stdout, done.stdout
