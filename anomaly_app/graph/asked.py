"""Steps of a graph that wait for answers from outside, such as those of a remote model.

How it works:

- A vertex that asks (:class:`Asking`) gives nothing in the step in which its rows come: it says what is to be asked, a
  :class:`Question`. Who drives the graph takes the questions, has them answered however it likes, in any order, and
  tells the graph to go on. A graph makes no calls and knows no clock.
- **Rows wait by steps.** The vertices in front of one that asks run at once; the step then stands in a queue, with the
  flows that vertices behind it will read. It leaves the queue as a whole, and only at its front: what is behind runs
  the same steps in the same order as if answers came at once. So results hang on the rows and the answers alone, and on
  no timing; rows keep their order, and joins and windows see what they would have seen.
- **Time waits with them.** A watermark is part of its step. A question ends at the latest when the one who answers
  gives up on a row, which then has failed: nothing waits for ever.
- Vertices that ask behind one another make several queues, by level: how many of them are on the way to a vertex.
- **A checkpoint holds what waits**: for each step in a queue the rows of those flows, written once when it has come and
  deleted when it goes, and the answers as they come, so that after a crash only what was not answered is asked again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from types import GenericAlias
from typing import Any, TypeAlias

import msgspec

from anomaly_app.errors import AnomalyError, DataError, StateError
from anomaly_app.graph.vertices import Entries, Flow, Vertex
from anomaly_app.models.model import Model, Values
from anomaly_app.models.options import CallOptions
from anomaly_app.operators import Layout, Row
from anomaly_app.patterns.state import RowCodec
from anomaly_app.schema import python_type

WAITING = b"\x7e"
"""Begins the names of entries of steps that wait: behind those of vertices, in front of those of stores."""
_STEP, _ANSWERS, _MARKS = b"s", b"t", b"m"


@dataclass(frozen=True, slots=True)
class Failure:
    """A row that gets no answer.

    Args:
        error: why.
    """

    error: AnomalyError


Answer: TypeAlias = "Values | Failure"


@dataclass(slots=True, eq=False)
class Question:
    """What is to be asked for the rows of a step.

    Args:
        model: that is asked.
        options: how it is called.
        rows: of the step.
        values: what the model is given for each.
        failed: rows for which that cannot be said.
        answers: for each row; None while there is none.
        fresh: numbers of rows whose answers have come since somebody wrote them down.
        left: how many answers are missing.
        dropped: nobody wants the answers any more.
        owner: who wants them, for the one who asks.
    """

    model: Model
    options: CallOptions
    rows: Sequence[Row]
    values: Sequence[Values]
    failed: Sequence[tuple[Exception, Row]] = ()
    answers: list[Any] = field(default_factory=list)
    fresh: list[int] = field(default_factory=list)
    left: int = 0
    dropped: bool = False
    owner: Any = None

    def __post_init__(self) -> None:
        self.answers = [None] * len(self.values)
        self.left = len(self.values)

    def put(self, number: int, answer: Answer) -> None:
        """The answer for a row."""
        assert self.answers[number] is None, "a row is answered once"
        self.answers[number] = answer
        self.fresh.append(number)
        self.left -= 1


class Asking:
    """A vertex whose rows wait for answers."""

    def ask(self, flow: Flow) -> Question:
        """What is to be asked for the rows of a step; the same for the same rows."""
        raise NotImplementedError

    def answered(self, flow: Flow, question: Question) -> Flow:
        """The rows of the step, all of whose answers are there."""
        raise NotImplementedError


@dataclass(slots=True, eq=False)
class Step:
    """A step on its way.

    Args:
        number: rises from step to step.
        inputs: of the graph; None for those that nobody reads any more.
        flows: of the vertices that have run, by their number.
        questions: that it waits for, by the number of the vertex.
    """

    number: int
    inputs: list[Flow | None]
    flows: list[Flow | None]
    questions: dict[int, Question] = field(default_factory=dict)
    stored: set[bytes] = field(default_factory=set)

    @property
    def is_ready(self) -> bool:
        """Whether all answers are there."""
        return all(not question.left for question in self.questions.values())


@dataclass(frozen=True, slots=True)
class Edge:
    """A flow that is read across a queue.

    Args:
        source: number of the vertex; of an input of the graph negative: -1, -2, …
        codec: of its rows.
    """

    source: int
    codec: RowCodec


class Waits:
    """The steps of a graph that wait, and their state.

    Args:
        inputs: for each vertex the numbers of those that it reads.
        layouts: columns of the rows of these, and which of them are needed.
        vertices: at work.

    Attributes:
        rows: of the steps that wait.
    """

    def __init__(
        self,
        inputs: Sequence[Sequence[int]],
        layouts: Sequence[Sequence[tuple[Layout, Iterable[str]] | None]],
        vertices: Sequence[Vertex],
    ) -> None:
        self._inputs, self._vertices = inputs, vertices
        self.levels = levels(inputs, vertices)
        self.last = max(self.levels, default=0)
        self._queues: list[deque[Step]] = [deque() for _ in range(self.last + 1)]
        self._edges = [self._crossing(level, layouts) for level in range(self.last + 1)] if self.last else []
        self._number = self.rows = 0
        self._asked: list[Question] = []
        self._gone: set[bytes] = set()
        self._reached: dict[int, list[int]] = {}
        """Watermarks of the inputs of each vertex that waits, as of the last step that it has run."""
        self._stored_reached: dict[int, list[int]] = {}
        self._encoder = msgspec.msgpack.Encoder()

    def _crossing(self, level: int, layouts: Sequence[Sequence[tuple[Layout, Iterable[str]] | None]]) -> list[Edge]:
        """Flows that vertices of a level and above read of those below it."""
        edges: dict[int, Edge] = {}
        for number, sources in enumerate(self._inputs):
            for place, source in enumerate(sources):
                below = source < 0 or self.levels[source] < level
                if self.levels[number] < level or not below or source in edges:
                    continue
                known = layouts[number][place] if place < len(layouts[number]) else None
                assert known is not None, "what is read across a queue says its columns"
                edges[source] = Edge(source, RowCodec(known[0], list(known[1])))
        return list(edges.values())

    # --- steps ------------------------------------------------------------------------------------

    def begin(self, inputs: Sequence[Flow]) -> Step:
        """A new step."""
        self._number += 1
        return Step(self._number, list(inputs), [None] * len(self._vertices))

    def wait(self, step: Step, level: int) -> None:
        """A step has run up to a level, and waits in front of it."""
        for number, vertex in enumerate(self._vertices):
            if self.levels[number] == level and isinstance(vertex, Asking):
                step.questions[number] = question = vertex.ask(self.flow(step, self._inputs[number][0]))
                if question.left:
                    self._asked.append(question)
                self.rows += len(question.rows)
        self._queues[level].append(step)

    def ready(self, level: int) -> Step | None:
        """The front step of a queue, if all its answers are there; it leaves."""
        queue = self._queues[level]
        if not queue or not queue[0].is_ready:
            return None
        step = queue.popleft()
        self.rows -= sum(len(question.rows) for question in step.questions.values())
        self._gone |= step.stored
        step.stored.clear()
        return step

    def flow(self, step: Step, source: int) -> Flow:
        """What a vertex gave in a step, or what came in."""
        flow = step.flows[source] if source >= 0 else step.inputs[-source - 1]
        assert flow is not None, "the vertices in front have run"
        return flow

    def note(self, number: int, flows: Sequence[Flow]) -> None:
        """A vertex has run."""
        if self.levels[number]:
            self._reached[number] = [flow.watermark for flow in flows]

    def questions(self) -> list[Question]:
        """Questions that nobody has taken yet."""
        asked, self._asked = self._asked, []
        return asked

    @property
    def any(self) -> bool:
        """Whether steps wait."""
        return any(self._queues)

    def drop(self) -> None:
        """Nobody wants answers any more."""
        for queue in self._queues:
            for step in queue:
                for question in step.questions.values():
                    question.dropped = True

    # --- state ------------------------------------------------------------------------------------

    def changes(self) -> Entries:
        """Entries of steps and answers that have come and gone since the last call."""
        entries: list[tuple[bytes, bytes | None]] = [(name, None) for name in sorted(self._gone)]
        self._gone.clear()
        for level, queue in enumerate(self._queues):
            for step in queue:
                self._store(step, level, entries)
        if self._reached != self._stored_reached:
            self._stored_reached = {number: list(marks) for number, marks in self._reached.items()}
            entries.append((WAITING + _MARKS, self._encoder.encode([self._number, list(self._reached.items())])))
        return entries

    def _store(self, step: Step, level: int, entries: list[tuple[bytes, bytes | None]]) -> None:
        name = WAITING + _STEP + bytes([level]) + step.number.to_bytes(8, "big")
        if name not in step.stored:
            step.stored.add(name)
            flows = []
            for edge in self._edges[level]:
                flow = self.flow(step, edge.source)
                flows.append([edge.source, flow.watermark, [edge.codec.encode(row) for row in flow.rows]])
            entries.append((name, self._encoder.encode(flows)))
        for number, question in step.questions.items():
            if question.fresh:
                first, fresh = min(question.fresh), [[k, _stored(question.answers[k])] for k in question.fresh]
                question.fresh.clear()
                place = step.number.to_bytes(8, "big") + number.to_bytes(2, "big") + first.to_bytes(4, "big")
                key = WAITING + _ANSWERS + bytes([level]) + place
                step.stored.add(key)
                entries.append((key, self._encoder.encode(fresh)))

    def restore(self, entries: Iterable[tuple[bytes, bytes]]) -> None:
        """Take back all entries that stand; questions without an answer are asked again."""
        try:
            self._restore(sorted(entries))
        except msgspec.DecodeError as error:
            raise StateError(f"a stored step is unreadable: {error}") from error

    def _restore(self, entries: Sequence[tuple[bytes, bytes]]) -> None:
        steps: dict[bytes, Step] = {}
        for name, data in entries:
            kind, place = name[1:2], name[2:11]
            if kind == _STEP:
                steps[place] = self._restored(place[0], int.from_bytes(place[1:], "big"), data)
                steps[place].stored.add(name)
            elif kind == _ANSWERS:
                if place not in steps:
                    raise StateError(f"an answer without its step: {name!r}")
                step, number = steps[place], int.from_bytes(name[11:13], "big")
                step.stored.add(name)
                question = step.questions[number]
                for k, values in _answers(question, data):
                    question.put(k, values)
                question.fresh.clear()
            elif kind == _MARKS:
                self._number, marks = msgspec.msgpack.decode(data)
                self._reached = {number: list(watermarks) for number, watermarks in marks}
                self._stored_reached = {number: list(watermarks) for number, watermarks in marks}
            else:
                raise StateError(f"an entry of another kind of state: {name!r}")
        for step in steps.values():
            self._number = max(self._number, step.number)
            self._asked += [question for question in step.questions.values() if question.left]

    def _restored(self, level: int, number: int, data: bytes) -> Step:
        if not 0 < level <= self.last:
            raise StateError(f"a step in front of level {level}, and there are {self.last}")
        edges = {edge.source: edge for edge in self._edges[level]}
        inputs = max((-edge for edge in edges if edge < 0), default=0)
        step = Step(number, [None] * inputs, [None] * len(self._vertices))
        for source, watermark, rows in msgspec.msgpack.decode(data):
            if source not in edges:
                raise StateError(f"a flow of vertex {source} that nobody reads")
            flow = Flow([edges[source].codec.decode(row) for row in rows], watermark)
            if source >= 0:
                step.flows[source] = flow
            else:
                step.inputs[-source - 1] = flow
        before = len(self._asked)
        self.wait(step, level)
        del self._asked[before:]
        return step

    def reached(self, number: int) -> list[int] | None:
        """Watermarks of the inputs of a vertex that waits; None if it has not run yet."""
        return self._reached.get(number)


def levels(inputs: Sequence[Sequence[int]], vertices: Sequence[Vertex]) -> list[int]:
    """For each vertex how many that ask are on the way to it, itself too."""
    found: list[int] = []
    for sources, vertex in zip(inputs, vertices, strict=True):
        below = max((found[source] for source in sources if source >= 0), default=0)
        found.append(below + isinstance(vertex, Asking))
    return found


def _stored(answer: Answer) -> Sequence[Any]:
    """An answer as it is stored: its values, or what is wrong."""
    return [None, str(answer.error)] if isinstance(answer, Failure) else [answer, ""]


def _answers(question: Question, data: bytes) -> Iterable[tuple[int, Answer]]:
    """Answers that were stored, by the number of their row."""
    values_type: Any = GenericAlias(tuple, tuple(python_type(column.type) for column in question.model.outputs))
    answer_type: Any = GenericAlias(tuple, (values_type | None, str))
    entries: Any = msgspec.msgpack.decode(data, type=GenericAlias(list, (GenericAlias(tuple, (int, answer_type)),)))
    for number, (values, problem) in entries:
        yield number, Failure(DataError(problem)) if values is None else values
