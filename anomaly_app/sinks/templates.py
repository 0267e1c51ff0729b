"""Templates of the settings: Jinja in a sandbox, with bounds on what one can cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

from anomaly_app.errors import OptionError

MOST_CHARACTERS = 100_000
"""That a template may write."""
MOST_STEPS = 10_000
"""Numbers that all calls of ``range`` in one rendering may give together."""


class TemplateFailed(Exception):
    """A template cannot be rendered with these values."""


_WIDE = frozenset({"ljust", "rjust", "center", "zfill", "expandtabs", "format", "format_map"})
"""Methods that make a long text of nothing; the filters of such names are not there either."""


class _Sandbox(ImmutableSandboxedEnvironment):
    """Without operators that make large values of small ones."""

    intercepted_binops = frozenset({"**", "*", "%"})

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if not all(isinstance(value, int | float) for value in (left, right)) or operator == "**":
            raise jinja2.TemplateRuntimeError(f"{operator} is for numbers only" if operator != "**" else "no powers")
        return super().call_binop(context, operator, left, right)

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        return super().is_safe_attribute(obj, attr, value) and not (isinstance(obj, str) and attr in _WIDE)


def _environment(finalize: Callable[[Any], Any] | None = None) -> _Sandbox:
    environment = _Sandbox(undefined=jinja2.StrictUndefined, autoescape=False, finalize=finalize)
    for name in ("center", "indent", "format", "wordwrap", "xmlattr"):
        del environment.filters[name]
    for name in ("lipsum", "cycler", "joiner"):
        del environment.globals[name]
    return environment


_TEXTS = _environment()
_ADDRESSES = _environment(lambda value: quote(str(value), safe=""))


class Template:
    """A template of the settings.

    Args:
        text: of it.
        option: name of the setting.
        address: it is an address: each value that it inserts is quoted for a URL.

    Raises:
        OptionError: it is no template.

    Example:
        >>> Template("{{ job }}: {{ severity | upper }}", "title").render({"job": "j", "severity": "low"})
        'j: LOW'
        >>> Template("https://bank/users/{{ user }}/freeze", "http", address=True).render({"user": "../a"})
        'https://bank/users/..%2Fa/freeze'
    """

    def __init__(self, text: str, option: str, *, address: bool = False) -> None:
        environment = _ADDRESSES if address else _TEXTS
        try:
            self._template = environment.from_string(text)
        except jinja2.TemplateSyntaxError as error:
            raise OptionError(option, f"line {error.lineno} of the template: {error.message}") from error

    def render(self, values: Mapping[str, Any]) -> str:
        """The text.

        Raises:
            TemplateFailed: a name in it is unknown, a value is of another kind, or it writes too much.
        """
        length, parts = 0, []
        try:
            for part in self._template.generate(**values, range=_Range()):
                parts.append(part)
                length += len(part)
                if length > MOST_CHARACTERS:
                    raise TemplateFailed(f"it writes more than {MOST_CHARACTERS} characters")
        except TemplateFailed:
            raise
        # A template calls methods of values, which may raise anything.
        except Exception as error:
            raise TemplateFailed(f"{type(error).__name__}: {error}") from error
        return "".join(parts)


class _Range:
    """``range`` of which one rendering cannot take too much."""

    def __init__(self) -> None:
        self._left = MOST_STEPS

    def __call__(self, *arguments: int) -> range:
        numbers = range(*arguments)
        self._left -= len(numbers)
        if self._left < 0:
            raise TemplateFailed(f"its loops take more than {MOST_STEPS} steps")
        return numbers
