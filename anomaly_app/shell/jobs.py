"""Jobs in the background: a worker process for each INSERT."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anomaly_app.conversions import timestamp_to_text
from anomaly_app.errors import AnomalyError
from anomaly_app.settings import CONNECTIONS, KEYS, PREFIX, SECRETS, LoadedSettings
from anomaly_app.shell.files import state_folder
from anomaly_app.shell.job_folder import JobFolder

STOP_S = 15.0
"""How long a job may take to stop; then it is killed."""
SETTLED_MS = 60_000
"""After which a job that does not run has not just been started."""
RUNNING, FINISHED, CANCELED, FAILED = "RUNNING", "FINISHED", "CANCELED", "FAILED"


@dataclass(slots=True)
class Job:
    """A job.

    Args:
        folder: its files.
        name: for people.
        started_ms: when it began.
        detached: it outlives the shell.
        process: of a job that this shell has started.
        stopped: somebody wanted it to end.
        told: its end has been told.
    """

    folder: JobFolder
    name: str
    started_ms: int
    detached: bool
    process: subprocess.Popen[bytes] | None = None
    stopped: bool = False
    told: bool = False

    @property
    def state(self) -> str:
        """``RUNNING``, ``FINISHED``, ``CANCELED`` or ``FAILED``."""
        status = self.process.poll() if self.process is not None else self.folder.status()
        if status is None:
            return RUNNING
        return CANCELED if self.stopped else FAILED if status else FINISHED


class Jobs:
    """The jobs that a shell knows: its own, and detached ones of others.

    Args:
        environment: of their processes, beside that of this one.
        folder: of their folders; by default in the user's state folder.
    """

    def __init__(self, environment: Mapping[str, str] | None = None, folder: Path | None = None) -> None:
        self._environment = environment or {}
        self._folder = folder if folder is not None else state_folder() / "jobs"
        self._jobs: dict[str, Job] = {}

    def start(self, name: str, text: str, loaded: LoadedSettings, *, detached: bool, bounded: bool) -> Job:
        """Start one.

        Args:
            name: for people.
            text: the job file.
            loaded: the settings of the shell; what was said on its command line holds for the job too.
            detached: it outlives the shell.
            bounded: it ends where its topics end now.
        """
        folder = JobFolder(self._folder / secrets.token_hex(8))
        started = time.time_ns() // 1_000_000
        folder.create(name, text, started, detached=detached, bounded=bounded)
        command = [sys.executable, "-m", "anomaly_app.shell.worker", str(folder.path)]
        with folder.log.open("wb") as log:
            process = subprocess.Popen(
                command if detached else [*command, "attached"],
                stdin=subprocess.DEVNULL if detached else subprocess.PIPE,
                stdout=log,
                stderr=log,
                env={**os.environ, **self._environment, **_given(loaded)},
                start_new_session=True,  # Ctrl-C is for the shell
            )
        job = self._jobs[folder.id] = Job(folder, name, started, detached, process)
        return job

    def all(self) -> list[Job]:
        """All of them, by when they began."""
        for folder in self._folders():
            if folder.id not in self._jobs and (about := _about(folder)) is not None:
                # That of another shell, which has gone or has let it go.
                if about["detached"]:
                    self._jobs[folder.id] = Job(folder, str(about["name"]), int(about["started_ms"]), True)
        return sorted(self._jobs.values(), key=lambda job: job.started_ms)

    def find(self, id_: str) -> Job:
        """The job of an id, or of the only one that begins so.

        Raises:
            AnomalyError: there is none.
        """
        found = [job for job in self.all() if job.folder.id.startswith(id_)] if id_ else []
        if len(found) == 1:
            return found[0]
        known = ", ".join(job.folder.id for job in self.all() if job.state == RUNNING) or "none"
        what = f"several jobs begin with {id_!r}" if found else f"there is no job {id_!r}"
        raise AnomalyError(f"{what}; running: {known}")

    def stop(self, job: Job) -> None:
        """End one in order, and kill it if it does not."""
        if job.state != RUNNING:
            return
        job.stopped = job.told = True
        number = job.process.pid if job.process is not None else job.folder.holder()
        for sign in (signal.SIGTERM, signal.SIGKILL):
            deadline = time.monotonic() + STOP_S
            if not number or not _send(number, sign):
                return
            while job.state == RUNNING or job.folder.holder() is not None:
                if time.monotonic() > deadline:
                    break
                time.sleep(0.05)
            else:
                return

    def wait(self, job: Job) -> None:
        """Until it has ended.

        Raises:
            AnomalyError: it has failed.
            KeyboardInterrupt: Ctrl-C; the job goes on.
        """
        while job.state == RUNNING:
            time.sleep(0.05)
        job.told = True
        if job.state == FAILED:
            raise AnomalyError(failure(job))

    def news(self) -> list[str]:
        """Jobs that have ended by themselves since the last call, one line each."""
        ended = [job for job in self._jobs.values() if not job.told and job.state != RUNNING]
        for job in ended:
            job.told = True
        return [failure(job) if job.state == FAILED else f"job {job.folder.id} has finished" for job in ended]

    def close(self) -> list[str]:
        """End those that are not detached, and forget all that have ended; the app ids of the workers that are gone."""
        gone = []
        for job in self.all():
            if not job.detached:
                self.stop(job)
            if job.state != RUNNING:
                job.folder.remove()
                gone.append(job.folder.app_id)
                if job.process is not None and job.process.stdin is not None:
                    job.process.stdin.close()
        self._jobs.clear()
        return gone + self._clear_up(time.time_ns() // 1_000_000)

    def _clear_up(self, now_ms: int) -> list[str]:
        """What shells have left behind that were killed; app ids of the workers."""
        gone = []
        for folder in self._folders():
            about = _about(folder) or {"detached": False, "started_ms": folder.made_ms()}
            if not about["detached"] and folder.holder() is None and now_ms - about["started_ms"] > SETTLED_MS:
                folder.remove()
                gone.append(folder.app_id)
        return gone

    def _folders(self) -> list[JobFolder]:
        return [JobFolder(path) for path in sorted(self._folder.iterdir())] if self._folder.is_dir() else []


def failure(job: Job) -> str:
    """Why a job has failed, in one line."""
    return f"job {job.folder.id} has failed: {job.folder.reason() or 'its process was killed'}"


def row_of(job: Job) -> tuple[str, ...]:
    """A line of SHOW JOBS."""
    return job.folder.id, job.name, job.state, timestamp_to_text(job.started_ms, 3)


COLUMNS = ("job id", "job name", "status", "start time")
"""Of SHOW JOBS, as in Flink."""


def _about(folder: JobFolder) -> Mapping[str, Any] | None:
    try:
        return folder.about()
    except (OSError, ValueError):
        return None


def _send(number: int, sign: signal.Signals) -> bool:
    try:
        os.kill(number, sign)
    except ProcessLookupError:
        return False
    return True


def _given(loaded: LoadedSettings) -> dict[str, str]:
    """Settings of the command line as variables of the environment, where other users do not see them."""
    found = {}
    for key in KEYS:
        if loaded.origins.get(key, "").startswith("command line"):
            section, name = key.split(".")
            value = getattr(getattr(loaded.settings, section), name)
            if value is None:
                continue
            if key in SECRETS:
                value = value.get_secret_value()
            elif isinstance(value, tuple):
                value = ",".join(map(str, value))
            found[f"{PREFIX}{section.upper()}__{name.upper()}"] = str(value)
    for name, text in loaded.settings.parameters.items():
        if loaded.origins.get(f"parameters.{name}", "").startswith("command line"):
            found[f"{PREFIX}PARAMETERS__{name.upper().replace('.', '__')}"] = text
    for key, origin in loaded.origins.items():
        if key.startswith(f"{CONNECTIONS}.") and origin.startswith("command line"):
            name, _, option = key.removeprefix(f"{CONNECTIONS}.").rpartition(".")
            value = loaded.settings.connections[name][option].get_secret_value()
            found[f"{PREFIX}{CONNECTIONS}__{name}__{option}".upper()] = value
    return found
