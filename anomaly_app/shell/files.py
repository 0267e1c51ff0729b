"""Files of the user's that the shell keeps: history, and the jobs that it started."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path


def state_folder(environ: Mapping[str, str] | None = None) -> Path:
    """The folder of them all; it is there, and nobody else may look into it.

    Args:
        environ: the environment; by default the process's.
    """
    environ = os.environ if environ is None else environ
    base = environ.get("XDG_STATE_HOME")
    folder = (Path(base) if base else Path.home() / ".local" / "state") / "anomaly"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


def private_file(name: str) -> Path:
    """A file in it that only the user may read."""
    path = state_folder() / name
    path.touch(mode=0o600)
    return path
