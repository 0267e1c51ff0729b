"""What a function is: its arguments, the rule of its result's type, and how it becomes source.

Most functions are a :class:`Function`, found by its name in ``FUNCTIONS`` of the module of its family. One that needs
more (a constant argument, words, a type rule that needs to see the call) goes from compiler and call to :class:`Code`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from anomaly_app.expressions import nodes as n
from anomaly_app.expressions.casts import cast
from anomaly_app.expressions.compiling import Compiler
from anomaly_app.expressions.typed import Code, null_safe
from anomaly_app.schema import DOUBLE, NUMBERS, TEXTS, TIMESTAMPS, WHOLE_NUMBERS, DataType, Kind

TypeRule: TypeAlias = "DataType | Callable[[Sequence[DataType]], DataType]"
Special: TypeAlias = "Callable[[Compiler, n.Call], Code]"


@dataclass(frozen=True, slots=True)
class Function:
    """A function that is NULL if an argument is.

    Args:
        helper: called with the values in memory form, none of them NULL.
        params: a letter of :data:`PARAMS` for each argument; those behind ``?`` may be left out, the one before ``*``
            may be repeated.
        result: type of the result, or the rule that finds it from the types of the arguments.
        nullable: the helper may give NULL for arguments that are not.
        source: from the sources of the arguments to that of the result, where a call of ``helper`` costs too much.

    Example:
        >>> Function(len, "T", DataType(Kind.INT), source=lambda text: f"len({text})").bounds()
        (1, 1)
    """

    helper: Callable[..., Any]
    params: str
    result: TypeRule
    nullable: bool = False
    source: Callable[..., str] | None = None

    @property
    def letters(self) -> str:
        """Letters of the arguments, one for each."""
        return self.params.replace("?", "").replace("*", "")

    def bounds(self) -> tuple[int, int | None]:
        """Fewest and most arguments; None if there is no most."""
        least = len(self.params.partition("?")[0].replace("*", ""))
        return least, None if "*" in self.params else len(self.letters)

    def letter(self, place: int) -> str:
        """The letter of an argument; the last one is repeated."""
        return self.letters[min(place, len(self.letters) - 1)]

    def type_of(self, types: Sequence[DataType]) -> DataType:
        """Type of the result for arguments of these types."""
        return self.result if isinstance(self.result, DataType) else self.result(types)


Entry: TypeAlias = "Function | tuple[Function, ...] | Special"
"""A tuple has one form of the function for each kind of arguments; the first one that fits is taken."""


@dataclass(frozen=True, slots=True)
class Param:
    """What an argument may be.

    Args:
        kinds: types that are allowed.
        words: what it must be, for errors.
        keep: kinds that are given to the helper as they are.
        become: the type that all others are converted to.
    """

    kinds: frozenset[Kind]
    words: str
    keep: frozenset[Kind] | None = None
    become: DataType | None = None


PARAMS = {
    "T": Param(TEXTS, "text"),
    "I": Param(WHOLE_NUMBERS, "a whole number"),
    "D": Param(NUMBERS, "a number", keep=frozenset({Kind.DOUBLE}), become=DOUBLE),
    "N": Param(NUMBERS, "a number"),
    "B": Param(frozenset({Kind.BOOLEAN}), "a BOOLEAN"),
    "Y": Param(frozenset({Kind.BYTES}), "BYTES"),
    "L": Param(frozenset({Kind.ARRAY}), "an ARRAY"),
    "M": Param(frozenset({Kind.MAP}), "a MAP"),
    "S": Param(TIMESTAMPS, "a TIMESTAMP"),
    "G": Param(frozenset({Kind.BIGINT}), "a BIGINT"),
    "H": Param(frozenset({Kind.TINYINT, Kind.SMALLINT, Kind.INT, Kind.DATE, Kind.TIME}), "a number, text or date"),
    "E": Param(frozenset({Kind.DOUBLE}), "a DOUBLE"),
    "F": Param(frozenset({Kind.FLOAT}), "a FLOAT"),
    "C": Param(frozenset({Kind.DECIMAL}), "a DECIMAL"),
    "A": Param(frozenset(Kind) - {Kind.NULL}, "a value"),
}


def compile_entry(entry: Entry, compiler: Compiler, node: n.Call) -> Code:
    """Source of a call; an error for a wrong number or type of arguments."""
    if isinstance(entry, Function):
        return _compile(entry, compiler, node, [compiler.value(arg) for arg in node.args])
    if not isinstance(entry, tuple):
        return entry(compiler, node)
    codes = [compiler.value(arg) for arg in node.args]
    fitting = [form for form in entry if _fits(form, codes)]
    if not fitting and not any(_counts(form, len(codes)) for form in entry):
        bounds = [form.bounds() for form in entry]
        most = [most for _, most in bounds if most is not None]
        check_count(compiler, node, min(least for least, _ in bounds), max(most) if len(most) == len(bounds) else None)
    return _compile((fitting or [form for form in entry if _counts(form, len(codes))])[0], compiler, node, codes)


def _counts(form: Function, count: int) -> bool:
    least, most = form.bounds()
    return least <= count and (most is None or count <= most)


def _fits(form: Function, codes: Sequence[Code]) -> bool:
    return _counts(form, len(codes)) and all(
        code.type.kind in PARAMS[form.letter(place)].kinds | {Kind.NULL} for place, code in enumerate(codes)
    )


def _compile(form: Function, compiler: Compiler, node: n.Call, codes: list[Code]) -> Code:
    least, most = form.bounds()
    check_count(compiler, node, least, most)
    args = []
    for place, (arg, code) in enumerate(zip(node.args, codes, strict=True)):
        param = PARAMS[form.letter(place)]
        if code.type.kind is Kind.NULL:
            raise compiler.fail(arg, untyped_null(node, place, param.words))
        if code.type.kind not in param.kinds:
            raise compiler.fail(arg, f"argument {place + 1} of {node.name} must be {param.words}, not {shown(code)}")
        if param.become is not None and code.type.kind not in (param.keep or ()):
            code = cast(compiler.env, code, param.become) or code
        args.append(code)
    type_ = form.type_of([code.type for code in args])
    if form.source is not None:
        return null_safe(compiler.env, args, form.source, type_, nullable=form.nullable)
    helper = compiler.env.use(form.helper)

    def call(*names: str) -> str:
        return f"{helper}({', '.join(names)})"

    return null_safe(compiler.env, args, call, type_, nullable=form.nullable)


def null_if_bare(function: Function) -> Special:
    """A function that takes a bare NULL behind its first argument, too."""

    def compile_it(compiler: Compiler, node: n.Call) -> Code:
        codes = [compiler.value(arg) for arg in node.args]
        least, most = function.bounds()
        check_count(compiler, node, least, most)
        if codes[0].type.kind is not Kind.NULL and any(code.type.kind is Kind.NULL for code in codes[1:]):
            return Code("None", function.type_of([code.type for code in codes]).with_nullable(True))
        return compile_entry(function, compiler, node)

    return compile_it


# --- for functions of their own -----------------------------------------------------------------------


def shown(code: Code) -> str:
    """A type as errors show it."""
    return str(code.type.with_nullable(True))


def untyped_null(node: n.Call, place: int, words: str) -> str:
    """What is wrong with a bare NULL: Flink refuses it, as it has no type."""
    return f"argument {place + 1} of {node.name} must be {words}: a bare NULL has no type, write CAST(NULL AS …)"


def check_count(compiler: Compiler, node: n.Call, least: int, most: int | None) -> None:
    """Whether a call has at least and at most (None: any number) so many arguments; an error if not."""
    if len(node.args) < least or (most is not None and len(node.args) > most):
        wanted = str(least) if most == least else f"at least {least}" if most is None else f"{least} to {most}"
        plural = "" if wanted == "1" else "s"
        raise compiler.fail(node, f"{node.name} takes {wanted} argument{plural}, not {len(node.args)}")


def arguments(compiler: Compiler, node: n.Call, least: int, most: int | None = -1) -> list[Code]:
    """The arguments of a call, if there are as many as there must be; ``most`` is ``least`` if not said."""
    check_count(compiler, node, least, least if most == -1 else most)
    return [compiler.value(arg) for arg in node.args]


def need(compiler: Compiler, node: n.Call, place: int, code: Code, letter: str) -> None:
    """Whether an argument (counted from 0) is what a letter of :data:`PARAMS` says; an error if not."""
    need_kinds(compiler, node, place, code, PARAMS[letter].kinds, PARAMS[letter].words)


def need_kinds(compiler: Compiler, node: n.Call, place: int, code: Code, kinds: frozenset[Kind], words: str) -> None:
    """Whether an argument (counted from 0) is of one of some kinds; an error if not."""
    if code.type.kind is Kind.NULL:
        raise compiler.fail(node.args[place], untyped_null(node, place, words))
    if code.type.kind not in kinds:
        problem = f"argument {place + 1} of {node.name} must be {words}, not {shown(code)}"
        raise compiler.fail(node.args[place], problem)
