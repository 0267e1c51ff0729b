"""A pattern as a program: a position automaton whose edges stand in order of preference.

State 0 is the start; every other state is one place of a variable in the pattern (loops with bounds are written out),
and being in it means that its row was just taken. What lies between two rows (choices, loops, anchors) is resolved
when the program is made, so that matching needs one look at the edges per row.

Preference is that of SQL:2016 (ISO/IEC TR 19075-5, 4.14.3): leftmost alternative, greedy loops more often, reluctant
ones less often. In the Flink dialect every loop prefers more rows (of matches complete at the same row the leftmost
element takes the most), and edges that leave a greedy loop carry a guard: the loop's own condition must not hold.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import permutations

from anomaly_app.errors import SqlValidationError
from anomaly_app.expressions.typed import Dialect
from anomaly_app.sql.row_pattern import (
    Absence,
    Alternation,
    Anchor,
    Concat,
    Exclusion,
    PatternNode,
    Permute,
    Quantified,
    Variable,
)

MAX_STATES = 20_000
"""Places of variables in a pattern, loops written out."""

MAX_STEPS = 1_000_000
"""Steps from the places to those that can follow them: of n optional parts in a row each may follow each."""


@dataclass(frozen=True, slots=True)
class Edge:
    """To a state, if its variable's condition holds on the next row and the guards' conditions do not.

    Args:
        target: the state.
        label: its variable.
        guards: variables whose conditions must not hold on the row.
    """

    target: int
    label: int
    guards: tuple[int, ...] = ()


@dataclass(slots=True)
class State:
    """A place in the pattern.

    Args:
        label: number of its variable; -1 for the start.
        excluded: inside ``{- -}``.
        edges: in order of preference; those behind an acceptance are left out.
        accepts: the match may end here, if none of the edges leads to one.
        accepts_at_end: the same, if no row follows in the partition: number of edges preferred to it; -1 if not.
    """

    label: int
    excluded: bool = False
    edges: tuple[Edge, ...] = ()
    accepts: bool = False
    accepts_at_end: int = -1


@dataclass(slots=True)
class Program:
    """A compiled pattern.

    Args:
        labels: names of the variables, as written, in order of appearance.
        states: all states; 0 is the start at a row that is not the first of its partition.
        first: the start at the first row of a partition.
        anchored: ``^`` occurs, so that the two starts differ.
        anchored_end: ``$`` occurs.
        waiting: the state behind the pattern of ``NOT v``; -1 without. Its edges are turned round: they are open if
            the condition of ``v`` does not hold, and bind no row. A match is made of a way that has such an edge
            when WITHIN ends.
    """

    labels: list[str]
    states: list[State]
    first: State
    anchored: bool = False
    anchored_end: bool = False
    waiting: int = -1

    def waits(self, state: State) -> bool:
        """Whether the pattern in front of ``NOT v`` may be complete in a state."""
        return self.waiting >= 0 and any(edge.target == self.waiting for edge in state.edges)

    @property
    def loops(self) -> bool:
        """Whether a match may have any number of rows."""
        # Places are numbered from the last to the first, so that only a loop leads to a greater number.
        return any(edge.target >= number for number, state in enumerate(self.states) if number for edge in state.edges)

    @property
    def matches_empty(self) -> bool:
        """Whether a match without rows is possible somewhere."""
        starts = (self.states[0], self.first)
        return any(state.accepts or state.accepts_at_end >= 0 for state in starts)


# --- the graph between rows ------------------------------------------------------------------------


@dataclass(slots=True)
class _Node:
    """A node of the graph: takes a row (``state``), or passes on to ``next`` in order of preference.

    ``begins`` and ``ends`` are numbers of iterations: one that ends without having taken a row is the last of its
    loop and goes to ``exit``.
    """

    next: list[_Node] = field(default_factory=list)
    state: int = 0
    anchor: str = ""
    guard: int = -1
    begins: int = 0
    ends: int = 0
    exit: _Node | None = None
    accept: bool = False


class _Builder:
    def __init__(self, text: str, dialect: Dialect) -> None:
        self.text, self.dialect = text, dialect
        self.labels: list[str] = []
        self.numbers: dict[str, int] = {}
        self.states = [State(-1)]
        self.successors: list[_Node] = [_Node()]
        self.excluded = self.iterations = 0
        self.anchors: set[str] = set()
        self.waiting = -1

    def label(self, name: str) -> int:
        folded = name.upper()
        if folded not in self.numbers:
            self.numbers[folded] = len(self.labels)
            self.labels.append(name)
        return self.numbers[folded]

    def build(self, node: PatternNode, follow: _Node) -> _Node:
        """The entry of a pattern that goes on at ``follow``."""
        if isinstance(node, Variable):
            if len(self.states) > MAX_STATES:
                problem = f"the pattern is too large: with loops and permutations written out, over {MAX_STATES} places"
                raise SqlValidationError(problem, self.text, *node.span)
            self.states.append(State(self.label(node.name), self.excluded > 0))
            self.successors.append(follow)
            return _Node(state=len(self.states) - 1)
        if isinstance(node, Concat):
            for part in reversed(node.parts):
                follow = self.build(part, follow)
            return follow
        if isinstance(node, Alternation):
            return _Node([self.build(part, follow) for part in node.parts])
        if isinstance(node, Permute):
            entries = []
            for order in permutations(node.parts):
                entry = follow
                for part in reversed(order):
                    entry = self.build(part, entry)
                entries.append(entry)
            return _Node(entries)
        if isinstance(node, Exclusion):
            self.excluded += 1
            entry = self.build(node.body, follow)
            self.excluded -= 1
            return entry
        if isinstance(node, Anchor):
            self.anchors.add("^" if node.start else "$")
            return _Node([follow], anchor="^" if node.start else "$")
        if isinstance(node, Absence):
            entry = self.build(node.body, follow)
            self.waiting = entry.state
            self.successors[entry.state] = entry
            return entry
        assert isinstance(node, Quantified)
        return self._loop(node, follow)

    def _loop(self, node: Quantified, follow: _Node) -> _Node:
        flink = self.dialect is Dialect.FLINK
        if flink and not node.reluctant and node.maximum != node.minimum and (node.minimum, node.maximum) != (0, 1):
            if isinstance(node.body, Variable):
                follow = _Node([follow], guard=self.label(node.body.name))
        greedy = flink or not node.reluctant

        def choice(inside: _Node) -> list[_Node]:
            return [inside, follow] if greedy else [follow, inside]

        if node.maximum is None:
            optional = _Node()
            optional.next = choice(self._iteration(node.body, optional, follow))
        else:
            optional = follow
            for _ in range(node.maximum - node.minimum):
                optional = _Node(choice(self._iteration(node.body, optional, follow)))
        entry = optional
        for _ in range(node.minimum):
            entry = self.build(node.body, entry)
        return entry

    def _iteration(self, body: PatternNode, again: _Node, leave: _Node) -> _Node:
        self.iterations += 1
        number = self.iterations
        return _Node([self.build(body, _Node([again], ends=number, exit=leave))], begins=number)


def compile_pattern(
    pattern: PatternNode, text: str = "", dialect: Dialect = Dialect.STANDARD, *, all_ways: bool = False
) -> Program:
    """Make the program of a pattern.

    Args:
        pattern: the tree.
        text: the whole statement, for errors.
        dialect: whose preference.
        all_ways: keep the edges behind an acceptance: every way is wanted, not the preferred one.

    Raises:
        SqlValidationError: the pattern is too large.

    Example:
        >>> from anomaly_app.sql.row_pattern_parser import parse_pattern
        >>> program = compile_pattern(parse_pattern("A+ B"))
        >>> [(state.label, [edge.target for edge in state.edges]) for state in program.states]
        [(-1, [3]), (1, []), (0, [2, 1]), (0, [2, 1])]
    """
    builder = _Builder(text, dialect)
    for name in variables(pattern):
        builder.label(name)
    entry = builder.build(pattern, _Node(accept=True))
    builder.successors[0] = entry
    states = builder.states
    left = MAX_STEPS
    for number, state in enumerate(states):
        left -= _resolve(state, builder, builder.successors[number], at_first=False, all_ways=all_ways, most=left)
        if left <= 0:
            problem = "the pattern is too large: too many places can follow each other (A{0,9} is less than (A?){9})"
            raise SqlValidationError(problem, text, *pattern.span)
    first = State(-1)
    _resolve(first, builder, entry, at_first=True, all_ways=all_ways, most=MAX_STEPS)
    return Program(builder.labels, states, first, "^" in builder.anchors, "$" in builder.anchors, builder.waiting)


def variables(pattern: PatternNode) -> Iterator[str]:
    """Names of a pattern's variables in order of appearance, with repetitions."""
    if isinstance(pattern, Variable):
        yield pattern.name
    elif isinstance(pattern, (Concat, Alternation, Permute)):
        for part in pattern.parts:
            yield from variables(part)
    elif isinstance(pattern, (Quantified, Exclusion, Absence)):
        yield from variables(pattern.body)


