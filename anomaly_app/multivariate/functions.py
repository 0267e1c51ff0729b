"""The SQL function of this package: ``DETECT_OUTLIERS(ROW(a, b), rowtime, JSON_OBJECT(…)) OVER (…)``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from anomaly_app.detectors import Detector, DetectorFunction, Option
from anomaly_app.errors import OptionError
from anomaly_app.multivariate.combined import Combined
from anomaly_app.multivariate.detector import MultivariateDetector
from anomaly_app.multivariate.fields import Fields, check_names
from anomaly_app.multivariate.mahalanobis import Mahalanobis
from anomaly_app.multivariate.model import Model
from anomaly_app.multivariate.trees import HalfSpaceTrees
from anomaly_app.schema import BOOLEAN, DOUBLE, STRING, TIMESTAMP_3, DataType, Kind

METHODS = ("mahalanobis", "trees", "combined")
_MEMORY = {"mahalanobis": 1024, "trees": 256, "combined": 1024}
_BLOCK, _COMBINED_BLOCK = 32, 40
"""Points after which the bound moves and the distance learns, or four a feature if that is more."""

OUTLIER = DataType(
    Kind.ROW,
    fields=(
        ("timestamp", TIMESTAMP_3),
        ("score", DOUBLE),
        ("threshold", DOUBLE),
        ("is_anomaly", BOOLEAN),
        ("contributions", DataType(Kind.MAP, key=STRING, element=DOUBLE)),
    ),
)
"""One row per point; all but the timestamp is NULL while the model warms up and for a point with a missing value."""


def _whole(name: str, default: int | None, doc: str, low: int, high: int) -> Option:
    return Option(name, int, default, doc, lambda value: low <= value <= high, f"a whole number from {low} to {high}")


OPTIONS = (
    Option(
        "method",
        str,
        "mahalanobis",
        "mahalanobis: distance from the centre in one cloud of points; trees: emptiness around the point, any shape; "
        "combined: the larger of that distance and of how far out a field is alone",
        METHODS.__contains__,
        " or ".join(map(repr, METHODS)),
    ),
    Option(
        "confidencePercentage",
        float,
        99.0,
        "share of points that are no anomalies, in the long run",
        lambda value: 80 <= value < 100,
        "a number from 80 to below 100",
    ),
    _whole("minTrainingSize", 128, "points of a series before its first verdict", 16, 10_000),
    _whole(
        "maxTrainingSize",
        None,
        "points that the model remembers: 1024, and 256 of trees, if not given",
        32,
        20_000,
    ),
    Option("timeOfDay", bool, False, "the time of day is a field too"),
    Option("frequency", bool, False, "the time since the point before is a field too"),
    Option("categories", str, "", "names of the fields that are categories, with commas: what counts is rarity"),
    _whole("trees", 25, "trees of the method trees", 1, 500),
    _whole("depth", 8, "halvings in a tree", 2, 12),
    _whole("seed", 1, "the same seed gives the same trees", 0, 2**31 - 1),
)


def create_detector(options: Mapping[str, Any], names: Sequence[str]) -> Detector:
    """A detector of points of several fields.

    Args:
        options: checked ones of ``DETECT_OUTLIERS``.
        names: of the values of a point.

    Raises:
        OptionError: options do not go together, or ``categories`` names no field.

    Example:
        >>> import numpy as np
        >>> from anomaly_app.detectors import check_options
        >>> detector = create_detector(check_options(DETECT_OUTLIERS, {}), ["amount", "items"])
        >>> detector.grow(1)
        >>> amount = np.random.default_rng(1).normal(100, 10, 200)
        >>> points = np.column_stack([amount, amount / 10])
        >>> points[199] = 105, 9  # each is usual, but not both
        >>> verdicts = detector.update(np.zeros(200, int), np.arange(200) * 1000, points)
        >>> verdicts.flags()[199], verdicts.values()[199][3]
        (True, True)
    """
    categories = tuple(name for name in map(str.strip, options["categories"].split(",")) if name)
    problem = check_names(names, categories)
    if problem:
        raise OptionError("categories", f"{DETECT_OUTLIERS.name}: option 'categories': {problem}")
    fields = Fields(tuple(names), categories, options["timeOfDay"], options["frequency"])
    warm_up, alpha = options["minTrainingSize"], 1 - options["confidencePercentage"] / 100
    if warm_up < 4 * fields.count:
        raise OptionError(
            "minTrainingSize",
            f"{DETECT_OUTLIERS.name}: option 'minTrainingSize' is {warm_up}, expected at least {4 * fields.count}, "
            f"four points for each of {fields.count} features",
        )
    memory = options["maxTrainingSize"] or _MEMORY[options["method"]]
    spreads = fields.smallest_spread()
    model: Model
    if options["method"] == "trees":
        window = -(-memory // _BLOCK) * _BLOCK
        grown = options["trees"], options["depth"], options["seed"]
        model = HalfSpaceTrees(spreads, alpha, warm_up, window, _BLOCK, *grown)
    else:
        if options["method"] == "combined":
            model = Combined(spreads, alpha, memory, warm_up, max(_COMBINED_BLOCK, 4 * fields.count), sine=fields.sine)
        else:
            model = Mahalanobis(spreads, alpha, memory, warm_up, max(_BLOCK, 4 * fields.count))
    return MultivariateDetector(fields, model, warm_up, alpha, max(memory, _MEMORY["mahalanobis"]))


DETECT_OUTLIERS = DetectorFunction(
    "DETECT_OUTLIERS",
    OPTIONS,
    OUTLIER,
    create_detector,
    multivariate=True,
    doc="Anomalies in several fields together, with what each field contributes",
)

FUNCTIONS: tuple[DetectorFunction, ...] = (DETECT_OUTLIERS,)
