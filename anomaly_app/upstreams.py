"""Upstream partitions of a fragment: of which of its inputs, of which topic of that, and which of its partitions."""

from __future__ import annotations

import hashlib

PARTITION_BITS = 16
"""A topic has fewer partitions."""
INPUT_BITS = 8
"""A query reads fewer tables."""
TOPIC_BITS = 39


def topic_number(topic: str) -> int:
    """Number of a topic among those of a table of several: it hangs on the name alone, so that topics may be added.

    Example:
        >>> 0 < topic_number("sales.eu") < 1 << TOPIC_BITS
        True
    """
    digest = int.from_bytes(hashlib.blake2b(topic.encode(), digest_size=8).digest())
    return digest >> 64 - TOPIC_BITS or 1


def place_of(topic: int, partition: int) -> int:
    """A partition of a topic of an input; the topic is 0 if there is only one."""
    return topic << PARTITION_BITS | partition


def upstream_of(number: int, place: int) -> int:
    """The upstream partition that is a partition of an input.

    Args:
        number: of the input.
        place: of the partition; its number, if the input has one topic.

    Example:
        >>> upstream_of(0, 3), input_of(upstream_of(2, 3)), partition_of(upstream_of(2, 3))
        (3, 2, 3)
        >>> one = upstream_of(2, place_of(topic_number("sales.eu"), 3))
        >>> input_of(one), partition_of(one), one < 1 << 63
        (2, 3, True)
    """
    topic, partition = place >> PARTITION_BITS, place & _PARTITION
    return (topic << INPUT_BITS | number) << PARTITION_BITS | partition


def feed_of(upstream: int) -> int:
    """What the partitions of a topic of an input have in common."""
    return upstream >> PARTITION_BITS


def input_of(upstream: int) -> int:
    """Number of the input."""
    return upstream >> PARTITION_BITS & (1 << INPUT_BITS) - 1


def partition_of(upstream: int) -> int:
    """Partition of the topic."""
    return upstream & _PARTITION


_PARTITION = (1 << PARTITION_BITS) - 1
