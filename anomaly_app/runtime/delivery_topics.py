"""The topics of delivery: what is missing is created, what must be there is looked for."""

from __future__ import annotations

import difflib

from anomaly_app.runtime.topics import CHANGELOG, FOREVER, NeededTopic, TopicAdmin
from anomaly_app.settings import LoadedSettings

PARTITIONS = 4
"""Of the topic of the alerts, if no worker has created it yet."""

STATE = {**CHANGELOG, "segment.bytes": "16777216", "min.cleanable.dirty.ratio": "0.2"}
"""Whoever takes over reads all of it: the last segment, which is not compacted, is kept small."""
ACKS = {"cleanup.policy": "compact,delete", "retention.ms": str(30 * 24 * 3_600_000)}
"""Nobody waits for an acknowledgement for longer."""


def state_topic(loaded: LoadedSettings) -> str:
    """The topic of what delivery remembers."""
    return f"{loaded.settings.delivery.name}-state"


async def ensure_topics(loaded: LoadedSettings) -> tuple[dict[str, int], bool]:
    """Create the topics that are missing.

    Args:
        loaded: the settings.

    Returns:
        partitions of every topic that is read or written, and whether the broker compacts.

    Raises:
        BrokerError: no broker answers, or a topic cannot be created.
        SettingsError: a topic that is to be archived does not exist.
    """
    delivery = loaded.settings.delivery
    needed = [
        NeededTopic(loaded.settings.alerts.topic, PARTITIONS, FOREVER),
        NeededTopic(state_topic(loaded), 1, STATE),
        NeededTopic(delivery.silence_topic, 1, CHANGELOG),
        NeededTopic(delivery.ack_topic, 1, ACKS),
        NeededTopic(delivery.response_topic, 1, FOREVER),
        NeededTopic(delivery.dead_letter_topic, 1, FOREVER),
    ]
    async with TopicAdmin(loaded) as admin:
        partitions = await admin.ensure(needed)
        for number, archive in enumerate(delivery.archive):
            others = [topic for topic in archive.topics if topic not in partitions]
            found = await admin.partitions(others) if others else {}
            for place, topic in enumerate(archive.topics):
                if topic not in partitions and topic not in found:
                    near = difflib.get_close_matches(topic, sorted(await admin.names()), 1)
                    hint = f"; did you mean {near[0]!r}?" if near else ""
                    problem = f"topic {topic!r} does not exist, or the user may not see it{hint}"
                    raise loaded.error(f"delivery.archive[{number}].topics[{place}]", problem)
            partitions |= found
        return partitions, admin.makes_topics
