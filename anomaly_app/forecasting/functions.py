"""ML_DETECT_ANOMALIES, ML_FORECAST and ML_DETECT_ANOMALIES_ROBUST: their options, results and detectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import product
from typing import Any

from anomaly_app.detectors import Detector, DetectorFunction, Option
from anomaly_app.errors import OptionError
from anomaly_app.forecasting.arima import Arima
from anomaly_app.forecasting.detector import ForecastDetector, Season
from anomaly_app.forecasting.fitting import Candidate
from anomaly_app.forecasting.models import Ewma, Holt, Memory
from anomaly_app.forecasting.robust import RobustDetector
from anomaly_app.forecasting.season import LONGEST_MS
from anomaly_app.forecasting.step import Plan
from anomaly_app.schema import BOOLEAN, DOUBLE, TIMESTAMP_3, DataType, Kind
from anomaly_app.wishes import WISHES, as_wished, wish

MEMORY = 512
"""Points of history that count if nothing else is said, or two seasons if that is more."""
GRID = ((0, 0, 0), (1, 0, 0), (2, 0, 0), (1, 0, 1), (0, 1, 1), (1, 1, 1))
"""Orders that are tried if none is given: noise, short memory, waves, smoothing, and both differenced."""
MOST_TERMS = 6
"""Of p + q; the covariance of the coefficients grows with its square."""
POINTS_PER_COEFFICIENT = 4
"""Of the training, for a model to be tried; with fewer Akaike's criterion prefers what fits by chance."""
SEASON_WEIGHT = 0.05
"""Of a point's error in its place of a season taken off before ARIMA or EWMA."""
HOLT_SEASON_WEIGHT = 0.09
"""The same of Holt-Winters: gamma (1 - alpha), both .1."""

_LINES = (("forecast_value", DOUBLE), ("lower_bound", DOUBLE), ("upper_bound", DOUBLE))
_QUALITY = (("rmse", DOUBLE), ("aic", DOUBLE))
RESULT = DataType(
    Kind.ROW,
    fields=(("timestamp", TIMESTAMP_3), ("actual_value", DOUBLE), *_LINES, ("is_anomaly", BOOLEAN), *_QUALITY),
)
"""Of the two that detect."""
FORECAST_RESULT = DataType(
    Kind.ARRAY, element=DataType(Kind.ROW, fields=(("timestamp", TIMESTAMP_3), *_LINES, *_QUALITY))
)
"""Of ML_FORECAST: a row per step."""


def _from_to(low: int, high: int) -> tuple[Any, str]:
    return (lambda value: low <= value <= high), f"a whole number from {low} to {high}"


def _whole(name: str, default: int | None, doc: str, low: int, high: int) -> Option:
    valid, expected = _from_to(low, high)
    return Option(name, int, default, doc, valid, expected)


def _percentage(name: str, default: float | None, doc: str) -> Option:
    return Option(name, float, default, doc, lambda value: 0 < value < 100, "a number above 0 and below 100")


def _one_of(name: str, default: str, doc: str, *choices: str) -> Option:
    return Option(name, str, default, doc, lambda value: value in choices, "one of " + ", ".join(choices))


FORECAST_OPTIONS = (
    _whole("p", None, "last values in the regression; chosen in the training if not given", 0, MOST_TERMS),
    _whole("d", None, "differences taken; chosen in the training if not given", 0, 2),
    _whole("q", None, "last errors in the regression; chosen in the training if not given", 0, MOST_TERMS),
    _whole("horizon", 1, "points from the last one known to the one forecast", 1, 100),
    _percentage("confidencePercentage", 99.0, "share of points between the bounds"),
    _percentage("upperBoundConfidencePercentage", None, "the same for the upper bound alone"),
    _percentage("lowerBoundConfidencePercentage", None, "the same for the lower bound alone"),
    _whole("minTrainingSize", 128, "points before the first verdict", 3, 100_000),
    _whole("maxTrainingSize", None, f"points of history that count; {MEMORY}, or 2 m if that is more", 8, 1_000_000),
    _whole("evalWindowSize", 5, "one-step errors in rmse", 1, 64),
    _whole("updateInterval", 1, "points between updates of the coefficients", 1, 1_000_000),
    Option("enableStl", bool, False, "take a season off first"),
    _whole("m", None, "points of a season; found in the training if enableStl is given without", 2, 10_000),
    _whole("seasonMs", None, "length of a season in ms; m usual steps if not given", 1, LONGEST_MS),
    _one_of("model", "arima", "of the mean: arima, ewma or holt-winters", "arima", "ewma", "holt-winters"),
    _one_of("interval", "conformal", "what the bounds come from: conformal, t or normal", "conformal", "t", "normal"),
)

