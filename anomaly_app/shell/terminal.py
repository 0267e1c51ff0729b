"""Where the shell prints: rows to standard output, everything else where it disturbs no program."""

from __future__ import annotations

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
        """Let others see it."""
        sys.stdout.flush()

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
