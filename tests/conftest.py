"""What all tests need."""

from __future__ import annotations

import signal

from hypothesis import settings

# A shell without job control starts what runs in its background with SIGINT ignored, and children inherit that: those
# that a test interrupts would never end.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes says nothing on a machine that other work shares; every test has a time limit of its own.
settings.register_profile("no-deadline", settings(), deadline=None)
settings.load_profile("no-deadline")
