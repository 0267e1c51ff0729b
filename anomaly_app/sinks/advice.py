"""What to do about an alert: what its rule says, else by its severity."""

from __future__ import annotations

from anomaly_app.alerts import Alert
from anomaly_app.alerts.record import SILENCE, SILENCE_OVER

COLUMNS = ("recommended_actions", "recommended_action", "action", "actions")
"""Output columns by which a rule says it: a text, whose lines are steps, or an array of texts."""
MOST = 8

_BY_SEVERITY = {
    "critical": (
        "Look at it now{rows}.",
        "If harm is going on, stop it until this is clear: freeze {who}, or hold what is not yet carried out.",
        "Acknowledge the alert, so that others know that you have it; call for help if it stays unclear.",
    ),
    "high": (
        "Look at it within the hour{rows}.",
        "Ask who answers for {who} whether this was meant; watch what comes next.",
        "Acknowledge the alert, so that others know that you have it.",
    ),
    "medium": (
        "Look at it today, beside what is usual for {who}.",
        "If it comes again, treat it as high.",
    ),
    "low": ("Nothing, unless it comes again.",),
}
_SILENCE = (
    "See whether the program that writes to topic {topic} runs and reaches Kafka.",
    "Until records come again no rule of job {job} can find anything.",
)


def actions(alert: Alert, who: str, one: bool = True) -> list[str]:
    """Steps for a person, in order.

    Args:
        alert: what it is about.
        who: its key in words, or "them".
        one: it is told alone, with its rows.
    """
    said = {name.lower(): value for name, value in alert.payload.items()}
    for name in COLUMNS:
        value = said.get(name)
        steps = value.splitlines() if isinstance(value, str) else value if isinstance(value, list) else []
        steps = [str(step).strip(" -\t") for step in steps if str(step).strip(" -\t")]
        if steps:
            return steps[:MOST]
    if alert.type == SILENCE_OVER:
        return ["Nothing: records come again."]
    usual = _SILENCE if alert.type == SILENCE else _BY_SEVERITY[alert.severity]
    rows = ": the rows above are what the rule saw" if alert.rows and one else ""
    names = {"who": who or "the source", "topic": alert.source.topic, "job": alert.job, "rows": rows}
    return [step.format_map(names) for step in usual]
