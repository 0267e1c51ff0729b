"""A page of the terminal that changes in place."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from prompt_toolkit.application import Application
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.layout import FormattedTextControl, HSplit, Layout, Window

from anomaly_app.shell.colours import STYLE
from anomaly_app.shell.sheet import Sheet

KEYS = "q quit  ↑↓ PgUp PgDn rows  ←→ columns  g first  G last  Enter row"
KEYS_OPENED = "q Esc back to all rows"
AROUND = 3
"""Lines that are not for rows."""


class Page:
    """Shows a sheet while something fills it.

    Args:
        sheet: that is shown.
        title: in the first line.
        told: what is to be said of what fills it, such as rows that were late; "" for nothing.
    """

    def __init__(self, sheet: Sheet, title: str, told: Callable[[], str]) -> None:
        self.sheet, self._title, self._told = sheet, title, told
        self._complete = False
        self._app: Application[None] = Application(
            Layout(
                HSplit(
                    [
                        Window(FormattedTextControl(lambda: [("class:page.title", self._top())]), height=1),
                        Window(FormattedTextControl(self._body)),
                        Window(FormattedTextControl(lambda: [("class:page.status", self._bottom())]), height=1),
                    ]
                )
            ),
            key_bindings=self._bindings(),
            style=STYLE,
            full_screen=True,
            min_redraw_interval=0.05,
        )

    def refresh(self) -> None:
        """The sheet has changed."""
        self._app.invalidate()

    async def run(self, work: Coroutine[Any, Any, None]) -> bool:
        """Show it until the reader leaves; whether that was before the work had ended.

        Args:
            work: fills the sheet; what it raises ends the page, and is raised.
        """
        task = asyncio.ensure_future(work)
        task.add_done_callback(self._ended)
        try:
            await self._app.run_async(handle_sigint=False)
        finally:
            stopped = not task.done()
            task.cancel()
            await asyncio.wait([task])
        if not task.cancelled():
            task.result()
        return stopped

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._complete = True
        if not task.cancelled() and task.exception() is not None and self._app.is_running:
            self._app.exit()
        self._app.invalidate()

    # --- what is to be seen -------------------------------------------------------------------------

    def _size(self) -> tuple[int, int]:
        size = self._app.output.get_size()
        return max(1, size.rows - AROUND), size.columns

    def _top(self) -> str:
        here, rows = self.sheet.place
        state = "complete" if self._complete else "running"
        gone = f", {self.sheet.dropped:,} older ones dropped" if self.sheet.dropped else ""
        told = self._told()
        return f"{self._title}  row {here:,} of {rows:,}{gone}  {state}" + (f"  {told}" if told else "")

    def _bottom(self) -> str:
        keys = KEYS if self.sheet.opened is None else KEYS_OPENED
        return keys.ljust(self._size()[1])

    def _body(self) -> StyleAndTextTuples:
        height, width = self._size()
        if self.sheet.opened is not None:
            return self._opened(self.sheet.opened)
        lines: StyleAndTextTuples = [("class:page.head", self.sheet.head(width)), ("", "\n")]
        for line in self.sheet.lines(height, width):
            lines += [("class:page.here" if line.here else "", line.text), ("", "\n")]
        return lines

    def _opened(self, cells: list[tuple[str, str]]) -> StyleAndTextTuples:
        """A row alone, with whole texts."""
        width = self._size()[1]
        lines: StyleAndTextTuples = []
        for name, cell in cells:
            lines += [("class:page.head", name), ("", "\n")]
            for start in range(0, max(1, len(cell)), max(1, width - 2)):
                lines.append(("", f"  {cell[start : start + width - 2]}\n"))
        return lines

    # --- keys ---------------------------------------------------------------------------------------

    def _bindings(self) -> KeyBindings:
        bindings, sheet = KeyBindings(), self.sheet
        moves: dict[Callable[[], None], tuple[str, ...]] = {
            lambda: sheet.move(-1): ("up", "k"),
            lambda: sheet.move(1): ("down", "j"),
            lambda: sheet.turn(-1): ("pageup", "p"),
            lambda: sheet.turn(1): ("pagedown", "n", "space"),
            lambda: sheet.sideways(-1): ("left", "h"),
            lambda: sheet.sideways(1): ("right", "l"),
            sheet.first: ("g", "home"),
            sheet.last: ("G", "end"),
            sheet.open: ("enter", "o"),
            sheet.shut: ("escape",),
        }
        for move, keys in moves.items():
            for key in keys:
                bindings.add(key, eager=True)(_handler(move))

        @bindings.add("q")
        @bindings.add("Q")
        def _quit(event: KeyPressEvent) -> None:
            if sheet.opened is not None:
                sheet.shut()
            else:
                event.app.exit()

        @bindings.add("c-c")
        def _interrupt(event: KeyPressEvent) -> None:
            event.app.exit()

        return bindings


def _handler(move: Callable[[], None]) -> Callable[[KeyPressEvent], None]:
    return lambda event: move()
