"""Calls of models behind addresses: bounded, in batches, with time-outs, retries, a circuit breaker and a rate.

Each row ends with an answer or a failure, whatever the model does:

- At most ``max_parallelism`` calls are under way; each takes the rows that have waited longest, as many as the provider
  takes at once. A provider that refuses several rows is asked row by row from then on.
- A call that takes too long, an answer 429 or 5xx, a connection that breaks: again after a while, twice as long each
  time (or as long as ``Retry-After`` says), ``retry_count`` times. What the model says otherwise is final for the row.
- After ``breaker_failures`` such failures one after the other the circuit is open: every ``breaker_timeout`` one call
  is tried, and the others wait, each row no longer than all its tries could take, from when it was asked or the
  circuit opened: rows whose turn has not come wait no longer than those before them.
"""

from __future__ import annotations

import asyncio
import logging
import random
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from email.utils import parsedate_to_datetime
from typing import Any, Protocol

import aiohttp

from anomaly_app.errors import AnomalyError, DataError
from anomaly_app.models.model import Model, Values
from anomaly_app.models.options import CallOptions
from anomaly_app.models.remote import beginning
from anomaly_app.secrecy import without

FIRST_WAIT_S, LONGEST_WAIT_S = 0.1, 10.0
"""Before a call is made again."""
LARGEST_ANSWER = 16 << 20
"""Bytes of an answer."""

log = logging.getLogger(__name__)


class CallError(DataError):
    """A model could not be asked, or has refused."""

    code = "model-call"


class Asked(Protocol):
    """Rows that a model is to be asked about: a :class:`~anomaly_app.graph.asked.Question`."""

    model: Model
    options: CallOptions
    values: Sequence[Values]
    answers: list[Any]
    dropped: bool

    def put(self, number: int, answer: Any) -> None:
        """The answer for a row."""
        ...


class _Passing(Exception):
    """A call has failed in a way that may pass.

    Args:
        problem: what was wrong.
        after_s: when it may be tried again, as the model says; None if it says nothing.
    """

    def __init__(self, problem: str, after_s: float | None = None) -> None:
        super().__init__(problem)
        self.after_s = after_s


_Row = tuple[Asked, int, float]
"""A question, the number of a row of it, and when that was asked, as the loop's clock has it."""


def _after_s(headers: Mapping[str, str]) -> float | None:
    """After how many seconds an answer says to try again; None if it says nothing that can be understood.

    A moment is told apart from that of the answer itself: clocks may differ.

    Example:
        >>> now = "Fri, 31 Dec 1999 23:59:59 GMT"
        >>> _after_s({"Retry-After": "2.5"}), _after_s({"Retry-After": "Sat, 01 Jan 2000 00:00:09 GMT", "Date": now})
        (2.5, 10.0)
    """
    said = headers.get("Retry-After", "").strip()
    if said.replace(".", "", 1).isdigit():
        return float(said)
    try:
        apart = parsedate_to_datetime(said) - parsedate_to_datetime(headers.get("Date", ""))
    except (ValueError, TypeError):
        return None
    return max(0.0, apart.total_seconds())


