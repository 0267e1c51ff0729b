"""What all tests need."""

from __future__ import annotations

import signal

# A shell without job control starts what runs in its background with SIGINT ignored, and children inherit that: those
# that a test interrupts would never end.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
