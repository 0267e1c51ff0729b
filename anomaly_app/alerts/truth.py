"""What was wrong for certain, and how much of it some alerts tell: precision and recall of rules."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec

from anomaly_app.alerts.record import Alert
from anomaly_app.errors import DataError


class Incident(msgspec.Struct, frozen=True, kw_only=True, rename={"begin": "from", "end": "to"}):
    """Something that was wrong: a line of a truth file.

    Args:
        begin: event time of its begin, in ms since 1970 or ISO-8601.
        end: and of its end, which belongs to it.
        type: what it is; the ``type`` of the alert's payload, else that of the alert.
        fields: columns of the payload, and what they must be.
        about: what some text of the payload must say; "" for anything.
    """

    begin: int | str
    end: int | str
    type: str = ""
    fields: dict[str, Any] = msgspec.field(default_factory=dict)
    about: str = ""

    def tells(self, alert: Alert, at_ms: int) -> bool:
        """Whether an alert of an event time is about it."""
        if not milliseconds(self.begin) <= at_ms <= milliseconds(self.end):
            return False
        payload = alert.payload
        if self.type and self.type != kind_of(alert):
            return False
        if any(payload.get(name) != value for name, value in self.fields.items()):
            return False
        return not self.about or any(self.about in value for value in payload.values() if isinstance(value, str))


def kind_of(alert: Alert) -> str:
    """What an alert is about: the output column ``type`` of its query, else the name of the query."""
    said = alert.payload.get("type")
    return said if isinstance(said, str) else alert.query


def milliseconds(time: int | str) -> int:
    """A time in ms since 1970; raises ``ValueError`` for a text that is none.

    Example:
        >>> milliseconds("1970-01-01T00:00:01.500Z"), milliseconds(7)
        (1500, 7)
    """
    if isinstance(time, int):
        return time
    found = datetime.fromisoformat(time.replace("Z", "+00:00"))
    stamp = found if found.tzinfo is not None else datetime.fromisoformat(f"{found.isoformat()}+00:00")
    return round(stamp.timestamp() * 1_000)


def read_truth(lines: Iterable[bytes], name: str) -> list[Incident]:
    """The incidents of a file of JSON lines.

    Args:
        lines: of the file; empty ones do not count.
        name: of the file, for errors.

    Raises:
        DataError: a line is none.
    """
    found = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            incident = msgspec.json.decode(line, type=Incident)
            milliseconds(incident.begin), milliseconds(incident.end)
        except (msgspec.MsgspecError, ValueError) as error:
            raise DataError(f"{name}, line {number}: no incident: {error}") from error
        found.append(incident)
    return found


@dataclass(slots=True)
class Score:
    """How well alerts of one type tell the incidents of it.

    Attributes:
        alerts: how many there are.
        right: of them that are about an incident.
        incidents: how many there were.
        found: of them that an alert is about.
        missed: the others.
        wrong: alerts about nothing.
    """

    alerts: int = 0
    right: int = 0
    incidents: int = 0
    found: int = 0
    missed: list[Incident] = field(default_factory=list)
    wrong: list[Alert] = field(default_factory=list)

    @property
    def precision(self) -> float | None:
        """Share of the alerts that are right; None without alerts."""
        return self.right / self.alerts if self.alerts else None

    @property
    def recall(self) -> float | None:
        """Share of the incidents that are found; None without incidents."""
        return self.found / self.incidents if self.incidents else None


def judge(alerts: Sequence[Alert], incidents: Sequence[Incident]) -> Mapping[str, Score]:
    """Precision and recall by type.

    Types of incidents that no alert can be of count as missed; where alerts have types of which no incident is, these
    are wrong.

    Args:
        alerts: of a run.
        incidents: that happened within what it read.
    """
    scores: defaultdict[str, Score] = defaultdict(Score)
    by_type: defaultdict[str, list[tuple[Alert, int]]] = defaultdict(list)
    right: set[int] = set()
    for alert in alerts:
        kind = kind_of(alert)
        scores[kind].alerts += 1
        at = milliseconds(alert.event_time)
        by_type[kind].append((alert, at))
        by_type[""].append((alert, at))
    for incident in incidents:
        score = scores[incident.type]
        score.incidents += 1
        telling = [alert for alert, at in by_type[incident.type] if incident.tells(alert, at)]
        right |= {id(alert) for alert in telling}
        if telling:
            score.found += 1
        else:
            score.missed.append(incident)
    for kind, told in list(by_type.items()):
        for alert, _ in told if kind else ():
            if id(alert) in right:
                scores[kind].right += 1
            else:
                scores[kind].wrong.append(alert)
    return dict(sorted(scores.items()))
