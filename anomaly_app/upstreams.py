"""Upstream partitions of a fragment: which of its inputs, and which partition of that, as one number."""

from __future__ import annotations

PARTITION_BITS = 20
"""A topic has fewer partitions."""


def upstream_of(number: int, partition: int) -> int:
    """The upstream partition that is a partition of an input.

    Example:
        >>> upstream_of(0, 3), input_of(upstream_of(2, 3)), partition_of(upstream_of(2, 3))
        (3, 2, 3)
    """
    return number << PARTITION_BITS | partition


def input_of(upstream: int) -> int:
    """Number of the input."""
    return upstream >> PARTITION_BITS


def partition_of(upstream: int) -> int:
    """Partition of that input's topic."""
    return upstream & ((1 << PARTITION_BITS) - 1)
