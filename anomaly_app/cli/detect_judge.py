"""What a detector says about the series of a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from anomaly_app.cli.output import progress

if TYPE_CHECKING:
    from anomaly_app.cli.detect_input import Series
    from anomaly_app.detectors import DetectorFunction

BATCH_ROWS = 5_000


@dataclass(slots=True)
class Judged:
    """What the detector said: one entry a row each.

    Args:
        function: that judged.
        results: fields of the result by name; a number alone is ``score``, anything else ``result``.
        flags: None where there is no verdict.
        scores: how far out, 1 is the bound.
        explanations: by row, of those that are flagged.
    """

    function: DetectorFunction
    results: list[dict[str, Any]] = field(default_factory=list)
    flags: list[bool | None] = field(default_factory=list)
    scores: list[float | None] = field(default_factory=list)
    explanations: dict[int, str] = field(default_factory=dict)


def judge(function: DetectorFunction, options: Mapping[str, Any], series: Series) -> Judged:
    """Judge the rows of all series in their order."""
    from anomaly_app.schema import DOUBLE

    detector = function.create(options, series.values)
    detector.grow(len(series.keys))
    fields = [name for name, _ in function.result.fields]
    whole = "score" if function.result == DOUBLE else "result"
    judged = Judged(function)
    with progress("rows") as bar:
        starts = bar.track(range(0, len(series), BATCH_ROWS), description="judged, in batches")
        for start in starts:
            part = slice(start, start + BATCH_ROWS)
            verdicts = detector.update(series.series[part], series.times[part], series.points[part])
            flags = verdicts.flags()
            for number, (result, flag) in enumerate(zip(verdicts.values(), flags, strict=True)):
                judged.results.append(dict(zip(fields, result, strict=True)) if fields else {whole: result})
                if flag:
                    judged.explanations[start + number] = verdicts.explain(number)
            judged.flags += flags
            judged.scores += verdicts.scores()
    return judged