def certain(pattern: PatternNode) -> frozenset[str]:
    """Names, in upper case, of the variables that have a row in every match.

    Example:
        >>> from anomaly_app.sql.row_pattern import Concat, Quantified, Span, Variable
        >>> at = Span(0, 1)
        >>> maybe = Quantified(at, Variable(at, "b"), 0, 1, False, "?")
        >>> sorted(certain(Concat(at, (Variable(at, "a"), maybe))))
        ['A']
    """
    if isinstance(pattern, Variable):
        return frozenset({pattern.name.upper()})
    if isinstance(pattern, (Concat, Permute)):
        return frozenset[str]().union(*map(certain, pattern.parts))
    if isinstance(pattern, Alternation):
        return frozenset.intersection(*map(certain, pattern.parts))
    if isinstance(pattern, Exclusion) or (isinstance(pattern, Quantified) and pattern.minimum > 0):
        return certain(pattern.body)
    return frozenset()


def _resolve(state: State, builder: _Builder, entry: _Node, *, at_first: bool, all_ways: bool, most: int) -> int:
    """Everything that can follow a state, in order of preference, up to the next row; gives the number of steps."""
    edges: list[Edge] = []
    seen_edges: set[Edge] = set()
    visited: set[tuple[int, frozenset[int], tuple[int, ...], bool]] = set()
    # Nodes still to visit, the preferred one on top, with the loops begun since the last row, guards, and "at the end".
    stack: list[tuple[_Node, frozenset[int], tuple[int, ...], bool]] = [(entry, frozenset(), (), False)]
    while stack and len(visited) < most:
        node, begun, guards, at_end = stack.pop()
        key = (id(node), begun, guards, at_end)
        if key in visited:
            continue
        visited.add(key)
        if node.accept:
            if not at_end:
                state.accepts = True
                if all_ways:
                    continue
                break
            if state.accepts_at_end < 0:
                state.accepts_at_end = len(edges)
            continue
        if node.state:
            if not at_end:
                edge = Edge(node.state, builder.states[node.state].label, guards)
                if edge not in seen_edges:
                    seen_edges.add(edge)
                    edges.append(edge)
            continue
        if node.anchor == "^" and not at_first:
            continue
        if node.anchor == "$":
            at_end = True
        if node.guard >= 0 and node.guard not in guards:
            guards = tuple(sorted((*guards, node.guard)))
        following = node.next
        if node.begins:
            begun = begun | {node.begins}
        elif node.ends in begun and node.exit is not None:  # the iteration took no row: it is the last one
            following, begun = [node.exit], begun - {node.ends}
        stack += [(after, begun, guards, at_end) for after in reversed(following)]
    state.edges = tuple(edges)
    return len(visited)
