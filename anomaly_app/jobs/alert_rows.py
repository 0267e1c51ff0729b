"""Which rows of a query of a job are alerts, as SET says it, and what they are about."""

from __future__ import annotations

from anomaly_app.errors import SqlValidationError
from anomaly_app.jobs.model import Alerts
from anomaly_app.jobs.said import ALERT_KEY, ALERTS, Settings
from anomaly_app.plan.query import PlannedQuery
from anomaly_app.schema import Kind
from anomaly_app.sql.queries import QueryTree
from anomaly_app.sql.statements import Insert
from anomaly_app.words import nearest


class AlertRows:
    """The alerts of a query.

    Args:
        factory: the planned query.
        statement: its query, or INSERT.
        settings: what SET has said.
        text: of the job file, for errors.
        warnings: takes what is accepted but has no meaning.

    Attributes:
        alerts: which rows are some.
        mark: place of the column that says it; None if none does.
        about: places of the columns that are the key of the alerts; None for the usual key.

    Raises:
        SqlValidationError: rows that are taken back would be alerts, or a column is unknown or no BOOLEAN.
    """

    def __init__(
        self, factory: PlannedQuery, statement: QueryTree | Insert, settings: Settings, text: str, warnings: list[str]
    ) -> None:
        self._factory, self._statement, self._settings = factory, statement, settings
        self._text, self._warnings = text, warnings
        self.alerts = self._alerts()
        self.mark = self._marked_at() if self.alerts is Alerts.MARKED else None
        self.about = self._keyed_at() if self.alerts is not Alerts.NONE else None

    def _alerts(self) -> Alerts:
        said, bare = self._settings.alerts, not isinstance(self._statement, Insert)
        if self._factory.node.updating:
            return self._no_alerts(said)
        if said == "none" and bare:
            problem = f"a SELECT without INSERT INTO, behind SET '{ALERTS}' = 'none': its rows go nowhere"
            line = self._text.count("\n", 0, self._statement.span.start) + 1
            self._warnings.append(f"line {line}: {problem}")
        if said == "auto":
            return Alerts.FLAGGED if bare or self._factory.detects else Alerts.NONE
        return Alerts.MARKED if said == "where" else Alerts(said)

    def _marked_at(self) -> int:
        """Place of the column that says which rows are alerts."""
        name = self._settings.marked_by
        setting = f"SET '{ALERTS}' = 'where {name}'"
        place = self._place(name, setting)
        if self._factory.output[place].type.kind is not Kind.BOOLEAN:
            problem = f"{setting}: {name} is {self._factory.output[place].type}, and must be a BOOLEAN"
            raise SqlValidationError(problem, self._text, *self._statement.span)
        return place

    def _keyed_at(self) -> tuple[int, ...] | None:
        """Places of the columns that are the key of the alerts; None for the usual key."""
        names = self._settings.about
        setting = f"SET '{ALERT_KEY}' = '{', '.join(names)}'"
        return tuple(self._place(name, setting) for name in names) or None

    def _place(self, name: str, setting: str) -> int:
        names = [column.name for column in self._factory.output]
        if name not in names:
            problem = f"{setting}: the rows have no column {name!r}{nearest(name, names)}"
            raise SqlValidationError(problem, self._text, *self._statement.span)
        return names.index(name)

    def _no_alerts(self, said: str) -> Alerts:
        """An alert cannot be taken back."""
        bare = not isinstance(self._statement, Insert)
        if said in ("all", "where") or (bare and said != "none"):
            what = "a SELECT of a job without INSERT INTO" if bare else f"an INSERT behind SET '{ALERTS}' = '{said}'"
            problem = f"the rows of {what} are alerts, which cannot be taken back, and {self._factory.node.updating}"
            way = "INSERT INTO a table of the connector 'upsert-kafka'" if bare else f"SET '{ALERTS}' = 'none'"
            raise SqlValidationError(f"{problem}: {way}", self._text, *self._statement.span)
        return Alerts.NONE
