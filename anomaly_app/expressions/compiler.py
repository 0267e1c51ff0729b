"""Expressions to typed Python source: one pass that checks types and writes code.

A boolean expression has three forms. ``value`` is True, False or None. ``truth`` is truthy exactly if the expression
is TRUE, and ``falsity`` exactly if it is FALSE: conditions use these two, so that three-valued logic costs nothing
where nobody looks at UNKNOWN (NOT x is true exactly where x is FALSE).
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Protocol

from anomaly_app.errors import SqlValidationError
from anomaly_app.expressions import arithmetic, nodes as n
from anomaly_app.expressions.aggregates import AGGREGATES
from anomaly_app.expressions.casts import cast, coerce
from anomaly_app.expressions.comparisons import comparable, compare_unbounded
from anomaly_app.expressions.functions import FUNCTIONS, compile_function
from anomaly_app.expressions.json_text import is_json
from anomaly_app.expressions.text_values import like_matcher
from anomaly_app.expressions.tokens import Span
from anomaly_app.expressions.typed import Code, Dialect, Environment, common_type, folded, guarded, null_safe
from anomaly_app.schema import APPROXIMATE, BOOLEAN, NUMBERS, TEXTS, WHOLE_NUMBERS, DataType, Kind

_COMPARISONS = {"=": "==", "<>": "!=", "<": "<", "<=": "<=", ">": ">", ">=": ">="}
_ORDER = frozenset({"<", "<=", ">", ">="})
_OPPOSITE = {"=": "<>", "<>": "=", "<": ">=", "<=": ">", ">": "<=", ">=": "<"}


class Scope(Protocol):
    """What names and context functions mean where an expression stands."""

    def column(self, node: n.ColumnRef) -> Code:
        """A column reference."""
        ...

    def call(self, node: n.Call, compiler: ExpressionCompiler) -> Code | None:
        """A function that only the context knows (navigation, aggregates); None leaves it to the scalar functions."""
        ...


class ExpressionCompiler:
    """Compiles expressions of one scope.

    Args:
        text: the whole statement, for errors.
        scope: what names mean.
        env: names of the generated source.
        dialect: where engines differ.
    """

    def __init__(self, text: str, scope: Scope, env: Environment, dialect: Dialect = Dialect.FLINK) -> None:
        self.text, self.scope, self.env, self.dialect = text, scope, env, dialect

    def fail(self, node: n.Node, problem: str) -> SqlValidationError:
        """An error at a node."""
        return SqlValidationError(problem, self.text, *node.span)

    def condition(self, node: n.Node, what: str = "a condition") -> str:
        """Source that is truthy exactly if a boolean expression is TRUE."""
        self._check_boolean(node, what)
        return self.truth(node)

    def _check_boolean(self, node: n.Node, what: str) -> None:
        """Raise for what is no boolean expression.

        What is one by its form is not compiled for that: conditions within conditions would be so again and again.
        """
        if isinstance(node, (n.Is, n.Between, n.InList, n.Like)):
            return
        if isinstance(node, n.Unary) and node.op == "NOT":
            return
        if isinstance(node, n.Binary) and (
            node.op in ("AND", "OR") or node.op in _COMPARISONS or node.op.startswith("IS ")
        ):
            return
        self.boolean(node, what)

    def boolean(self, node: n.Node, what: str = "a condition") -> Code:
        """A boolean expression; an error for another type."""
        code = self.value(node)
        if code.type.kind not in (Kind.BOOLEAN, Kind.NULL):
            raise self.fail(node, f"{what} must be BOOLEAN, not {code.type.with_nullable(True)}")
        return code

    # --- values -----------------------------------------------------------------------------------

    def value(self, node: n.Node) -> Code:
        """Source of an expression's value."""
        if isinstance(node, n.Literal):
            return Code(self.env.constant(node.value), node.type, node.value)
        if isinstance(node, n.ColumnRef):
            return self.scope.column(node)
        if isinstance(node, n.Unary):
            return self._logic(node) if node.op == "NOT" else self._minus(node)
        if isinstance(node, n.Binary):
            return self._binary(node)
        if isinstance(node, (n.Is, n.Between, n.InList, n.Like)):
            return self._logic(node)
        if isinstance(node, n.Case):
            return self._case(node)
        if isinstance(node, n.Cast):
            return self._cast(node)
        if isinstance(node, n.Call):
            return self._call(node)
        if isinstance(node, n.Index):
            return self._index(node)
        if isinstance(node, n.Field):
            return self._field(node)
        if isinstance(node, n.Star):
            raise self.fail(node, "* may stand in COUNT(*) only")
        if isinstance(node, (n.InQuery, n.Exists, n.ScalarQuery)):
            where = "in WHERE, in HAVING, and in the SELECT list around aggregates"
            raise self.fail(node, f"a query cannot stand inside this expression: it may stand {where}")
        raise self.fail(node, "this expression is not supported")

    def _minus(self, node: n.Unary) -> Code:
        code = self.value(node.operand)
        if code.type.kind not in NUMBERS | {Kind.INTERVAL_DAY, Kind.INTERVAL_YEAR}:
            raise self.fail(node, f"- needs a number, not {code.type.with_nullable(True)}")
        result = arithmetic.negative(self.env, code)
        return result if code.constant is None else folded(self.env, result)

    def _binary(self, node: n.Binary) -> Code:
        if node.op in ("AND", "OR") or node.op in _COMPARISONS or node.op.startswith("IS "):
            return self._logic(node)
        left, right = self.value(node.left), self.value(node.right)
        if node.op == "||":
            for side, code in ((node.left, left), (node.right, right)):
                if code.type.kind not in TEXTS | {Kind.NULL}:
                    raise self.fail(side, f"|| needs text, not {code.type.with_nullable(True)}: CAST it to STRING")
            return null_safe(self.env, [left, right], lambda a, b: f"({a} + {b})", DataType(Kind.STRING))
        result = arithmetic.compile_arithmetic(self.env, self.dialect, node.op, left, right)
        if result is None:
            types = f"{left.type.with_nullable(True)} {node.op} {right.type.with_nullable(True)}"
            hint = ": CAST the text to a number" if Kind.STRING in (left.type.kind, right.type.kind) else ""
            raise self.fail(node, f"{types} is not defined{hint}")
        constant = left.constant is not None and right.constant is not None
        return folded(self.env, result) if constant else result

    def _logic(self, node: n.Node) -> Code:
        nullable = self._may_be_unknown(node)
        truth = self.truth(node)
        if not nullable:
            return Code(truth if self._gives_bool(node) else f"bool({truth})", BOOLEAN.with_nullable(False))
        return Code(f"(True if {truth} else False if {self.falsity(node)} else None)", BOOLEAN)

    def _gives_bool(self, node: n.Node) -> bool:
        """Whether the source of :meth:`truth` gives True or False, rather than something truthy or None."""
        if isinstance(node, n.Is):
            return node.what == "NULL" or node.negated or self._gives_bool(node.operand)
        if isinstance(node, n.Unary) and node.op == "NOT":
            return True
        if isinstance(node, n.Binary) and node.op in ("AND", "OR"):
            return all(map(self._gives_bool, n.in_a_row(node)))
        if isinstance(node, (n.Binary, n.Between, n.InList, n.Like)):
            return True
        return not self.value(node).type.nullable

    def _may_be_unknown(self, node: n.Node) -> bool:
        if isinstance(node, n.Is) or (isinstance(node, n.Binary) and node.op.startswith("IS ")):
            return False
        if isinstance(node, n.Unary):
            return self._may_be_unknown(node.operand)
        if isinstance(node, n.Binary):
            if node.op in ("AND", "OR"):
                return any(map(self._may_be_unknown, n.in_a_row(node)))
            return self.value(node.left).type.nullable or self.value(node.right).type.nullable
        if isinstance(node, n.Between):
            return any(self.value(part).type.nullable for part in (node.operand, node.low, node.high))
        if isinstance(node, n.InList):
            return any(self.value(part).type.nullable for part in (node.operand, *node.items))
        if isinstance(node, n.Like):
            return any(self.value(part).type.nullable for part in (node.operand, node.pattern))
        return self.value(node).type.nullable

    def _case(self, node: n.Case) -> Code:
        conditions, results = [], []
        for when, then in node.branches:
            if node.operand is None:
                conditions.append(self.condition(when, "WHEN"))
            else:
                conditions.append(self.truth(n.Binary(when.span, "=", node.operand, when)))
            results.append(then)
        otherwise = node.otherwise or n.Literal(node.span, None, DataType(Kind.NULL))
        codes = self.unify([*results, otherwise], "the results of CASE")
        source = codes[-1].source
        for condition, code in zip(reversed(conditions), reversed(codes[:-1]), strict=True):
            source = f"{code.source} if {condition} else {source}"
        return Code(f"({source})", codes[0].type.with_nullable(any(code.type.nullable for code in codes)))

    def unify(self, parts: Sequence[n.Node], what: str) -> list[Code]:
        """The values of expressions, brought to their common type."""
        codes = [self.value(part) for part in parts]
        target = common_type(code.type for code in codes)
        if target is None:
            types = ", ".join(str(code.type.with_nullable(True)) for code in codes)
            raise self.fail(parts[0], f"{what} have no common type: {types}")
        if target.kind is Kind.CHAR:  # texts of one length need no padding
            return codes
        result = []
        for part, code in zip(parts, codes, strict=True):
            converted = coerce(self.env, code, target) if target.kind is not Kind.NULL else code
            if converted is None:
                raise self.fail(part, f"{code.type} cannot become {target}")
            result.append(converted)
        return result

    def _cast(self, node: n.Cast) -> Code:
        code = self.value(node.operand)
        result = cast(self.env, code, node.type.with_nullable(True), safe=node.safe)
        if result is None:
            raise self.fail(node, f"{code.type.with_nullable(True)} cannot be cast to {node.type}")
        return Code(result.source, node.type.with_nullable(result.type.nullable), result.constant)

    def _call(self, node: n.Call) -> Code:
        known = self.scope.call(node, self)
        if known is not None:
            return known
        if node.entry is None and node.name not in FUNCTIONS:
            raise self.fail(node, unknown_function(node.name))
        if node.over is not None:
            raise self.fail(node, "OVER is not supported here")
        if node.filter is not None or node.distinct:
            raise self.fail(node, f"{node.name} is no aggregate: neither DISTINCT nor FILTER is possible")
        return node.entry(self, node) if node.entry is not None else compile_function(self, node)

    def _index(self, node: n.Index) -> Code:
        operand, index = self.value(node.operand), self.value(node.index)
        kind = operand.type.kind
        if index.type.kind is Kind.NULL:
            raise self.fail(node.index, "a bare NULL has no type, write CAST(NULL AS …)")
        if kind is Kind.ARRAY and operand.type.element is not None:
            if index.type.kind not in WHOLE_NUMBERS:
                raise self.fail(node.index, f"an ARRAY is indexed by a whole number, not {index.type.kind.value}")
            if isinstance(index.constant, int) and index.constant < 1:
                raise self.fail(node.index, "the elements of an ARRAY are counted from 1")
            helper, type_ = self.env.use(arithmetic.element_at), operand.type.element
        elif kind is Kind.MAP and operand.type.element is not None and operand.type.key is not None:
            key = common_type([operand.type.key, index.type])
            converted = coerce(self.env, index, operand.type.key) if key is not None else None
            if converted is None or (key and key.kind is not operand.type.key.kind and key.kind not in TEXTS):
                types = f"{operand.type.key.kind.value}, not {index.type.kind.value}"
                raise self.fail(node.index, f"the keys of this MAP are {types}")
            index = index if operand.type.key.kind in TEXTS else converted
            helper, type_ = self.env.use(arithmetic.value_at), operand.type.element
        elif kind is Kind.ROW and isinstance(index.constant, str):
            return self._field(n.Field(node.span, node.operand, index.constant))
        elif kind is Kind.ROW and isinstance(index.constant, int) and 1 <= index.constant <= len(operand.type.fields):
            place = index.constant - 1
            type_ = operand.type.fields[place][1]
            return null_safe(self.env, [operand], lambda a: f"{a}[{place}]", type_, nullable=type_.nullable)
        elif kind is Kind.ROW:
            most = len(operand.type.fields)
            problem = f"a ROW is indexed by a constant from 1 to {most}, the number of a field"
            raise self.fail(node.index, f"{problem}: {operand.type.with_nullable(True)}")
        else:
            raise self.fail(node, f"{operand.type.with_nullable(True)} has no element [{index.type.kind.value}]")
        return null_safe(self.env, [operand, index], lambda a, b: f"{helper}({a}, {b})", type_, nullable=True)

    def _field(self, node: n.Field) -> Code:
        operand = self.value(node.operand)
        names = [name.lower() for name, _ in operand.type.fields]
        if node.name.lower() in names:
            place = names.index(node.name.lower())
            type_ = operand.type.fields[place][1]
            return null_safe(self.env, [operand], lambda a: f"{a}[{place}]", type_, nullable=type_.nullable)
        fields = f": {', '.join(names)}" if names else ""
        raise self.fail(node, f"{operand.type.with_nullable(True)} has no field {node.name!r}{fields}")

    # --- conditions -------------------------------------------------------------------------------

    def truth(self, node: n.Node) -> str:
        """Source that is truthy exactly if the boolean expression is TRUE."""
        return self._holds(node, True)

    def falsity(self, node: n.Node) -> str:
        """Source that is truthy exactly if the boolean expression is FALSE."""
        return self._holds(node, False)

    def _holds(self, node: n.Node, wanted: bool) -> str:
        if isinstance(node, n.Unary) and node.op == "NOT":
            self._check_boolean(node.operand, "the operand of NOT")
            return self._holds(node.operand, not wanted)
        if isinstance(node, n.Binary):
            if node.op in ("AND", "OR"):
                parts = n.in_a_row(node)
                for part in parts:
                    self._check_boolean(part, f"the operand of {node.op}")
                word = " and " if (node.op == "AND") is wanted else " or "
                return f"({word.join(self._holds(part, wanted) for part in parts)})"
            if node.op in _COMPARISONS:
                return self._comparison(node, wanted)
            if node.op.startswith("IS "):
                return self._distinct(node, (node.op == "IS DISTINCT FROM") is wanted)
        if isinstance(node, n.Is):
            return self._is(node, wanted)
        if isinstance(node, n.Between):
            inside = _between(node.span, node.operand, node.low, node.high)
            if node.symmetric:
                inside = n.Binary(node.span, "OR", inside, _between(node.span, node.operand, node.high, node.low))
            return self._holds(inside, wanted is not node.negated)
        if isinstance(node, n.InList):
            return self._in_list(node, wanted is not node.negated)
        if isinstance(node, n.Like):
            return self._like(node, wanted is not node.negated)
        code = self.boolean(node)
        if wanted:
            return code.source
        return f"(not {code.source})" if not code.type.nullable else f"({code.source} is False)"

    def _comparison(self, node: n.Binary, wanted: bool) -> str:
        left, right = self.comparable(node, self.value(node.left), self.value(node.right))
        approximate = {left.type.kind, right.type.kind} & APPROXIMATE
        if node.op in _ORDER and (bounded := compare_unbounded(self.env, node.op, wanted, left, right)):
            return bounded
        tests, (a, b) = guarded(self.env, [left, right], "is not None")
        if approximate and n.shape(node.left) == n.shape(node.right):
            # Flink does not look at the values: a NaN equals itself here.
            equal = node.op in ("=", "<=", ">=")
            test = "True" if equal is wanted else "False"
        elif wanted or not approximate:
            test = f"{a} {_COMPARISONS[node.op if wanted else _OPPOSITE[node.op]]} {b}"
        else:
            # With a NaN all of <, <=, > and >= are false.
            test = f"not {a} {_COMPARISONS[node.op]} {b}"
        return f"({' and '.join([*tests, test])})"

    def comparable(self, node: n.Node, left: Code, right: Code) -> tuple[Code, Code]:
        """Both sides of a comparison in types that Python compares as SQL does; an error if they cannot be compared."""
        both = comparable(self.env, self.dialect, left, right)
        ordered = not isinstance(node, n.Binary) or node.op in _ORDER
        nested = left.type.kind in (Kind.ARRAY, Kind.MAP, Kind.ROW)
        if both is not None and not (nested and ordered):
            return both
        types = f"{left.type.with_nullable(True)} cannot be compared with {right.type.with_nullable(True)}"
        raise self.fail(node, f"{types}{' by order, only with = and <>' if nested and both else ''}")

    def _distinct(self, node: n.Binary, wanted: bool) -> str:
        left, right = self.comparable(node, self.value(node.left), self.value(node.right))
        return f"({left.source} {'!=' if wanted else '=='} {right.source})"

    def _is(self, node: n.Is, wanted: bool) -> str:
        positive = wanted is not node.negated
        if node.what == "NULL":
            source = self.value(node.operand).source
            return f"({source} {'is' if positive else 'is not'} None)"
        if node.what.startswith("JSON "):
            return self._is_json(node, positive)
        self.boolean(node.operand, f"the operand of IS {node.what}")
        holds = self._holds(node.operand, node.what == "TRUE")
        return f"({holds})" if positive else f"(not {holds})"

    def _is_json(self, node: n.Is, positive: bool) -> str:
        code = self.value(node.operand)
        if code.type.kind not in TEXTS:
            raise self.fail(node.operand, f"IS JSON needs text, not {code.type.with_nullable(True)}")
        test = f"{self.env.use(is_json)}({code.source}, {node.what.removeprefix('JSON ')!r})"
        return test if positive else f"(not {test})"

    def _in_list(self, node: n.InList, wanted: bool) -> str:
        operand = self.value(node.operand)
        equals = [n.Binary(item.span, "=", node.operand, item) for item in node.items]
        members = [self.value(item) for item in node.items]
        if all(member.constant is not None for member in members):
            pairs = [self.comparable(equal, operand, member) for equal, member in zip(equals, members, strict=True)]
            if len({first.type for first, _ in pairs}) == 1 and all(member.constant is not None for _, member in pairs):
                found = self.env.constant(frozenset(member.constant for _, member in pairs))
                tests, (name,) = guarded(self.env, [pairs[0][0]], "is not None")
                word = "in" if wanted else "not in"
                return f"({' and '.join([*tests, f'{name} {word} {found}'])})"
        tests = [self._holds(equal, wanted) for equal in equals]
        return f"({(' or ' if wanted else ' and ').join(tests)})"

    def _like(self, node: n.Like, wanted: bool) -> str:
        parts = [node.operand, node.pattern, *([node.escape] if node.escape else [])]
        codes = [self.value(part) for part in parts]
        for part, code in zip(parts, codes, strict=True):
            if code.type.kind not in TEXTS | {Kind.NULL}:
                raise self.fail(part, f"LIKE needs text, not {code.type.with_nullable(True)}")
        literal = all(isinstance(part, n.Literal) for part in parts[1:])
        escape = str(codes[2].constant) if len(codes) > 2 and literal else ""
        if literal and codes[1].constant is not None:
            try:
                matcher = self.env.constant(like_matcher(codes[1].constant, escape, node.similar))
            except ValueError as error:
                raise self.fail(node.pattern, str(error)) from None
            tests, (name,) = guarded(self.env, codes[:1], "is not None")
            call = f"{matcher}({name})"
        else:
            tests, names = guarded(self.env, codes, "is not None")
            helper = self.env.use(like_matcher)
            call = f"{helper}({names[1]}, {names[2] if len(names) > 2 else repr('')}, {node.similar})({names[0]})"
        return f"({' and '.join([*tests, call if wanted else f'not {call}'])})"


def _between(span: Span, operand: n.Node, low: n.Node, high: n.Node) -> n.Binary:
    return n.Binary(span, "AND", n.Binary(span, ">=", operand, low), n.Binary(span, "<=", operand, high))


PATTERN_FUNCTIONS = (
    "FIRST", "LAST", "PREV", "NEXT", "CLASSIFIER", "MATCH_NUMBER", "MATCH_ROWTIME", "MATCH_PROCTIME", "MATCH_TIMED_OUT",
)  # fmt: skip
"""Functions that stand in MATCH_RECOGNIZE."""


def unknown_function(name: str) -> str:
    """A message for a function that does not exist, naming the nearest one that does."""
    near = difflib.get_close_matches(name, [*FUNCTIONS, *AGGREGATES, *PATTERN_FUNCTIONS], 1)
    hint = f"; did you mean {near[0]}?" if near else ""
    return f"unknown function {name}{hint}"
