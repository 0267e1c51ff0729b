"""Options of the shell, as SET has them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from anomaly_app.errors import SqlValidationError
from anomaly_app.jobs.said import DETACH
from anomaly_app.sql.statements import SetOption
from anomaly_app.words import nearest


class Mode(Enum):
    """How results are shown (``sql-client.execution.result-mode``)."""

    TABLE = "table"
    CHANGELOG = "changelog"
    TABLEAU = "tableau"


MODE = "sql-client.execution.result-mode"
MOST_ROWS = "sql-client.execution.max-table-result.rows"
WIDTH = "table.display.max-column-width"
OLD_WIDTH = "sql-client.display.max-column-width"
RUNTIME = "execution.runtime-mode"

KNOWN = {
    MODE: "'table', 'changelog' or 'tableau'",
    MOST_ROWS: "a whole number, at least 1",
    WIDTH: "a whole number, at least 4",
    OLD_WIDTH: "a whole number, at least 4",
    RUNTIME: "'streaming' or 'batch'",
    DETACH: "'true' or 'false'",
}
"""Options that mean something to the shell, and what their values may be."""


@dataclass(frozen=True, slots=True)
class ShellOptions:
    """What SET says to the shell.

    Args:
        mode: how results are shown.
        most_rows: of a table or changelog page that are kept; the oldest go first.
        width: of columns whose values may be of any length.
        batch: topics are read to where they end now, and what is left is shown then.
        detach: jobs outlive the shell.
    """

    mode: Mode
    most_rows: int
    width: int
    batch: bool
    detach: bool

    @classmethod
    def of(cls, said: Mapping[str, str], usual: Mode) -> ShellOptions:
        """Those of what SET has said.

        Args:
            said: every option that is set.
            usual: the mode where nothing says another.

        Example:
            >>> ShellOptions.of({MODE: "TABLEAU", WIDTH: "12"}, Mode.TABLE).width
            12
        """
        mode = said.get(MODE)
        return cls(
            usual if mode is None else Mode(mode.lower()),
            int(said.get(MOST_ROWS, "1000000")),
            int(said.get(WIDTH, said.get(OLD_WIDTH, "30"))),
            said.get(RUNTIME, "").lower() == "batch",
            said.get(DETACH, "").lower() == "true",
        )


def check(option: SetOption, text: str) -> None:
    """Refuse a value that an option of the shell cannot have.

    Args:
        option: the statement.
        text: that it stands in.

    Raises:
        SqlValidationError: it names what would be right.
    """
    key, value = option.key, option.value.lower()
    if key not in KNOWN:
        return
    if key in (MOST_ROWS, WIDTH, OLD_WIDTH):
        fits = value.isascii() and value.isdigit() and int(value) >= (1 if key == MOST_ROWS else 4)
        hint = ""
    else:
        words = [word for word in KNOWN[key].split("'") if word.isalpha() and word != "or"]
        fits, hint = value in words, nearest(value, words)
    if not fits:
        hint = hint if "did you mean" in hint else ""
        problem = f"'{key}' is '{option.value}': it must be {KNOWN[key]}{hint}"
        raise SqlValidationError(problem, text, *option.span)
