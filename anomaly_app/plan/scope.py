"""What names mean where an expression stands: columns of the relations in FROM, and the functions of the place."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from anomaly_app.errors import SqlValidationError
from anomaly_app.expressions import nodes as n
from anomaly_app.expressions.aggregates import AGGREGATES
from anomaly_app.expressions.compiler import ExpressionCompiler
from anomaly_app.expressions.functions import FUNCTIONS
from anomaly_app.expressions.tokens import Span
from anomaly_app.expressions.typed import Code, Dialect, Environment
from anomaly_app.patterns.navigation import CONTEXT
from anomaly_app.plan.detector_functions import USE, functions
from anomaly_app.schema import CHANGE, TIMESTAMPS, Column, DataType, Kind
from anomaly_app.words import nearest

ROWTIME = "$rowtime"
"""The time attribute of a relation, whatever its column is called."""

WATERMARK = "$watermark"
"""The column of a scan with the watermark in front of each row, in ms: what CURRENT_WATERMARK reads."""

HIDDEN = frozenset({WATERMARK, CHANGE})
"""Columns that pass through filters and projections though no name means them."""


WITH_OVER = ("ROW_NUMBER", "RANK", "DENSE_RANK", "LAG", "LEAD")
"""Functions that mean something with OVER only."""


@dataclass(frozen=True, slots=True)
class Name:
    """A name that an expression may use.

    Args:
        qualifiers: what may stand before it, in upper case.
        visible: the name.
        column: of the input, what it means.
        qualified_only: it means nothing without a qualifier, since USING has made one name of two.
    """

    qualifiers: frozenset[str]
    visible: str
    column: Column
    qualified_only: bool = False


@dataclass(frozen=True, slots=True)
class Expression:
    """An expression that has been checked.

    Args:
        node: the tree.
        scope: what its names mean.
        type: of its value.
        reads: columns of the input that it reads.
        bare: the column of the input that it is, as it is; None if it is something else.
    """

    node: n.Node
    scope: Scope
    type: DataType
    reads: frozenset[str]
    bare: str | None = None

    @property
    def words(self) -> str:
        """As written, in one line."""
        return " ".join(self.scope.text[slice(*self.node.span)].split())

    def compile(self, codes: Callable[[str], Code], env: Environment) -> Code:
        """Source of its value; ``codes`` gives that of a column of the input."""
        return self.scope.compiler(codes, env).value(self.node)

    def compile_condition(self, codes: Callable[[str], Code], env: Environment) -> str:
        """Source that is truthy exactly if it is TRUE."""
        return self.scope.compiler(codes, env).condition(self.node)


@dataclass(frozen=True, slots=True)
class Exact(n.ColumnRef):
    """A reference to a column that is known already: of a star, or of a column that the analysis has made."""

    column: Column

    @classmethod
    def to(cls, span: Span, column: Column) -> Exact:
        """A reference to a column."""
        return cls(span, (column.name,), column)


class Scope:
    """Names of one place.

    Args:
        text: the whole text, for errors.
        names: those that there are.
        dialect: whose semantics.
        rowtime: what ``$rowtime`` means; None if there is no event time.
        watermarked: names of the columns of the input that CURRENT_WATERMARK may be asked of.
    """

    def __init__(
        self,
        text: str,
        names: Sequence[Name],
        dialect: Dialect,
        *,
        rowtime: Column | None = None,
        watermarked: frozenset[str] = frozenset(),
    ) -> None:
        self.watermarked = watermarked
        self.text, self.names, self.dialect, self.rowtime = text, tuple(names), dialect, rowtime
        self._folded: dict[str, list[Name]] = {}
        for name in self.names:
            self._folded.setdefault(name.visible.lower(), []).append(name)
        self._qualifiers = frozenset(q for name in self.names for q in name.qualifiers)

    def fail(self, node: n.Node, problem: str) -> SqlValidationError:
        """An error at a node."""
        return SqlValidationError(problem, self.text, *node.span)

    # --- names ------------------------------------------------------------------------------------

    def resolve(self, node: n.ColumnRef) -> tuple[Column, tuple[str, ...]]:
        """The column that a reference begins with, and the fields behind it; raises ``SqlValidationError``."""
        if isinstance(node, Exact):
            return node.column, ()
        parts = node.parts
        for length in range(len(parts) - 1, 0, -1):
            qualifier = ".".join(parts[:length]).upper()
            if qualifier in self._qualifiers:
                found = self._find(parts[length], qualifier)
                if found is not None:
                    return self._one(found, node, parts[length]), parts[length + 1 :]
                if length == len(parts) - 1 and not self._find(parts[0], None):
                    known = [name.visible for name in self.names if qualifier in name.qualifiers]
                    raise self.fail(node, f"{parts[0]} has no column {parts[length]!r}{nearest(parts[length], known)}")
        found = self._find(parts[0], None)
        if found is not None:
            return self._one(found, node, parts[0]), parts[1:]
        if parts[0].lower() == ROWTIME:
            if self.rowtime is not None:
                return self.rowtime, parts[1:]
            problem = (
                f"there is no event time here: {ROWTIME} needs a table with a WATERMARK FOR a column (rowtime= of "
            )
            problem += f"Rows), and a subquery has to give it, as in SELECT {ROWTIME} AS ts"
            raise self.fail(node, problem)
        hint = nearest(parts[0], dict.fromkeys(one.visible for one in self.names if not one.visible.startswith("$")))
        if not self.names:
            hint = ": there is no FROM"
        raise self.fail(node, f"unknown column {parts[0]!r}{hint}")

    def _find(self, name: str, qualifier: str | None) -> list[Name] | None:
        found = [
            one
            for one in self._folded.get(name.lower(), ())
            if (not one.qualified_only if qualifier is None else qualifier in one.qualifiers)
        ]
        exact = [one for one in found if one.visible == name]
        folds = self.dialect is not Dialect.FLINK  # whose names of columns are told apart by case, too
        return exact or (found if folds else None) or None

    def _one(self, found: list[Name], node: n.ColumnRef, name: str) -> Column:
        if len(found) > 1:
            tables = sorted(min(one.qualifiers, key=len).lower() for one in found if one.qualifiers)
            which = f": say of which table, as in {tables[0]}.{name}" if tables else ""
            if len(set(tables)) < len(tables):
                same = next(table for table in tables if tables.count(table) > 1)
                which = f": two tables here are called {same}, and AS gives one of them another name"
            raise self.fail(node, f"column {name!r} is ambiguous{which}")
        return found[0].column

    def star(self, node: n.Star) -> Sequence[Name]:
        """The names behind ``*`` or ``t.*``."""
        if node.qualifier is None:
            return [name for name in self.names if not name.qualified_only]
        found = [name for name in self.names if node.qualifier.upper() in name.qualifiers]
        if not found:
            raise self.fail(node, f"{node.qualifier} is not a table of this query")
        return found

    def fields(self, node: n.Star) -> Sequence[n.ColumnRef]:
        """The fields behind ``c.*``, where ``c`` is no table but a column that is a ROW; () for anything else."""
        name = node.qualifier
        if name is None or any(name.upper() in one.qualifiers for one in self.names):
            return ()
        found = self._find(name, None) or ()
        if len(found) != 1 or found[0].column.type.kind is not Kind.ROW:
            return ()
        return [n.ColumnRef(node.span, (name, field)) for field, _ in found[0].column.type.fields]

    # --- expressions ------------------------------------------------------------------------------

    def typed(self, name: str) -> Code:
        """A stand-in for a column that has its type: for checks."""
        return next(Code("value", one.column.type) for one in self.names if one.column.name == name)

    def expression(self, node: n.Node, what: str = "") -> Expression:
        """Check an expression; with ``what`` it must be a condition, and that is what it is called in errors."""
        bound = _Bound(self, _typed)
        compiler = ExpressionCompiler(self.text, bound, Environment(), self.dialect)
        code = compiler.boolean(node, what) if what else compiler.value(node)
        bare = None
        if isinstance(node, n.ColumnRef):
            column, fields = self.resolve(node)
            bare = column.name if not fields else None
        return Expression(node, self, code.type, frozenset(bound.reads), bare)

    def compiler(self, codes: Callable[[str], Code], env: Environment) -> ExpressionCompiler:
        """A compiler of expressions in this scope; ``codes`` gives the source of a column of the input."""
        return ExpressionCompiler(self.text, _Bound(self, lambda column: codes(column.name)), env, self.dialect)


def _typed(column: Column) -> Code:
    return Code("value", column.type)


class _Bound:
    """A scope together with the sources of its columns: what :class:`ExpressionCompiler` asks."""

    def __init__(self, scope: Scope, codes: Callable[[Column], Code]) -> None:
        self._scope, self._codes = scope, codes
        self.reads: set[str] = set()

    def column(self, node: n.ColumnRef) -> Code:
        """A column; behind its name may stand fields of a ROW."""
        column, fields = self._scope.resolve(node)
        self.reads.add(column.name)
        code = self._codes(column)
        for name in fields:
            code = self._field(code, column, name, node)
        return code

    def _field(self, code: Code, column: Column, name: str, node: n.ColumnRef) -> Code:
        place = next((k for k, (field, _) in enumerate(code.type.fields) if field.lower() == name.lower()), None)
        if place is None:
            hint = nearest(name, [known for known, _ in code.type.fields])
            shown = code.type.with_nullable(True)
            raise self._scope.fail(node, f"{column.name} is {shown}: it has no field {name!r}{hint}")
        type_ = code.type.fields[place][1]
        source = f"{code.source}[{place}]"
        if code.type.nullable:
            source = f"(None if {code.source} is None else {source})"
        return Code(source, type_.with_nullable(type_.nullable or code.type.nullable))

    def _watermark(self, node: n.Call) -> Code:
        """CURRENT_WATERMARK: what the rows in front of this one have raised, NULL in front of the first."""
        (argument,) = node.args if len(node.args) == 1 else (None,)
        if not isinstance(argument, n.ColumnRef):
            raise self._scope.fail(node, "CURRENT_WATERMARK takes the time attribute, as in CURRENT_WATERMARK(ts)")
        column, fields = self._scope.resolve(argument)
        if fields or column.name not in self._scope.watermarked:
            problem = f"{argument.parts[-1]} is not the event time of a table"
            raise self._scope.fail(argument, f"{problem}: CURRENT_WATERMARK stands over a table, perhaps filtered")
        self.reads.add(WATERMARK)
        kind = column.type.kind
        type_ = DataType(kind, 3) if kind in TIMESTAMPS else DataType(kind)
        return Code(self._codes(Column(WATERMARK, type_)).source, type_)

    def call(self, node: n.Call, compiler: ExpressionCompiler) -> Code | None:
        """Functions of the row only: what is about several rows has been taken out before, or may not stand here."""
        if node.name == "CURRENT_WATERMARK":
            return self._watermark(node)
        if node.name in CONTEXT:
            raise compiler.fail(node, f"{node.name} may stand inside MATCH_RECOGNIZE only")
        if node.over is not None:
            problem = f"{node.name} … OVER may stand in the SELECT list only: name it there, and use the name around"
            raise compiler.fail(node, problem)
        if node.name in AGGREGATES:
            raise compiler.fail(node, f"{node.name} is about many rows, and cannot stand here")
        if node.name in WITH_OVER:
            raise compiler.fail(node, f"{node.name} is about rows in their order: it needs OVER (… ORDER BY …)")
        if node.name not in FUNCTIONS and node.name in functions():
            raise compiler.fail(node, f"{node.name} is a detector: it needs {USE}")
        return None


def names_of(columns: Iterable[Column], qualifier: str | None = None) -> tuple[Name, ...]:
    """Names of columns that are called what they are, perhaps with a qualifier."""
    qualifiers = frozenset({qualifier.upper()} if qualifier else ())
    return tuple(Name(qualifiers, column.name, column) for column in columns)


def free_name(name: str, taken: Iterable[str]) -> str:
    """The name, or with the smallest number behind it that makes it unique, as Flink does: ``id``, ``id0``, ``id1``.

    Example:
        >>> free_name("id", ["id", "id0"])
        'id1'
    """
    known, free, number = set(taken), name, 0
    while free in known:
        free = f"{name}{number}"
        number += 1
    return free
