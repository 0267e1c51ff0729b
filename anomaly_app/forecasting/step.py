"""What happens at a point, whatever the model: forecast, bounds, outliers and level shifts, the variance, the tails."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from scipy import special

from anomaly_app.forecasting.kernel import Kernel
from anomaly_app.forecasting.models import Forecast, Model, Surprise
from anomaly_app.forecasting.symbols import Number, Symbol, choose, clip, equal, largest, look_up, smallest, sqrt

OUTLIER = 4.0
"""Standard deviations beyond which a point is not learnt from as it is: 1 in 16,000 of a normal distribution."""
SHIFT = 5
"""Outliers in a row that are a new level."""
STEP = 0.25
"""By how many standard deviations a point outside a bound moves it (times one less the tail's probability)."""
EAGER = 128.0
"""Points seen for a step of one standard deviation; it shrinks to :data:`STEP` as more are seen: the first bounds are a
guess (Angelopoulos, Barber and Bates, "Online conformal prediction with decaying step sizes", ICML 2024)."""
NEAREST = 0.05
"""Least standard deviations from the forecast to a bound."""
TINIEST = 1e-18
"""Least variance, in units of the series' scale: a constant series has bounds, and no division is by zero."""
LONGEST_GAP = 1_000.0
"""Missing points that widen the bounds; more do not."""
USUAL = 0.05
"""Share of the rows from which on a value is usual, or that of the tail if it is more: no conformal bound excludes
it. By Chebyshev's inequality it is not an outlier."""
USUAL_PACE = 1 / 32
"""Weight of a row in that share."""
USUAL_START = 1.02
"""Share of a value that has just passed a bound, in multiples of what is usual: if it does not come again it is not."""
HUGE = 1e150
"""Values beyond are treated as infinite: their squares are not numbers any more."""
FARTHEST = 1e75
"""Largest error in units of the series' scale; its square can be squared."""
TABLE = 400
"""Degrees of freedom from which on Student's t is as good as normal."""

OUTPUTS = ("forecast", "lower", "upper", "squares", "variance", "unit", "count")
"""Of a point: the three lines in its own units, the sum of the squared errors before it, the variance in units of the
scale squared, the scale, and how many points count."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What the bounds are and what is remembered, whatever the model.

    Args:
        lower, upper: probabilities of a point below and above the bounds.
        interval: ``normal``, ``t`` or ``conformal``.
        memory: points of history that count.
        weight: least weight of the newest point in the variance.
        errors: one-step errors in the root mean square.
        horizon: points ahead at which a forecast is judged.
        update_rows: rows between updates of the coefficients.
        season_weight: least weight of a point's error in its place of the season; 0 without a season.
        path: points ahead for which forecasts are given out after each point; 0 for none.
    """

    lower: float
    upper: float
    interval: str
    memory: int
    weight: float
    errors: int
    horizon: int
    update_rows: int
    season_weight: float
    path: int = 0

    @property
    def outputs(self) -> tuple[str, ...]:
        """:data:`OUTPUTS`, then forecast and bounds of each step of the path (without the season)."""
        return (*OUTPUTS, *(f"{line}{step}" for step in range(1, self.path + 1) for line in PATH))


USUAL_VALUES = (("low", "low_value", "low_share"), ("high", "high_value", "high_share"))
"""Of each tail the correction of its bound, a value that comes again and again, and its share of the rows in which the
bound would exclude it."""
PATH = ("ahead", "under", "over")
"""Lines of a forecast path."""
HEADER = ("base", "unit", "n", "v", "gap", "run", "run_sum", "run_squares", "low", "high", "due")
"""State whatever the model: origin and scale of the series, points seen, variance in units of the scale, missing points
since the last one, outliers in a row with sums of their errors, corrections of the bounds, rows since coefficients were
updated. With a season, also the variance of its places, and the share of the season that a point is."""


def fields(model: Model, plan: Plan) -> tuple[str, ...]:
    """Names of the numbers that a series holds."""
    season = ("season_doubt", "season_pace") if plan.season_weight else ()
    errors = tuple(f"e{number}" for number in range(plan.errors))
    pending = tuple(f"{name}{step}" for step in _pending(plan) for name in ("f", "s"))
    usual = tuple(name for names in USUAL_VALUES for name in names[1:]) if plan.interval == "conformal" else ()
    return (*HEADER, *usual, *season, *errors, *pending, *model.fields)


def _pending(plan: Plan) -> range:
    """Numbers of the forecasts that wait for their points: all that were made since the one to be judged."""
    return range(1, plan.horizon + 1 if plan.horizon > 1 else 1)


def kernels(model: Model, plan: Plan) -> tuple[Kernel, Kernel]:
    """The recursion at a point, and the one at a missing point."""
    names = fields(model, plan)
    inputs, outputs, slots = ["x"], plan.outputs, list[tuple[str, str]]()
    if plan.season_weight:
        inputs, outputs, slots = ["x", "season"], (*outputs, "season_next"), [("season", "season_next")]
    return (
        Kernel(lambda given: _observe(model, plan, given), names, inputs, outputs, slots),
        Kernel(lambda given: _miss(model, plan, given), names, inputs, outputs, slots),
    )


def quantiles(plan: Plan, lost: int) -> tuple[list[float], list[float]]:
    """By points seen, the standard deviations from the forecast to the lower and the upper bound."""
    if plan.interval == "normal":
        return [-float(special.ndtri(plan.lower))], [-float(special.ndtri(plan.upper))]
    freedom = [max(count - lost, 1) for count in range(TABLE + lost + 1)]
    lower, upper = ((-special.stdtrit(freedom, tail)).tolist() for tail in (plan.lower, plan.upper))
    return lower, upper


def _bounds(
    model: Model, plan: Plan, given: Mapping[str, Symbol]
) -> tuple[Forecast, Symbol, Symbol, tuple[Symbol, Symbol], dict[str, Number]]:
    """The forecast, the variance of its error, the scale of an outlier, bounds but for usual values, outputs."""
    base, unit = given["base"], given["unit"]
    forecast = model.forecast(given)
    growth = given["gap"] * forecast.growth
    relative = 1.0 + forecast.doubt + growth
    if "season" in given:
        relative = relative + given["season_doubt"]
    variance = largest(given["v"] * relative, TINIEST)
    scale = sqrt(variance)
    mean, wide = (forecast.mean, scale) if plan.horizon == 1 else (given["f1"], given["s1"])
    if "season" in given:
        mean = mean + given["season"]
    below, above = _distances(model, plan, given)
    squares: Number = given["e0"]
    for number in range(1, plan.errors):
        squares = squares + given[f"e{number}"]
    lower, upper = base + unit * (mean - wide * below), base + unit * (mean + wide * above)
    strict = lower, upper
    if plan.interval == "conformal":
        lower = smallest(lower, _usual(plan.lower, given, USUAL_VALUES[0], lower))
        upper = largest(upper, _usual(plan.upper, given, USUAL_VALUES[1], upper))
    outputs: dict[str, Number] = {
        "forecast": base + unit * mean,
        "lower": lower,
        "upper": upper,
        "squares": squares,
        "variance": given["v"],
        "unit": unit,
        "count": given["n"],
    }
    return forecast, relative, scale, strict, outputs


def _usual(tail: float, given: Mapping[str, Symbol], names: tuple[str, str, str], bound: Symbol) -> Symbol:
    """The value of a tail that comes so often that its bound must not exclude it; else the bound."""
    _, value, share = names
    return choose(given[share] > max(tail, USUAL), given[value], bound)


def _observe(model: Model, plan: Plan, given: Mapping[str, Symbol]) -> dict[str, Number]:
    x, base, unit = given["x"], given["base"], given["unit"]
    forecast, relative, scale, strict, results = _bounds(model, plan, given)
    value = (x - base) / unit
    if "season" in given:
        value = value - given["season"]
    error = smallest(largest(value - forecast.mean, -FARTHEST), FARTHEST)
    limit = OUTLIER * scale
    clipped = clip(error, limit)
    outlier = error * error > limit * limit
    run = choose(outlier, given["run"] + 1.0, 0.0)
    run_sum = choose(outlier, given["run_sum"] + error, 0.0)
    run_squares = choose(outlier, given["run_squares"] + error * error, 0.0)
    accepted = run > SHIFT - 0.5
    left = choose(accepted, 0.0, run)
    imputed = left > 0.5
    shift = run_sum * (1.0 / SHIFT)
    spread = run_squares * (1.0 / SHIFT) - shift * shift

    freedom = largest(given["n"] + (1.0 - model.lost), 1.0)
    weight = largest(1.0 / freedom, plan.weight)
    v = given["v"] + weight * (clipped * clipped / relative - given["v"])
    v = choose(accepted, largest(v, spread), v)
    learns = None
    if plan.update_rows > 1:
        due = given["due"] + 1.0
        learns = due > plan.update_rows - 0.5
        results["due"] = choose(learns, 0.0, due)
    point = Surprise(value, choose(outlier, 0.0, error), clipped, outlier, imputed, accepted, learns)
    changes = model.learn(given, forecast, point)
    results |= changes
    results |= {
        "n": smallest(given["n"] + 1.0, float(plan.memory)),
        "v": largest(v, TINIEST),
        "gap": 0.0,
        "run": left,
        "run_sum": choose(accepted, 0.0, run_sum),
        "run_squares": choose(accepted, 0.0, run_squares),
    }
    if not model.differences:
        results["base"] = base + unit * choose(accepted, shift, 0.0)
    missed = x - (base + unit * (forecast.mean + given["season"] if "season" in given else forecast.mean))
    results["e0"] = smallest(missed * missed, HUGE * HUGE)
    for number in range(1, plan.errors):
        results[f"e{number}"] = given[f"e{number - 1}"]
    if plan.interval == "conformal":
        passed = _below(x, results["lower"]), _above(x, results["upper"])
        held = _above(strict[0], results["lower"]), _below(strict[1], results["upper"])
        results |= conformal(plan, given, passed, held)
        results |= _usual_values(plan, given, x, outlier, passed, strict)
    if "season" in given:
        results |= _season(plan, given, point.error)
    results |= _ahead(model, plan, given, changes, results["v"])
    results |= _path(model, plan, given, results)
    return results


def _miss(model: Model, plan: Plan, given: Mapping[str, Symbol]) -> dict[str, Number]:
    forecast, _, scale, _, results = _bounds(model, plan, given)
    changes = model.skip(given, forecast, OUTLIER * scale)
    results |= changes
    results["gap"] = smallest(given["gap"] + 1.0, LONGEST_GAP)
    if "season" in given:
        results["season_next"] = given["season"]
    results |= _ahead(model, plan, given, changes, given["v"])
    results |= _path(model, plan, given, results)
    return results


def conformal(
    plan: Plan, given: Mapping[str, Symbol], passed: tuple[Symbol, Symbol], held: tuple[Symbol, Symbol]
) -> dict[str, Number]:
    """A bound that was passed moves out, one that was not moves in a little: so it is passed as often as it should be.

    In the long run this holds for any bounded series, whatever its distribution. A correction ends where the bound of
    a long history would be at the forecast: a series at rest for long must not pile up what takes as long to undo. A
    bound that is held out by a usual value does not move in: where many rows have one value, that is the quantile.

    Source: Gibbs and Candès, "Adaptive conformal inference under distribution shift", NeurIPS 2021; Angelopoulos,
    Candès and Tibshirani, "Conformal PID control for time series prediction", NeurIPS 2023 (its quantile tracking).
    """
    stride = smallest(largest(EAGER / given["n"], STEP), 1.0)
    corrections: dict[str, Number] = {}
    for (name, *_), outside, out, tail in zip(USUAL_VALUES, passed, held, (plan.lower, plan.upper), strict=True):
        moved = given[name] + stride * choose(outside, 1 - tail, choose(out, 0.0, -tail))
        corrections[name] = largest(moved, NEAREST + float(special.ndtri(tail)))
    return corrections


def _usual_values(
    plan: Plan,
    given: Mapping[str, Symbol],
    x: Symbol,
    outlier: Symbol,
    passed: tuple[Symbol, Symbol],
    strict: tuple[Symbol, Symbol],
) -> dict[str, Number]:
    """How often the value that each tail remembers comes when the bound would exclude it, and which one it remembers.

    Only those rows count: a value that is frequent by night is none that is usual by day. A value that has passed the
    bound is remembered from then on; an outlier is not.
    """
    changes: dict[str, Number] = {}
    sides = zip(USUAL_VALUES, passed, strict, (_above, _below), (plan.lower, plan.upper), strict=True)
    for (_, value, share), outside, bound, excludes, tail in sides:
        kept, held = given[value], given[share]
        comes = choose(outlier, 0.0, choose(equal(x, kept), USUAL_PACE, 0.0))
        counted = choose(excludes(bound, kept), held - USUAL_PACE * held + comes, held)
        start = USUAL_START * max(tail, USUAL)
        fresh = choose(equal(x, kept), largest(counted, start), start)
        new = choose(outlier, 0.0, choose(outside, 1.0, 0.0)) > 0.5
        changes[value] = choose(new, x, kept)
        changes[share] = choose(new, fresh, counted)
    return changes


def _season(plan: Plan, given: Mapping[str, Symbol], error: Symbol) -> dict[str, Number]:
    """The place of the season moves by the error: as a mean of its points first, then by a fixed weight.

    The variance of a place, in multiples of that of a point, tells which; all places are taken for alike, each of them
    being visited once a season.
    """
    doubt = given["season_doubt"]
    weight = largest(doubt / (1.0 + doubt), plan.season_weight)
    kept = 1.0 - weight
    behind = kept * kept * doubt + weight * weight
    return {
        "season_next": given["season"] + weight * error,
        "season_doubt": doubt + given["season_pace"] * (behind - doubt),
    }


def _below(value: Symbol, bound: Number) -> Symbol:
    return value < bound


def _above(value: Symbol, bound: Number) -> Symbol:
    return value > bound


def _ahead(
    model: Model, plan: Plan, given: Mapping[str, Symbol], changes: Mapping[str, Number], v: Number
) -> dict[str, Number]:
    """The forecasts that wait move one place on, a new one comes last; the season is added when the point comes."""
    if plan.horizon == 1:
        return {}
    mean, variance = model.ahead({**given, **changes}, plan.horizon)
    results: dict[str, Number] = {}
    for step in range(1, plan.horizon):
        results[f"f{step}"], results[f"s{step}"] = given[f"f{step + 1}"], given[f"s{step + 1}"]
    wide = largest(given["v"] * 0.0 + v * variance, TINIEST)
    results[f"f{plan.horizon}"], results[f"s{plan.horizon}"] = mean, sqrt(wide)
    return results


def _path(model: Model, plan: Plan, given: Mapping[str, Symbol], results: Mapping[str, Number]) -> dict[str, Number]:
    """Forecasts of the next points, from the state behind this one."""
    state = {**given, **results}
    below, above = _distances(model, plan, state)
    path: dict[str, Number] = {}
    for step in range(1, plan.path + 1):
        mean, variance = model.ahead(state, step)
        wide = sqrt(largest(given["v"] * 0.0 + state["v"] * variance, TINIEST)) * given["unit"]
        middle = state["base"] + given["unit"] * mean
        path |= {f"ahead{step}": middle, f"under{step}": middle - wide * below, f"over{step}": middle + wide * above}
    return path


def _distances(model: Model, plan: Plan, state: Mapping[str, Any]) -> tuple[Symbol, Symbol]:
    """Standard deviations from the forecast to the bounds."""
    below, above = (look_up(table, state["n"]) for table in quantiles(plan, model.lost))
    if plan.interval == "conformal":
        below, above = below + state["low"], above + state["high"]
    return largest(below, NEAREST), largest(above, NEAREST)
