"""Row patterns in words that the author of a rule understands."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from anomaly_app.expressions.typed import Dialect
from anomaly_app.patterns.clause import CheckedClause
from anomaly_app.sql.row_pattern import (
    Absence,
    Alternation,
    Anchor,
    Concat,
    Exclusion,
    PatternNode,
    Permute,
    Quantified,
    RowsPerMatch,
    SkipTo,
    Variable,
)

_ROWS = {
    RowsPerMatch.ONE: "gives one row per match",
    RowsPerMatch.ALL_SHOW_EMPTY: "gives every row of a match, and a row for a match without rows",
    RowsPerMatch.ALL_OMIT_EMPTY: "gives every row of a match, and nothing for a match without rows",
    RowsPerMatch.ALL_UNMATCHED: "gives every row of a match, and every row that is in none with NULL measures",
}

_UNITS = ((86_400_000, "day"), (3_600_000, "hour"), (60_000, "minute"), (1_000, "second"), (1, "millisecond"))


def describe_pattern(
    pattern: PatternNode, definitions: Mapping[str, str] | None = None, dialect: Dialect = Dialect.STANDARD
) -> list[str]:
    """The steps of a pattern, in words.

    Args:
        pattern: the tree.
        definitions: text of the condition of each variable, "" if it has none; None to leave conditions out.
        dialect: in Flink a greedy loop does not give rows back.

    Example:
        >>> from anomaly_app.sql.row_pattern_parser import parse_pattern
        >>> describe_pattern(parse_pattern("A+? (B | C)"), {"A": "", "B": "B.x > 1", "C": "C.x < 0"})
        ['at least one A (any row), as few as possible', 'either one B (where B.x > 1) or else one C (where C.x < 0)']
    """
    words = _Words(definitions, dialect)
    parts = pattern.parts if isinstance(pattern, Concat) and pattern.parts else (pattern,)
    return [words.of(part) for part in parts]


def describe_clause(checked: CheckedClause, definitions: Mapping[str, str], columns: Sequence[str] = ()) -> list[str]:
    """A whole clause, in words: a list of phrases in the order in which things happen.

    Args:
        checked: the clause.
        definitions: text of the condition of each variable, "" if it has none.
        columns: names of the output's.
    """
    clause = checked.clause
    keys = " and ".join(column.name for column in checked.partition_by)
    order = ", then ".join(item.column.name + " descending" * item.descending for item in checked.order_by)
    phrases = [
        (f"for each {keys}" if keys else "over all rows together") + (f", rows in order of {order}" if order else "")
    ]
    parts = list(clause.pattern.parts) if isinstance(clause.pattern, Concat) else [clause.pattern]
    anchored = bool(parts) and isinstance(parts[0], Anchor) and parts[0].start
    start = "every row" if checked.skip_to is SkipTo.NO_SKIP else "any row"
    phrases.append(f"starts at {'the first row of the partition only' if anchored else start}")
    words = _Words(definitions, checked.dialect, all_ways=checked.skip_to is SkipTo.NO_SKIP)
    steps = [words.of(part) for part in parts[anchored:]] or ["no row"]
    phrases += [f"takes {steps[0]}", *(f"then {step}" for step in steps[1:])]
    for subset in clause.subsets:
        phrases.append(f"{subset.name} stands for {' or '.join(subset.members)}")
    if clause.within_ms is not None:
        last = "the last row is less than that after the first"
        if checked.program.waiting >= 0:
            last = "counted from the first row; the match comes when that has passed"
        phrases.append(f"all within {duration(clause.within_ms)}: {last}")
    given = _ROWS[checked.rows_per_match] + (f", with {', '.join(columns)}" if columns else "")
    if checked.timeouts:
        given += "; and the same for the rows taken by an attempt that is not complete in time, when that has passed"
    return [*phrases, _skip(checked), given]


def notes(checked: CheckedClause) -> list[str]:
    """What a rule author should know about a clause and does not see."""
    found = []
    bare = {number for number in range(len(checked.program.labels)) if number not in checked.conditions}
    barred = sorted(
        {guard for state in checked.program.states for edge in state.edges for guard in edge.guards if guard in bare}
    )
    for number in barred:
        name = checked.program.labels[number]
        found.append(
            f"{name} takes any row and its loop is greedy: in dialect flink that loop is never left, so what follows "
            f"it never matches; make it reluctant (add ?) or give {name} a condition"
        )
    if checked.skip_to is SkipTo.NO_SKIP and _endless(checked.clause.pattern):
        found.append(
            "with NO SKIP every way through the rows is a match, so that a loop may give very many; limits.threads "
            "bounds the ways of a key that are open at once"
        )
    if checked.clause.within_ms is None and _endless(checked.clause.pattern):
        found.append("without WITHIN an attempt stays open until rows decide it, however long that takes")
    if checked.skip_set and not _moves_on(checked):
        target = checked.clause.skip.variable if checked.clause.skip is not None else ""
        found.append(
            f"where {target} has no row in a match, or its row is the first one, matching goes on at the second row "
            "and a problem is reported"
        )
    if checked.timeouts or checked.program.waiting >= 0:
        found.append(
            "time is that of the watermark, which rows move on: where none come any more, nothing is known to be over"
        )
    if checked.program.matches_empty:
        found.append("the pattern can match without taking a row: then measures are NULL and counts 0")
    return found


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


def _endless(node: PatternNode) -> bool:
    """Whether a pattern has a loop without bound."""
    if isinstance(node, Quantified):
        return node.maximum is None or _endless(node.body)
    if isinstance(node, (Concat, Alternation, Permute)):
        return any(_endless(part) for part in node.parts)
    return isinstance(node, Exclusion) and _endless(node.body)


def _moves_on(checked: CheckedClause) -> bool:
    """Whether the skip target has a row in every match, and that is not the first one."""
    program = checked.program
    starts = {edge.label for state in (program.states[0], program.first) for edge in state.edges}
    names = {program.labels[number].upper() for number in checked.skip_set}
    return not starts & checked.skip_set and _certain(checked.clause.pattern, names)


def _certain(node: PatternNode, names: set[str]) -> bool:
    """Whether every match of a pattern has a row of one of the variables."""
    if isinstance(node, Variable):
        return node.name.upper() in names
    if isinstance(node, Quantified):
        return node.minimum > 0 and _certain(node.body, names)
    if isinstance(node, (Concat, Permute)):
        return any(_certain(part, names) for part in node.parts)
    if isinstance(node, Alternation):
        return all(_certain(part, names) for part in node.parts)
    return isinstance(node, Exclusion) and _certain(node.body, names)


def _skip(checked: CheckedClause) -> str:
    skip = checked.clause.skip
    if checked.skip_to is SkipTo.PAST_LAST_ROW:
        return "after a match, goes on after its last row"
    if checked.skip_to is SkipTo.NEXT_ROW:
        return "after a match, goes on at its second row, so that matches may overlap"
    if checked.skip_to is SkipTo.NO_SKIP:
        return "skips nothing: every way through the rows is a match of its own"
    which = "first" if checked.skip_to is SkipTo.FIRST else "last"
    return f"after a match, goes on at its {which} {skip.variable if skip is not None else ''}"


class _Words:
    """Words for the nodes of one pattern; a condition is told where its variable comes first."""

    def __init__(self, definitions: Mapping[str, str] | None, dialect: Dialect, *, all_ways: bool = False) -> None:
        self.definitions = {name.upper(): (name, text) for name, text in (definitions or {}).items()}
        self.flink, self.all_ways = dialect is Dialect.FLINK, all_ways
        self.told: set[str] = set()

    def of(self, node: PatternNode) -> str:
        """A phrase that may follow "takes"."""
        if isinstance(node, Variable):
            return f"one {self._name(node)}"
        if isinstance(node, Concat):
            return ", then ".join(self._within(part, Concat) for part in node.parts) or "no row"
        if isinstance(node, Alternation):
            return f"either {' or else '.join(self._within(part, Alternation) for part in node.parts)}"
        if isinstance(node, Permute):
            *before, last = (self._within(part, Permute) for part in node.parts)
            return f"{', '.join(before)} and {last}, in any order" if before else last
        if isinstance(node, Exclusion):
            return f"{self._within(node.body, Exclusion)} (not shown in ALL ROWS output)"
        if isinstance(node, Anchor):
            return "the start of the partition" if node.start else "the end of the partition (no row follows)"
        if isinstance(node, Absence):
            return f"no {self._name(node.body)} until time is over; other rows pass by"
        assert isinstance(node, Quantified)
        return self._repeated(node)

    def _within(self, node: PatternNode, outer: type[PatternNode]) -> str:
        """A part of a phrase; in brackets where it would be read wrongly."""
        words = self.of(node)
        plain = isinstance(node, (Variable, Anchor)) or (isinstance(node, Quantified) and outer in (Concat, Exclusion))
        return words if plain or (isinstance(node, Concat) and not node.parts) else f"({words})"

    def _name(self, node: Variable) -> str:
        folded = node.name.upper()
        name, condition = self.definitions.get(folded, (node.name, None))
        if condition is None or folded in self.told:
            return name
        self.told.add(folded)
        return f"{name} (where {condition})" if condition else f"{name} (any row)"

    def _repeated(self, node: Quantified) -> str:
        single = isinstance(node.body, Variable)
        if node.minimum == node.maximum:
            how = ""
        elif self.flink and not node.reluctant and single and (node.minimum, node.maximum) != (0, 1):
            how = ", as long as its condition holds, giving none back"
        elif self.all_ways:
            how = ""  # nothing is preferred where every way counts
        elif (node.minimum, node.maximum) == (0, 1):
            how = ", preferably without" if node.reluctant or self.flink else ", preferably with"
        elif node.reluctant:
            how = f", as {'few' if single else 'seldom'} as possible"
        elif self.flink:
            how = ""  # the match that is complete first wins, however often the group was repeated
        else:
            how = f", as {'many' if single else 'often'} as possible"
        if isinstance(node.body, Variable):
            return f"{_count(node.minimum, node.maximum)} {self._name(node.body)}{how}"
        return f"{_times(node.minimum, node.maximum)} ({self.of(node.body)}){how}"


def _count(minimum: int, maximum: int | None) -> str:
    if maximum == minimum:
        return "one" if minimum == 1 else f"exactly {minimum}"
    if maximum is None:
        return "any number of" if not minimum else f"at least {'one' if minimum == 1 else minimum}"
    if not minimum:
        return f"at most {'one' if maximum == 1 else maximum}"
    return f"{minimum} to {maximum}"


def _times(minimum: int, maximum: int | None) -> str:
    if (minimum, maximum) == (1, None):
        return "at least once"
    if (minimum, maximum) == (0, 1):
        return "at most once"
    if (minimum, maximum) == (1, 1):
        return "once"
    words = _count(minimum, maximum)
    return "any number of times" if words == "any number of" else re.sub(r"^exactly ", "", f"{words} times")