ROBUST_OPTIONS = (
    _whole("window", 128, "last points whose median and deviation count", 4, 100_000),
    Option(
        "threshold", float, 3.0, "robust standard deviations from the median to a bound", lambda value: value > 0,
        "a number above 0",
    ),
    Option("imputeOutliers", bool, False, "put the median in place of outliers"),
)  # fmt: skip


def _refuse(name: str, problem: str) -> None:
    raise OptionError(name, problem)


def _memory(options: Mapping[str, Any]) -> int:
    """Points of history that count."""
    given = options["maxTrainingSize"]
    return max(MEMORY, 2 * (options["m"] or 0)) if given is None else int(given)


def _check_season(options: Mapping[str, Any]) -> None:
    """Season options fit the model and the training."""
    m, model, memory = options["m"], options["model"], _memory(options)
    if model == "holt-winters":
        if m is None:
            _refuse("m", "model 'holt-winters' needs option 'm', the points of a season")
        if options["enableStl"]:
            _refuse("enableStl", "model 'holt-winters' has a season of its own: enableStl must be FALSE")
    elif not options["enableStl"]:
        for name in ("m", "seasonMs"):
            if options[name] is not None:
                _refuse(name, f"option {name!r} needs 'enableStl' VALUE TRUE or 'model' VALUE 'holt-winters'")
    if m is not None and memory < 2 * m:
        _refuse(
            "maxTrainingSize",
            f"option 'maxTrainingSize' is {memory}: with option 'm' {m} it must be two seasons, {2 * m}, or more",
        )
    if options["seasonMs"] is not None:
        if m is None:
            _refuse("seasonMs", "option 'seasonMs' needs option 'm', the points of a season")
        if options["seasonMs"] < m:
            _refuse("seasonMs", f"option 'seasonMs' is {options['seasonMs']}, less than a ms for each of {m} points")


def _check(options: Mapping[str, Any]) -> None:
    """Options go together."""
    training, memory, model = options["minTrainingSize"], _memory(options), options["model"]
    if training > memory:
        problem = f"option 'minTrainingSize' is {training}, more than maxTrainingSize, {memory}"
        _refuse("minTrainingSize", problem)
    if model != "arima":
        for name in ("p", "d", "q"):
            if options[name] is not None:
                _refuse(name, f"option {name!r} is one of model 'arima', but the model is {model!r}")
        if options["updateInterval"] != 1:
            _refuse("updateInterval", f"model {model!r} has no coefficients: updateInterval must be 1")
    terms = (options["p"] or 0) + (options["q"] or 0)
    if terms > MOST_TERMS:
        _refuse("p", f"options 'p' and 'q' are {terms} together, expected {MOST_TERMS} or less")
    needed = terms + (options["d"] or 0) + 3
    if training < needed:
        _refuse(
            "minTrainingSize", f"option 'minTrainingSize' is {training}; the orders p, d and q need {needed} or more"
        )
    _check_season(options)


def _orders(options: Mapping[str, Any], training: int) -> list[tuple[int, ...]]:
    """Orders to try: those of the grid that agree with the given ones, else the given ones with small others.

    Args:
        options: checked ones.
        training: points to choose by.
    """
    given = (options["p"], options["d"], options["q"])
    small = [(value,) if value is not None else range(2) for value in given]
    fitting = [order for order in GRID if all(g is None or g == o for g, o in zip(given, order, strict=True))]
    orders: list[tuple[int, ...]] = [*fitting] or [*product(*small)]
    affordable = training / POINTS_PER_COEFFICIENT
    return [order for order in orders if sum(order) + 1 <= affordable] or [min(orders, key=sum)]


IS_ANOMALY = [name for name, _ in RESULT.fields].index("is_anomaly")
SENSITIVITY = Option(
    "sensitivity",
    float,
    0.0,
    "false alarms wanted in 10,000 values; takes the place of confidencePercentage (99 is 100) unless it is 0",
    lambda value: 0 <= value < 10_000,
    "a number from 0 to below 10000",
)


def _tail(options: Mapping[str, Any], name: str) -> float:
    """Probability of a point beyond a bound: half of what is left by the interval of that confidence."""
    given = options[name]
    return float(1 - (options["confidencePercentage"] if given is None else given) / 100) / 2