class Caller:
    """Asks one model with the same options. For one event loop.

    Args:
        model: a remote one.
        options: how it is called.
        failure: makes of an error what is put for a row.
        answered: is told of a question some of whose answers have come.
    """

    def __init__(
        self, model: Model, options: CallOptions, failure: Callable[[AnomalyError], Any],
        answered: Callable[[Asked], None],
    ) -> None:  # fmt: skip
        remote = model.remote
        assert remote is not None, "a model in a file needs no call"
        self._model, self._remote, self._options, self._stats = model, remote, options, model.stats
        self._failure, self._answered = failure, answered
        self._batch_rows = min(remote.batch_rows, options.batch_rows or remote.batch_rows)
        self._waiting: deque[_Row] = deque()
        self._running: set[asyncio.Task[None]] = set()
        self._active = 0
        self._session: aiohttp.ClientSession | None = None
        self._failures = 0
        self._open_since_s = self._opened_s = 0.0
        self._trying = False
        self._next_s = 0.0

    def ask(self, question: Asked) -> None:
        """Begin to ask; answers come when they come."""
        now_s = asyncio.get_running_loop().time()
        self._waiting += [(question, number, now_s) for number, known in enumerate(question.answers) if known is None]
        calls = -(-len(self._waiting) // self._batch_rows)
        for _ in range(min(calls, self._options.parallelism - self._active)):
            self._active += 1
            task = asyncio.get_running_loop().create_task(self._run())
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def close(self) -> None:
        """End all calls; nothing is put any more."""
        running = list(self._running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        if self._session is not None:
            await self._session.close()
            self._session = None

    # --- calls ------------------------------------------------------------------------------------

    async def _run(self) -> None:
        while rows := self._take():
            await self._settle(rows)
        self._active -= 1  # at once: what is asked before this task has ended needs another one

    def _take(self) -> list[_Row]:
        """The rows of the next call."""
        rows: list[_Row] = []
        while self._waiting and len(rows) < self._batch_rows:
            row = self._waiting.popleft()
            if not row[0].dropped:
                rows.append(row)
        return rows

    async def _settle(self, rows: Sequence[_Row]) -> None:
        """Ask about some rows until each has an answer or has failed."""
        try:
            asked_s = max(asked_s for _, _, asked_s in rows)
            answers = await self._call([question.values[number] for question, number, _ in rows], asked_s)
        except DataError as error:
            if len(rows) > 1 and not isinstance(error, _GaveUp):
                # One of them may be at fault, or the model takes one at a time only.
                refused = 0
                for row in rows:
                    refused += await self._alone(row)
                if not refused and self._batch_rows > 1:
                    log.warning("model %s takes one row at a time: %s", self._model.title, error)
                    self._batch_rows = 1
                return
            answers = self._failed(error, len(rows))
        except Exception as error:
            log.exception("model %s: a call has failed that should not", self._model.title)
            answers = self._failed(CallError(f"{type(error).__name__}: {error}"), len(rows))
        else:
            wrong = [answer for answer in answers if isinstance(answer, DataError)]
            self._stats.rows += len(rows) - len(wrong)
            self._stats.errors += len(wrong)
            self._stats.problem = str(wrong[-1]) if wrong else ""
            answers = [self._failure(answer) if isinstance(answer, DataError) else answer for answer in answers]
        for (question, number, _), answer in zip(rows, answers, strict=True):
            if not question.dropped:
                question.put(number, answer)
        for question in {id(question): question for question, _, _ in rows}.values():
            if not question.dropped:
                self._answered(question)

    def _failed(self, error: DataError, rows: int) -> list[Any]:
        self._stats.errors += rows
        self._stats.problem = str(error)
        return [self._failure(error)] * rows

    async def _alone(self, row: _Row) -> bool:
        """Ask about one row; whether it has failed."""
        before = self._stats.errors
        await self._settle([row])
        return self._stats.errors > before

    async def _call(self, values: Sequence[Values], asked_s: float) -> list[Any]:
        """The answers for some rows.

        Args:
            values: of the rows.
            asked_s: when the last of them was asked.

        Raises:
            DataError: there are none.
        """
        request = self._remote.request(values)
        loop, options = asyncio.get_running_loop(), self._options
        wait_s, tries = FIRST_WAIT_S, 0
        while True:
            await self._let_in(asked_s)
            begun_s = loop.time()
            try:
                body = await self._post(request.url, request.headers, request.body)
            except _Passing as failed:
                self._stats.took(loop.time() - begun_s)
                self._note_failure(str(failed), loop.time())
                if tries >= options.retries:
                    times = f"{tries + 1} time{'s' * (tries > 0)}"
                    raise _GaveUp(f"model {self._model.title} was asked {times}: {failed}") from None
                tries += 1
                self._stats.retries += 1
                pause_s = wait_s * random.uniform(0.5, 1.0) if failed.after_s is None else failed.after_s
                await asyncio.sleep(min(pause_s, options.timeout_s))
                wait_s = min(2 * wait_s, LONGEST_WAIT_S)
            except CallError:
                self._stats.took(loop.time() - begun_s)
                self._note_success()
                raise
            else:
                self._stats.took(loop.time() - begun_s)
                self._note_success()
                return self._remote.answer(body, len(values))

    async def _post(self, url: str, headers: Any, body: bytes) -> bytes:
        """The body of an answer 200.

        Raises:
            _Passing: try again.
            CallError: the model refuses.
        """
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=self._options.parallelism)
            timeout = aiohttp.ClientTimeout(total=self._options.timeout_s)
            self._session = aiohttp.ClientSession(connector=connector, timeout=timeout)
        where = self._remote.url
        try:
            async with self._session.post(url, data=body, headers=headers, allow_redirects=False) as answer:
                data = await answer.content.read(LARGEST_ANSWER)
                while not answer.content.at_eof() and len(data) < LARGEST_ANSWER:
                    data += await answer.content.read(LARGEST_ANSWER - len(data))
                status, after_s = answer.status, _after_s(answer.headers)
        except TimeoutError:
            raise _Passing(f"{where} did not answer within {self._options.timeout_s:g} s") from None
        except (aiohttp.ClientError, OSError) as error:
            problem = without(str(error) or type(error).__name__, self._remote.secrets)
            raise _Passing(f"{where} cannot be reached: {problem}") from None
        if status == 200:
            return data
        self._stats.refused += 1
        problem = f"{where} answers {status}; the answer begins {beginning(data, self._remote.secrets)}"
        if status in (408, 425, 429) or status >= 500:
            raise _Passing(problem, after_s)
        raise CallError(f"model {self._model.title}: {problem}")

    # --- rate and circuit -------------------------------------------------------------------------

    async def _let_in(self, asked_s: float) -> None:
        """Wait until a call may be made.

        Args:
            asked_s: when the row was asked: while the circuit is open it waits as long as all tries could take, whether
                its turn has come or not.

        Raises:
            _GaveUp: the circuit has been open for too long.
        """
        loop, options = asyncio.get_running_loop(), self._options
        patience_s = options.timeout_s * (options.retries + 1)
        while self._stats.is_open:
            now_s = loop.time()
            left_s = self._opened_s + options.breaker_s - now_s
            if left_s <= 0 and not self._trying:
                self._trying = True  # one call is tried
                break
            until_s = max(asked_s, self._open_since_s) + patience_s
            if now_s >= until_s:
                problem = f"model {self._model.title} is left alone for a while, since {self._stats.problem}"
                raise _GaveUp(problem)
            await asyncio.sleep(min(max(left_s, 0.05), until_s - now_s))
        if options.calls_per_s is not None:
            now_s = loop.time()
            self._next_s = max(self._next_s, now_s) + 1 / options.calls_per_s
            await asyncio.sleep(self._next_s - 1 / options.calls_per_s - now_s)

    def _note_failure(self, problem: str, now_s: float) -> None:
        self._stats.problem = problem
        self._failures += 1
        if not self._options.breaker_failures or self._failures < self._options.breaker_failures:
            return
        if not self._stats.is_open:
            log.warning("model %s: %d calls failed one after the other: %s", self._model.title, self._failures, problem)
            self._open_since_s = now_s
        self._stats.is_open, self._opened_s, self._trying = True, now_s, False

    def _note_success(self) -> None:
        if self._stats.is_open:
            log.warning("model %s answers again", self._model.title)
        self._failures, self._stats.is_open, self._trying = 0, False, False


class _GaveUp(CallError):
    """All tries have failed: that is about the model, and not about the rows."""


class Callers:
    """One caller for each model and its options. For one event loop.

    Args:
        failure: makes of an error what is put for a row.
        answered: is told of a question some of whose answers have come.
    """

    def __init__(self, failure: Callable[[AnomalyError], Any], answered: Callable[[Any], None]) -> None:
        self._failure, self._answered = failure, answered
        self._callers: dict[tuple[int, CallOptions], Caller] = {}

    def ask(self, question: Asked) -> None:
        """Begin to ask."""
        key = (id(question.model), question.options)
        if key not in self._callers:
            self._callers[key] = Caller(question.model, question.options, self._failure, self._answered)
        self._callers[key].ask(question)

    async def close(self) -> None:
        """End all calls."""
        callers, self._callers = list(self._callers.values()), {}
        for caller in callers:
            await caller.close()


class Waiting(Protocol):
    """What has questions: a task."""

    def questions(self) -> list[Any]:
        """Since the last call."""
        ...

    @property
    def waiting(self) -> int | None:
        """How many rows wait; None if nothing waits."""
        ...

    def release(self) -> None:
        """Go on with what was answered."""
        ...


async def answer_all(task: Waiting, failure: Callable[[AnomalyError], Any]) -> None:
    """Answer all questions of a task, until nothing waits.

    Args:
        task: that waits.
        failure: makes of an error what is put for a row.
    """
    if task.waiting is None:
        return
    come = asyncio.Event()
    callers = Callers(failure, lambda question: come.set())
    try:
        while task.waiting is not None:
            for question in task.questions():
                callers.ask(question)
            await come.wait()
            come.clear()
            task.release()
    finally:
        await callers.close()


class Loop:
    """An event loop in a thread of its own, for callers that are not asynchronous."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something there and wait for it."""
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=self._loop.run_forever, name="models", daemon=True).start()
        running = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            running.result()
        except BaseException:
            running.cancel()
            raise


LOOP = Loop()
"""That of this process, made when it is first needed."""
