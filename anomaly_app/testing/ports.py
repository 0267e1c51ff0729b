"""Ports of loopback for programs that tests start."""

from __future__ import annotations

import random
import socket

BELOW_EPHEMERAL = range(15_000, 30_000)
"""Ports that systems do not give to outgoing connections: one stays free while its program is down."""

# Each process takes one after the other from a place of its own, so that tests side by side do not choose the same one
# in the moment between the choice and the start of its program.
_next = random.SystemRandom().choice(BELOW_EPHEMERAL)


def free_port() -> int:
    """A TCP port that nobody uses now, nor is given for an outgoing connection, nor was chosen here before.

    Raises:
        OSError: there is none between 15000 and 30000.

    Example:
        >>> first, second = free_port(), free_port()
        >>> first in BELOW_EPHEMERAL and second in BELOW_EPHEMERAL and first != second
        True
    """
    global _next
    for _ in BELOW_EPHEMERAL:
        port = _next
        _next = port + 1 if port + 1 in BELOW_EPHEMERAL else BELOW_EPHEMERAL.start
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    raise OSError(f"no port is free between {BELOW_EPHEMERAL.start} and {BELOW_EPHEMERAL.stop}")
