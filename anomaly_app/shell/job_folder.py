"""What is on the disk of a job that the shell has started."""

from __future__ import annotations

import fcntl
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anomaly_app.tables.lock import NAME

APP_ID = "anomaly-sql-"
"""Begins the names of groups and topics of such jobs; the id of the job is behind it."""


@dataclass(frozen=True, slots=True)
class JobFolder:
    """The folder of a job.

    Args:
        path: of the folder; its name is the id of the job.
    """

    path: Path

    @property
    def id(self) -> str:
        """Of the job."""
        return self.path.name

    @property
    def app_id(self) -> str:
        """Of its worker."""
        return APP_ID + self.id

    @property
    def log(self) -> Path:
        """What its process prints."""
        return self.path / "worker.log"

    def create(self, name: str, text: str, started_ms: int, *, detached: bool, bounded: bool) -> None:
        """Make it.

        Args:
            name: of the job, for people.
            text: the job file.
            started_ms: when it began.
            detached: it outlives the shell.
            bounded: it ends where its topics end now.
        """
        self.path.mkdir(mode=0o700, parents=True)
        self._job_file.write_text(text, "utf-8")
        about = {"name": name, "started_ms": started_ms, "detached": detached, "bounded": bounded}
        (self.path / "about.json").write_text(json.dumps(about), "utf-8")

    def about(self) -> Mapping[str, Any]:
        """What :meth:`create` was told; raises OSError if another shell has just removed it."""
        told: Mapping[str, Any] = json.loads((self.path / "about.json").read_text("utf-8"))
        return told

    def made_ms(self) -> int:
        """When it was made; 0 if it is gone."""
        try:
            return int(self.path.stat().st_mtime * 1000)
        except OSError:
            return 0

    def settings(self) -> dict[str, Any]:
        """Settings of its worker."""
        return {
            "worker.jobs": str(self._job_file),
            "worker.app_id": self.app_id,
            "worker.data_dir": str(self.path / "state"),
            "worker.bounded": self.about()["bounded"],
            "web.enabled": False,
        }

    def text(self) -> str:
        """The job file."""
        return self._job_file.read_text("utf-8")

    @property
    def _job_file(self) -> Path:
        return self.path / "job.sql"

    # --- its process --------------------------------------------------------------------------------

    def ended(self, status: int) -> None:
        """Its process ends with a status."""
        (self.path / "status").write_text(str(status), "utf-8")

    def status(self) -> int | None:
        """How it has ended; None while it runs, and -1 if nobody could say."""
        if self.holder() is not None:
            return None
        try:
            return int((self.path / "status").read_text("utf-8"))
        except (OSError, ValueError):
            return -1

    def holder(self) -> int | None:
        """The process that runs it; None if none does."""
        try:
            with open(self.path / NAME) as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except BlockingIOError:
                    return int(file.read().strip() or "0")
        except (OSError, ValueError):
            return None
        return None

    def reason(self) -> str:
        """The last line that its process has printed."""
        try:
            lines = self.log.read_text("utf-8", errors="replace").strip().splitlines()
        except OSError:
            return ""
        return lines[-1].removeprefix("anomaly: ") if lines else ""

    def remove(self) -> None:
        """All of it goes."""
        shutil.rmtree(self.path, ignore_errors=True)
