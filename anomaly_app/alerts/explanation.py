"""A finding in one or two English sentences, for a person paged at night."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from anomaly_app.alerts.condition import Condition, columns_read, parse_condition
from anomaly_app.alerts.values import Converter, iso_time, to_text
from anomaly_app.errors import SqlError
from anomaly_app.jobs.model import Plan, Query
from anomaly_app.operators import COLUMNS, TIME, Finding, Layout, Row
from anomaly_app.schema import TIMESTAMPS

WINDOW = "window"
"""Type of an alert about a window, whose time is its end."""
MOST_COLUMNS = 8
"""Output columns that a sentence names."""
MOST_VARIABLES = 8
"""Pattern variables that a sentence tells about."""
MOST_VALUES = 6
"""Values of one column that a sentence lists: the first ones and the last."""
LONGEST_CONDITION = 300
"""Characters of a condition as written."""


class Explainer:
    """Explains the findings of one query.

    What it says is made of the key, the output, the rows, and the text of the rule; what the rule does not tell
    (a plain SELECT has no pattern) is left out.

    Args:
        plan: of the query; gives the source and the layout of its rows.
        query: the query; its factory may have ``definitions``, ``pattern_text``, ``measures`` (name of an output
            column and text of its expression), ``all_rows`` (a match gives a row for each of its rows),
            ``description``, ``alert_type`` and ``labels`` (name of an output column and what to call it).
    """

    def __init__(self, plan: Plan, query: Query) -> None:
        factory = query.factory
        self._layout, self._output = plan.evidence(query), factory.output
        self._key = [(column.name, to_text(column.type)) for column in factory.key]
        keys = {column.name for column in factory.key}
        self._definitions: Mapping[str, str] = {name: text for name, text in factory.definitions.items() if text}
        pattern = factory.pattern_text
        self._of_windows = factory.alert_type == WINDOW
        labels = factory.labels
        # Not the key again, nor the times that the rows of a pattern have, or the edges of a window.
        timed = pattern or self._of_windows
        self._shown = [
            (number, labels.get(column.name, column.name), to_text(column.type))
            for number, column in enumerate(factory.output)
            if column.name not in keys and not (timed and column.type.kind in TIMESTAMPS)
        ]
        self._pattern = pattern[len("PATTERN") :].strip() if pattern.upper().startswith("PATTERN") else pattern
        self._description = factory.description
        # Running measures of earlier rows are not what the condition saw on the last one.
        self._measures = {} if factory.all_rows else factory.measures
        self._conditions: dict[str, Condition] = {}
        self._read: dict[str, list[tuple[str, int, Converter]]] = {}
        variables = list(factory.definitions)
        for variable, text in self._definitions.items():
            self._conditions[variable], read = self._parse(text, variable, variables)
            for owner, name in read:
                entries = self._read.setdefault(owner, [])
                if name not in [known for known, _, _ in entries]:
                    entries.append((name, self._layout.index(name), _text_of(self._layout, name)))

    def explain(self, finding: Finding) -> str:
        """The sentences."""
        if not self._pattern or not finding.bindings:
            return self._explain_row(finding)
        rows: dict[str, list[Row]] = {}
        for variable, row in finding.bindings:
            rows.setdefault(variable, []).append(row)
        closing, last_row = finding.bindings[-1]
        condition = self._conditions.get(closing)
        parts = []
        if condition is not None:
            # This variable's condition was tested on the last row of the match, so that it saw all of it.
            parts.append(condition.measured({name: of_name[-1] for name, of_name in rows.items()}, finding.values))
        told = condition.outputs if condition is not None else frozenset()
        parts += self._outputs(finding.values, told)
        what = "; ".join(parts) or f"{len(finding.bindings)} rows"
        return (
            f"{self._head(finding, last_row, what)} {self._rows(rows, closing)}{self._rule(rows, finding.timed_out)}."
        )

    def _explain_row(self, finding: Finding) -> str:
        what = (
            finding.explanation.rstrip(".") or "; ".join(self._outputs(finding.values, frozenset())) or "a row passed"
        )
        rule = f" Rule: {self._description.rstrip('.')}." if self._description else ""
        return self._head(finding, finding.last, what) + rule

    def _head(self, finding: Finding, row: Row, what: str) -> str:
        key = ", ".join(
            [_named(name, value, convert) for (name, convert), value in zip(self._key, finding.key, strict=False)]
        )
        if self._of_windows:
            time = f"in the window up to {iso_time(finding.time + 1, ' ', '')}"
        else:
            time = f"at {iso_time(row[TIME], ' ', '')}"
        return f"{key} {time}: {what}." if key else f"{time[0].upper()}{time[1:]}: {what}."

    def _outputs(self, values: Sequence[Any], told: Collection[int]) -> list[str]:
        """Output columns that were not told yet, as one text; none where nothing is left."""
        shown = [_named(name, values[number], convert) for number, name, convert in self._shown if number not in told]
        if len(shown) > MOST_COLUMNS:
            shown[MOST_COLUMNS:] = [f"and {len(shown) - MOST_COLUMNS} more"]
        return [", ".join(shown)] if shown else []

    def _rows(self, rows: Mapping[str, list[Row]], closing: str) -> str:
        parts = []
        for variable, of_variable in rows.items():
            if variable == closing and len(of_variable) == 1:
                continue  # the first sentence is about this row
            first, last = iso_time(of_variable[0][TIME], " ", ""), iso_time(of_variable[-1][TIME], " ", "")
            time = f"1 row at {first}" if len(of_variable) == 1 else f"{len(of_variable)} rows from {first} to {last}"
            values = [
                f"{name} {_listed([row[index] for row in of_variable], convert)}"
                for name, index, convert in self._read.get(variable, ())
            ]
            parts.append(f"{variable}: {time}" + (f" ({'; '.join(values)})" if values else ""))
        if len(parts) > MOST_VARIABLES:
            parts[MOST_VARIABLES:] = [f"and {len(parts) - MOST_VARIABLES} more"]
        return "; ".join(parts) + ("; " if parts else "")

    def _rule(self, variables: Iterable[str], timed_out: bool) -> str:
        if timed_out:
            return f"began {self._pattern}, but what had to follow did not come in time"
        conditions = [(name, _cut(self._definitions[name])) for name in variables if name in self._definitions]
        matched = f"matched {self._pattern}" if self._pattern else "matched the rule"
        if len(conditions) == 1:
            return f"{matched} because {conditions[0][1]}"
        because = " and ".join([f"{name} is {text}" for name, text in conditions])
        return f"{matched} because {because}" if because else matched

    def _parse(self, text: str, variable: str, variables: list[str]) -> tuple[Condition, list[tuple[str, str]]]:
        try:
            read = columns_read(text, variables, self._layout)
            condition = parse_condition(
                text,
                variable,
                variables=variables,
                layout=self._layout,
                output=self._output,
                measures=self._measures,
            )
        except SqlError:
            # The rule itself was bound; if its text cannot be read alone, it is shown as it is.
            return Condition(text, (text,), frozenset()), []
        return condition, read


def _text_of(layout: Layout, name: str) -> Converter:
    return to_text(layout.columns[layout.index(name) - COLUMNS].type)


def _named(name: str, value: Any, convert: Converter) -> str:
    return f"{name} NULL" if value is None else f"{name} {convert(value)}"


def _listed(values: Sequence[Any], convert: Converter) -> str:
    """Values with commas; of many the first ones, and the last."""
    shown = values if len(values) <= MOST_VALUES else values[: MOST_VALUES - 1]
    texts = ["NULL" if value is None else convert(value) for value in shown]
    if len(values) > MOST_VALUES:
        last = values[-1]
        texts += ["…", "NULL" if last is None else convert(last)]
    return ", ".join(texts)


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_CONDITION else text[: LONGEST_CONDITION - 1] + "…"
