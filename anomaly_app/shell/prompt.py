"""The prompt: what is typed, with completion, colours and history."""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterable
from pathlib import Path

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.filters import completion_is_selected
from prompt_toolkit.history import FileHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.output import ColorDepth

from anomaly_app.errors import AnomalyError
from anomaly_app.jobs.show import option
from anomaly_app.shell.colours import STYLE, SqlLexer
from anomaly_app.shell.completion import suggest
from anomaly_app.shell.files import private_file
from anomaly_app.shell.shell import Leave, Shell
from anomaly_app.shell.statements import is_whole, split

PROMPT = "anomaly> "
MORE = "       > "
"""In front of further lines of a statement."""

WELCOME = "Statements end with a semicolon; HELP lists them, Ctrl-D leaves."


def converse(shell: Shell) -> None:
    """Take statements from the terminal until QUIT or Ctrl-D.

    Args:
        shell: carries them out.
    """
    prompt: PromptSession[str] = PromptSession(
        [("class:prompt", PROMPT)],
        multiline=True,
        prompt_continuation=MORE,
        completer=_Names(shell),
        complete_while_typing=False,
        lexer=SqlLexer(),
        style=STYLE,
        color_depth=None if shell.terminal.colour else ColorDepth.DEPTH_1_BIT,
        history=_History(private_file("sql-history")),
        key_bindings=_keys(),
    )
    shell.terminal.note(WELCOME)
    while True:
        shell.tell_news()
        try:
            text = prompt.prompt()
        except KeyboardInterrupt:
            continue
        except EOFError:
            return
        if not _carry_out(shell, text):
            return


def _carry_out(shell: Shell, text: str) -> bool:
    """The statements of a text, up to the first that fails; False to leave."""
    try:
        for piece in split(text):
            shell.execute(piece)
    except Leave:
        return False
    except AnomalyError as error:
        shell.terminal.error(str(error))
    except KeyboardInterrupt:
        shell.terminal.note("interrupted")
    except Exception:  # a fault of this program ends the statement; who reports it needs to see where
        shell.terminal.error(f"an internal error, please report it:\n{traceback.format_exc()}")
    return True


def _keys() -> KeyBindings:
    keys = KeyBindings()

    @keys.add("enter", filter=~completion_is_selected)
    def _enter(event: KeyPressEvent) -> None:
        """A whole statement is carried out, another goes on in the next line."""
        buffer = event.current_buffer
        if is_whole(buffer.text) and not buffer.document.text_after_cursor.strip():
            buffer.validate_and_handle()
        else:
            buffer.insert_text("\n")

    @keys.add("enter", filter=completion_is_selected)
    def _take(event: KeyPressEvent) -> None:
        """The word that is chosen in the menu."""
        event.current_buffer.complete_state = None

    return keys


class _Names(Completer):
    def __init__(self, shell: Shell) -> None:
        self._shell = shell

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        for one in suggest(document.text_before_cursor, self._shell.session):
            yield Completion(one.text, -one.typed, display_meta=one.what)


class _History(FileHistory):
    """Statements of the past, without what is secret in them."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))

    def store_string(self, string: str) -> None:
        super().store_string(without_secrets(string))


_OPTION = re.compile(r"'((?:[^']|'')*)'(\s*=\s*)'((?:[^']|'')*)'")


def without_secrets(text: str) -> str:
    """A text whose options that look like passwords have no value.

    Example:
        >>> without_secrets("SET 'properties.sasl.jaas.config' = 'user it''s'; SET 'a' = 'b'")
        "SET 'properties.sasl.jaas.config' = '******'; SET 'a' = 'b'"
    """
    return _OPTION.sub(lambda found: f"'{found[1]}'{found[2]}'{option(found[1], found[3])}'", text)
