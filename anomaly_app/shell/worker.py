"""One job of the shell in a process of its own: ``python -m anomaly_app.shell.worker FOLDER [attached]``.

The folder has the job file; the lock says that the process lives, and the status, once it is there, how it ended.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

from anomaly_app.errors import AnomalyError
from anomaly_app.settings import load_settings
from anomaly_app.shell.job_folder import JobFolder
from anomaly_app.tables.lock import DataDirLock


def main(folder: JobFolder, *, attached: bool) -> int:
    """Run the job until it ends or is stopped.

    Args:
        folder: of the job.
        attached: it ends when standard input does, which is when the shell is gone.
    """
    with DataDirLock(folder.path):
        if attached:
            threading.Thread(target=_end_with_the_shell, daemon=True).start()
        status = _run(folder)
        folder.ended(status)
    return status


def _run(folder: JobFolder) -> int:
    try:
        loaded = load_settings(folder.settings())
        from anomaly_app.app import run_worker

        return run_worker(loaded)
    except AnomalyError as error:
        print(f"anomaly: {error}", file=sys.stderr)
        return 2
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 2


def _end_with_the_shell() -> None:
    # The descriptor, not sys.stdin: its lock would be held when the interpreter exits.
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main(JobFolder(Path(sys.argv[1])), attached=sys.argv[2:] == ["attached"]))
