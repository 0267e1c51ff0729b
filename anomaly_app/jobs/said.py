"""What SET has said, for the statements behind it."""

from __future__ import annotations

import re

from anomaly_app.errors import SqlValidationError
from anomaly_app.jobs.portability import OF_FLINK_ONLY
from anomaly_app.plan.growth import STATE_TTL
from anomaly_app.sql.commands import Reset
from anomaly_app.sql.statements import SetOption
from anomaly_app.words import nearest, parse_duration

ALERTS = "anomaly.alerts"
"""Which rows of the statements behind it are alerts: ``all``, ``none``, ``auto``, the default, or ``where`` and the
name of a BOOLEAN column of theirs."""

ALERT_KEY = "anomaly.alerts.key"
"""Columns of the rows of the statements behind it, with commas: what their alerts are about. Delivery tells alerts
apart by their key; without this it is that of the pattern, the detector or the windows, and a selection has none."""

DETACH = "anomaly.jobs.detach"
"""Of the shell: jobs outlive it. In a job file it changes nothing."""

_OWN = "anomaly."
"""Begins options that Flink does not know, and accepts."""

_ALERTS = ("all", "none", "auto")
_WHERE = re.compile(r"\s*where\s+`?([^`\s]+)`?\s*", re.IGNORECASE)


class Settings:
    """What SET says, for the statements behind it.

    Attributes:
        text: of the statements, for errors.
        said: every option that is set, and its value.
        ttl_ms: after which the state of a silent key is dropped, in event time; None to keep it.
        alerts: which rows are alerts: ``all``, ``none``, ``auto`` or ``where``.
        marked_by: name of the column that says so for each row, of ``where``; "" else.
        about: names of the columns that are the key of alerts; () for the usual key.
        of_flink: options that change nothing here, but what Flink refuses.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.said: dict[str, str] = {}
        self.ttl_ms: int | None = None
        self.alerts, self.marked_by = "auto", ""
        self.about: tuple[str, ...] = ()
        self.of_flink: dict[str, str] = {}

    def take(self, setting: SetOption | Reset) -> bool:
        """Whether the option has a meaning here; an error if its value is wrong, or an option of our own is unknown."""
        if isinstance(setting, Reset):
            return self._reset(setting)
        known = self._take(setting)
        self.said[setting.key] = setting.value
        return known

    def _reset(self, reset: Reset) -> bool:
        for key in [reset.key] if reset.key is not None else list(self.said):
            self.said.pop(key, None)
            self.of_flink.pop(key, None)
            if key == ALERTS:
                self.alerts, self.marked_by = "auto", ""
            elif key == ALERT_KEY:
                self.about = ()
            elif key == STATE_TTL:
                self.ttl_ms = None
        return reset.key is None or reset.key in (ALERTS, ALERT_KEY, STATE_TTL, *OF_FLINK_ONLY)

    def _take(self, setting: SetOption) -> bool:
        if setting.key == ALERTS:
            where = _WHERE.fullmatch(setting.value)
            self.alerts, self.marked_by = ("where", where[1]) if where else (setting.value.lower(), "")
            if where is None and self.alerts not in _ALERTS:
                problem = f"'{ALERTS}' is '{setting.value}': it must be 'all', 'none', 'auto' or 'where', and a column"
                raise SqlValidationError(problem, self.text, *setting.span)
            return True
        if setting.key == ALERT_KEY:
            self.about = tuple(dict.fromkeys(filter(None, (name.strip(" `") for name in setting.value.split(",")))))
            return True
        if setting.key == DETACH:
            return True
        if setting.key.startswith(_OWN):
            problem = f"unknown option '{setting.key}'{nearest(setting.key, [ALERTS, ALERT_KEY, DETACH])}"
            raise SqlValidationError(problem, self.text, *setting.span)
        if setting.key in OF_FLINK_ONLY:
            self.of_flink[setting.key] = setting.value
            return True
        if setting.key != STATE_TTL:
            return False
        ttl = parse_duration(setting.value)
        if ttl is None:
            problem = f"'{STATE_TTL}' is '{setting.value}': it must be a duration such as '30 d' or '12 h', or '0'"
            raise SqlValidationError(problem, self.text, *setting.span)
        self.ttl_ms = ttl or None
        return True
