"""Runs a command that must not outlive whoever started it: ``python -m anomaly_app.testing.guard COMMAND…``.

The command is killed when standard input ends, which it does when the process at the other end of the pipe is gone,
in whatever way. SIGTERM is passed on. The exit status is the command's.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence


def guard(command: Sequence[str]) -> int:
    """Run a command until it or standard input ends."""
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    signal.signal(signal.SIGTERM, lambda number, frame: child.terminate())

    def watch() -> None:
        # The descriptor, not sys.stdin: its lock would be held when the interpreter exits.
        while os.read(0, 4096):
            pass
        child.kill()

    threading.Thread(target=watch, daemon=True).start()
    return child.wait()


if __name__ == "__main__":
    sys.exit(guard(sys.argv[1:]))
