"""Words for people: lengths of time."""

from __future__ import annotations

_UNITS = ((86_400_000, "day"), (3_600_000, "hour"), (60_000, "minute"), (1_000, "second"), (1, "millisecond"))


def duration(milliseconds: int) -> str:
    """A length of time in words.

    Example:
        >>> duration(5_400_000), duration(10_000), duration(1_500)
        ('1 hour 30 minutes', '10 seconds', '1 second 500 milliseconds')
    """
    parts = []
    for size, unit in _UNITS:
        count, milliseconds = divmod(milliseconds, size)
        if count:
            parts.append(f"{count:,} {unit}{'s' * (count != 1)}")
    return " ".join(parts) or "0 seconds"