@lru_cache(maxsize=256)
def candidate(name: str, order: tuple[int, ...], plan: Plan) -> Candidate:
    """A model with its kernels, which take a few milliseconds to make.

    Args:
        name: ``arima``, ``ewma`` or ``holt-winters``.
        order: of ARIMA, p, d and q; of Holt-Winters, the points of the season.
        plan: what is around it.
    """
    memory = Memory(plan.memory)
    if name == "arima":
        p, d, q = order
        return Candidate(Arima(p, d, q, memory), plan)
    return Candidate(Ewma(memory) if name == "ewma" else Holt(order[0]), plan)


def forecast_detector(options: Mapping[str, Any], path: int = 0) -> ForecastDetector:
    """The detector of ML_DETECT_ANOMALIES.

    Args:
        options: all of :data:`FORECAST_OPTIONS`.
        path: points ahead to give forecasts of.

    Raises:
        OptionError: they do not go together.

    Example:
        >>> from anomaly_app.detectors import check_options
        >>> forecast_detector(check_options(FUNCTIONS[0], {"minTrainingSize": 600}))
        Traceback (most recent call last):
        ...
        anomaly_app.errors.OptionError: option 'minTrainingSize' is 600, more than maxTrainingSize, 512
    """
    _check(options)
    memory, name, training = Memory(_memory(options)), options["model"], options["minTrainingSize"]
    season, weight, visits = None, 0.0, None
    if name == "holt-winters" or options["enableStl"]:
        points = options["m"]
        visits = 2 * points if points and training < 2 * points else None
        season = Season(points, options["seasonMs"], points or max(training // 3, 1), visits)
        weight = HOLT_SEASON_WEIGHT if name == "holt-winters" else SEASON_WEIGHT
    plan = Plan(
        lower=_tail(options, "lowerBoundConfidencePercentage"),
        upper=_tail(options, "upperBoundConfidencePercentage"),
        interval=options["interval"],
        memory=memory.points,
        weight=memory.level if name == "ewma" else memory.variance,
        errors=options["evalWindowSize"],
        horizon=1 if path else options["horizon"],
        update_rows=options["updateInterval"],
        season_weight=weight,
        path=path,
    )

    def candidates(points: int, season: int, plan: Plan) -> list[Candidate]:
        orders = _orders(options, points) if name == "arima" else [(season,)]
        return [candidate(name, order, plan) for order in orders]

    if visits is None:
        return ForecastDetector(candidates(training, options["m"] or 1, plan), training, season)
    first = candidates(training, 1, replace(plan, season_weight=0.0))
    return ForecastDetector(first, training, season, candidates(visits, options["m"], plan))


def _create_detect(options: Mapping[str, Any], names: Sequence[str]) -> Detector:
    asked, sensitivity = wish(options, "ML_DETECT_ANOMALIES"), options["sensitivity"]
    if sensitivity:
        for name in ("upperBoundConfidencePercentage", "lowerBoundConfidencePercentage"):
            if options[name] is not None:
                _refuse(name, f"option {name!r} and 'sensitivity' both say where a bound is: leave one of them out")
        options = {**options, "confidencePercentage": 100.0 - sensitivity / 100}
    detector = forecast_detector(options)
    if sensitivity:
        detector.note = f" (sensitivity: {sensitivity:g} false alarms in 10,000 values)"
    return as_wished(detector, asked, IS_ANOMALY)


def _create_forecast(options: Mapping[str, Any], names: Sequence[str]) -> Detector:
    return forecast_detector(options, path=options["horizon"])


def _create_robust(options: Mapping[str, Any], names: Sequence[str]) -> Detector:
    return RobustDetector(names, options["window"], options["threshold"], options["imputeOutliers"])


FUNCTIONS: tuple[DetectorFunction, ...] = (
    DetectorFunction(
        "ML_DETECT_ANOMALIES",
        (*FORECAST_OPTIONS, SENSITIVITY, *WISHES),
        RESULT,
        _create_detect,
        doc="Whether a value lies outside the bounds of its forecast (ARIMA, EWMA or Holt-Winters).",
    ),
    DetectorFunction(
        "ML_FORECAST",
        FORECAST_OPTIONS,
        FORECAST_RESULT,
        _create_forecast,
        doc="Forecasts of the next values with bounds, one row per step of the horizon.",
    ),
    DetectorFunction(
        "ML_DETECT_ANOMALIES_ROBUST",
        ROBUST_OPTIONS,
        RESULT,
        _create_robust,
        multivariate=True,
        doc="Whether a value, or one of a ROW, lies far from the median of the last rows.",
    ),
)
"""The SQL functions of this package."""
