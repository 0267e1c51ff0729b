"""A live query and Ctrl-C, which ends the statement and not the shell."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine, Sequence
from typing import Any

from anomaly_app.changes import Change
from anomaly_app.operators import Finding
from anomaly_app.runtime.live import LiveQuery
from anomaly_app.shell.page import Page
from anomaly_app.shell.remarks import Remarks
from anomaly_app.shell.sheet import Sheet
from anomaly_app.shell.terminal import Terminal
from anomaly_app.shell.views import View, received


def run_live(query: LiveQuery, view: View, terminal: Terminal) -> None:
    """Show what comes of a query until it ends or Ctrl-C.

    Args:
        query: fresh.
        view: takes its rows.
        terminal: that the view prints to.

    Raises:
        AnomalyError: Kafka or the schema registry cannot be used as they should.
        KeyboardInterrupt: Ctrl-C, where nobody sits at a prompt.
    """

    def show(findings: Sequence[Finding]) -> None:
        view.take([(Change(finding.change), finding.values) for finding in findings])
        terminal.flush()

    stopped = interruptible(query.run(show))
    if stopped and terminal.interactive:
        terminal.write("")  # behind the ^C
    view.end(stopped=stopped)
    _warn(query, terminal)
    if stopped and not terminal.interactive:
        raise KeyboardInterrupt


def run_on_page(query: LiveQuery, sheet: Sheet, title: str, terminal: Terminal, remarks: Remarks) -> None:
    """Show what comes of a query on a page, until its reader leaves.

    Args:
        query: fresh.
        sheet: takes its rows.
        title: of the page.
        terminal: where it is told afterwards how many there were.
        remarks: what is logged meanwhile stands on the page.

    Raises:
        AnomalyError: Kafka or the schema registry cannot be used as they should.
    """
    logged = ""

    def told() -> str:
        return "  ".join(filter(None, [query.counts.words, logged]))

    def say(line: str) -> None:
        nonlocal logged
        logged = line
        page.refresh()

    page = Page(sheet, title, told)

    def show(findings: Sequence[Finding]) -> None:
        sheet.take([(Change(finding.change), finding.values) for finding in findings])
        page.refresh()

    terminal.flush()
    with remarks.to(say):
        stopped = asyncio.run(page.run(query.run(show)))
    terminal.note(received(sheet.count, stopped=stopped))
    _warn(query, terminal)


def _warn(query: LiveQuery, terminal: Terminal) -> None:
    told = query.counts.words
    if told:
        terminal.warn(told)
    terminal.flush()


def interruptible(work: Coroutine[Any, Any, None]) -> bool:
    """Run until it ends or Ctrl-C; whether it was Ctrl-C.

    Args:
        work: what to run, in a loop of its own.
    """

    async def main() -> bool:
        loop = asyncio.get_running_loop()
        task = asyncio.ensure_future(work)
        loop.add_signal_handler(signal.SIGINT, task.cancel)
        try:
            await task
        except asyncio.CancelledError:
            return True
        finally:
            loop.remove_signal_handler(signal.SIGINT)
        return False

    return asyncio.run(main())
