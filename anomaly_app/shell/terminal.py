"""Where the shell prints: rows to standard output, everything else where it disturbs no program."""

from __future__ import annotations

import errno
import io
import os
import select
import stat
import sys
from dataclasses import dataclass


@dataclass(slots=True)
class Terminal:
    """Standard output and error.

    Args:
        interactive: a person sits there: everything goes to one place, in its order.
        colour: errors and remarks are coloured.
    """

    interactive: bool
    colour: bool = False

    def write(self, line: str) -> None:
        """A line of a result."""
        sys.stdout.write(line + "\n")

    def note(self, line: str) -> None:
        """A remark about it."""
        self._aside(line, "2")

    def warn(self, line: str) -> None:
        """A remark that one should read."""
        self._aside(f"[WARNING] {line}", "33")

    def error(self, text: str) -> None:
        """What went wrong."""
        self._aside(f"[ERROR] {text}", "31")

    def flush(self) -> None:
        """Let others see it.

        Raises:
            BrokenPipeError: nobody reads it any more, even if there was nothing new to write: a query that waits for
                rows must not outlive its reader.
        """
        sys.stdout.flush()
        if not self.interactive and _reader_has_gone():
            raise BrokenPipeError(errno.EPIPE, "nobody reads the rows any more")

    def _aside(self, text: str, style: str) -> None:
        sys.stdout.flush()
        stream = sys.stdout if self.interactive else sys.stderr
        stream.write(f"\x1b[{style}m{text}\x1b[0m\n" if self.colour else f"{text}\n")
        stream.flush()

    def clear(self) -> None:
        """Begin anew at the top."""
        if self.interactive:
            sys.stdout.write("\x1b[2J\x1b[H")
            sys.stdout.flush()


def _reader_has_gone() -> bool:
    """Whether standard output is a pipe without a reader."""
    try:
        number = sys.stdout.fileno()
    except io.UnsupportedOperation:  # it is kept in memory
        return False
    if not stat.S_ISFIFO(os.fstat(number).st_mode):
        return False
    poll = select.poll()
    poll.register(number, 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))
