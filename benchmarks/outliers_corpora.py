"""``DETECT_OUTLIERS`` on many kinds of made data, beside baselines: what is found at a budget, and the quiet rate.

::

    python -m benchmarks.outliers_corpora [--seeds 21,22,23] [--json FILE]

*Payments*: those of :mod:`benchmarks.outliers`, and of cards with other habits: more shops, now and then one that is
never seen again, a morning and an evening, wider amounts; each with amounts as they are, too. *Streams*: 40 series of
700 points, whose fields are correlated normal values, each turned into another distribution; six anomalies in each
series: one field at 4 to 6 standard deviations (*one*), all together at a distance of 4.5 to 6.5 (*all*), and values
that are usual alone but against the correlations (*broken*; of independent fields nobody can find them). Each series
has units of its own.

Beside it: the largest z of the fields by series, and isolation forests of scikit-learn fitted anew every day (or 50
points), to the fields or to their z. All are causal. Seeds 11 to 13 were developed on, 21 to 23 held out.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special
from sklearn.ensemble import IsolationForest

from anomaly_app.detectors import check_options
from anomaly_app.multivariate.functions import DETECT_OUTLIERS
from benchmarks import outliers as cards

Floats = NDArray[np.float64]

SERIES, ROWS, FIRST, ANOMALIES = 40, 700, 200, 6
"""Of a stream: series, points of each, the point after which alarms count, and anomalies of each."""
STEP_MS = 600_000


class Corpus(NamedTuple):
    """Points of all series in time order.

    ``fields`` are what the baselines see of ``points``; ``number`` is of the anomaly (-1 for none), ``kinds`` names
    them; alarms count where ``counted``; a forest is fitted anew for each ``batch``.
    """

    series: NDArray[np.int64]
    time: NDArray[np.int64]
    points: Floats
    fields: Floats
    number: NDArray[np.int64]
    kinds: list[str]
    counted: NDArray[np.bool_]
    batch: NDArray[np.int64]
    names: list[str]
    options: dict[str, Any]


MARGINS: dict[str, Callable[[Floats], Floats]] = {
    "normal": lambda g: g,
    "t(3)": lambda g: np.asarray(special.stdtrit(3, special.ndtr(g))),
    "lognormal": lambda g: np.exp(g),
    # Poisson of mean 3: the number of the share.
    "counts": lambda g: np.sum(special.ndtr(g)[:, None] > special.pdtr(np.arange(60), 3.0), axis=1).astype(float),
    "mostly 0": lambda g: np.where(g > 1.4, np.exp(0.7 * (g - 1.4)), 0.0),
    "two modes": lambda g: g + 4 * np.sign(g) * (np.abs(g) > 0.3),
}
"""Distributions of a field, from normal values."""


def streams(margins: list[str], correlation: tuple[float, float], seed: int, tails: int = 0) -> Corpus:
    """Series with one common factor.

    Args:
        margins: of each field, of :data:`MARGINS`.
        correlation: the range of the shares of a field's variance that the factor has.
        seed: of the random numbers.
        tails: degrees of freedom, if points are those of a multivariate t.

    Example:
        >>> made = streams(["normal", "counts"], (0.5, 0.5), 1)
        >>> made.points.shape, len(made.kinds), bool((np.diff(made.time) >= 0).all())
        ((28000, 2), 240, True)
    """
    random, d = np.random.default_rng(seed), len(margins)
    points, number = np.zeros((ROWS, SERIES, d)), np.full((ROWS, SERIES), -1)
    kinds: list[str] = []
    for series in range(SERIES):
        sign = random.choice([-1, 1], d)
        load = np.sqrt(random.uniform(*correlation, d)) * sign
        covariance = np.outer(load, load)
        np.fill_diagonal(covariance, 1.0)
        factor = np.linalg.cholesky(covariance)
        g = random.normal(size=(ROWS, d)) @ factor.T
        for place, row in enumerate(random.choice(np.arange(FIRST + 10, ROWS), ANOMALIES, replace=False).tolist()):
            kind = ("one", "all", "broken")[place % 3]
            if kind == "one":
                g[row, random.integers(d)] = random.choice([-1, 1]) * random.uniform(4, 6)
            elif kind == "all":
                way = random.normal(size=d)
                g[row] = (random.uniform(4.5, 6.5) * way / np.linalg.norm(way)) @ factor.T
            else:
                against = random.permutation(np.where(np.arange(d) % 2, 1, -1))
                g[row] = np.clip(np.abs(random.normal(size=d)), 0.7, 2.0) * sign * against
            number[row, series] = len(kinds)
            kinds.append(kind)
        if tails:
            g /= np.sqrt(random.chisquare(tails, ROWS) / tails)[:, None]
        units = np.exp(random.normal(0, 1, d))
        for field, margin in enumerate(margins):
            points[:, series, field] = units[field] * MARGINS[margin](g[:, field])
    rows = np.repeat(np.arange(ROWS), SERIES)
    flat = points.reshape(-1, d)
    return Corpus(
        np.tile(np.arange(SERIES), ROWS),
        cards.START_MS + rows * STEP_MS,
        flat,
        flat,
        number.ravel(),
        kinds,
        rows >= FIRST,
        rows // 50,
        [f"f{field}" for field in range(d)],
        {},
    )


def other_cards(count: int, seed: int) -> cards.Payments:
    """Cards with other habits: 3 to 10 shops, one payment in 33 at a shop never seen, a morning and an evening."""
    random = np.random.default_rng(seed)
    rows: list[tuple[int, float, float, int, int]] = []
    kinds: list[str] = []
    known = 200
    for card in range(count):
        many = int(random.integers(3, 11))
        shops = random.choice(known, many, replace=False)
        usual = np.sort(random.lognormal(3, 1.0, many))
        share = random.dirichlet(np.full(many, 1.5))
        morning, evening = random.uniform(7, 11), random.uniform(16, 21)
        width, late, pace = random.uniform(0.5, 1.5), random.uniform(0.3, 1), random.uniform(4, 8)

        def hour(morning: float = morning, evening: float = evening, width: float = width, late: float = late) -> float:
            return float(random.normal(morning if random.random() > late else evening, width) % 24)

        def pay(day: float, at: float, shop: int, number: int, amount: float, card: int = card) -> None:
            rows.append((card, day + at / 24, amount, shop, number))

        for day in range(cards.DAYS):
            for place in random.choice(many, random.poisson(pace), p=share):
                shop = int(shops[place]) if random.random() > 0.03 else int(random.integers(known))
                pay(day, hour(), shop, -1, float(usual[place] * random.lognormal(0, 0.6)))
        for kind in cards.KINDS:
            day, number, place = int(random.integers(cards.FIRST + 1, cards.DAYS - 1)), len(kinds), 0
            place, at = int(random.integers(many)), hour()
            kinds.append(kind)
            if kind == "amount":
                pay(day, at, int(shops[place]), number, float(usual[-1] * random.uniform(10, 30)))
            elif kind == "hour":
                pay(day, float(random.normal(3, 0.7) % 24), int(shops[place]), number, float(usual[place]))
            elif kind == "shop":
                pay(day, at, int(random.integers(known, 2 * known)), number, float(usual[place]))
            elif kind == "pair":
                pay(day, at, int(shops[0]), number, float(usual[-1]))
            else:
                for step in range(6):
                    pay(day, at + step / 30, int(shops[place]), number, float(usual[place] * random.lognormal(0, 0.25)))
    return cards.in_order(rows, kinds)


def of_cards(payments: cards.Payments, logarithm: bool) -> Corpus:
    """Payments as a corpus, with the amount as it is or its logarithm."""
    amount = np.log(payments.amount) if logarithm else payments.amount
    fields = cards.features(payments)
    fields[:, 0] = amount
    return Corpus(
        payments.card,
        payments.time,
        np.stack([amount, payments.shop.astype(float)], axis=1),
        fields,
        payments.fraud,
        payments.kinds,
        payments.time >= cards.START_MS + cards.FIRST * cards.DAY_MS,
        (payments.time - cards.START_MS) // cards.DAY_MS,
        ["amount", "shop"],
        cards.OPTIONS,
    )


_MIXED = ["normal", "t(3)", "lognormal", "counts", "mostly 0", "two modes"]
CORPORA: dict[str, Callable[[int], Corpus]] = {
    "payments": lambda seed: of_cards(cards.make(60, seed), True),
    "payments, plain amounts": lambda seed: of_cards(cards.make(60, seed), False),
    "payments, other habits": lambda seed: of_cards(other_cards(60, seed), True),
    "the same, plain amounts": lambda seed: of_cards(other_cards(60, seed), False),
    "normal, 3 fields": lambda seed: streams(["normal"] * 3, (0, 0), seed),
    "normal, 5": lambda seed: streams(["normal"] * 5, (0, 0), seed),
    "normal, 10": lambda seed: streams(["normal"] * 10, (0, 0), seed),
    "correlated normal, 3": lambda seed: streams(["normal"] * 3, (0.8, 0.8), seed),
    "correlated normal, 5": lambda seed: streams(["normal"] * 5, (0.4, 0.95), seed),
    "t(3), 5": lambda seed: streams(["t(3)"] * 5, (0, 0), seed),
    "correlated t(3), 5": lambda seed: streams(["t(3)"] * 5, (0.4, 0.95), seed),
    "multivariate t(3), 5": lambda seed: streams(["normal"] * 5, (0.4, 0.95), seed, tails=3),
    "the same, uncorrelated, 3": lambda seed: streams(["normal"] * 3, (0, 0), seed, tails=3),
    "lognormal, 4": lambda seed: streams(["lognormal"] * 4, (0, 0), seed),
    "correlated lognormal, 4": lambda seed: streams(["lognormal"] * 4, (0.4, 0.95), seed),
    "two of 4 mostly 0": lambda seed: streams(["mostly 0", "normal", "normal", "mostly 0"], (0.3, 0.3), seed),
    "three of 4 counts": lambda seed: streams(["counts", "counts", "normal", "counts"], (0.5, 0.5), seed),
    "two of 4 with modes": lambda seed: streams(["two modes", "normal", "two modes", "lognormal"], (0.3, 0.3), seed),
    "one of each kind, 6": lambda seed: streams(_MIXED, (0.5, 0.5), seed),
}
"""Each kind of data, from a seed."""


def z_scores(corpus: Corpus) -> Floats:
    """Each field's distance from the mean of its series so far, in standard deviations."""
    z = np.zeros(corpus.fields.shape)
    for series in np.unique(corpus.series):
        own = np.flatnonzero(corpus.series == series)
        fields, count = corpus.fields[own], np.arange(1, len(own) + 1)[:, None]
        mean = np.cumsum(fields, axis=0) / count
        deviation = np.sqrt(np.maximum(np.cumsum(fields**2, axis=0) / count - mean**2, 1e-9))
        z[own[1:]] = (fields[1:] - mean[:-1]) / deviation[:-1]
    return z


def forest(corpus: Corpus, fields: Floats) -> Floats:
    """An isolation forest that is fitted anew for each batch to all before it."""
    scores = np.zeros(len(fields))
    for batch in np.unique(corpus.batch[corpus.counted]):
        now = corpus.batch == batch
        model = IsolationForest(n_estimators=50, max_samples=256, random_state=1).fit(fields[corpus.batch < batch])
        scores[now] = -model.score_samples(fields[now])
    return scores


def ours(corpus: Corpus, method: str) -> tuple[Floats, Floats, float]:
    """Scores, scores over thresholds, and false alarms in 10,000 points behind the training."""
    given = {**corpus.options, "method": method}
    if method == "trees":
        given["maxTrainingSize"] = 128
    detector = DETECT_OUTLIERS.create(check_options(DETECT_OUTLIERS, given), corpus.names)
    detector.grow(int(corpus.series.max()) + 1)
    told = detector.update(corpus.series, corpus.time, corpus.points)
    scores = np.array([0.0 if value[1] is None else value[1] for value in told.values()])
    ratio = np.array([np.nan if score is None else score for score in told.scores()])
    usual = ~np.isnan(ratio) & (corpus.number < 0)
    return scores, np.nan_to_num(ratio), 10_000 * float(np.mean(ratio[usual] > 1))


def found(corpus: Corpus, scores: Floats, budget: float) -> int:
    """Anomalies that have an alarm, at so many alarms in 1000 points, one threshold for all series."""
    ranked = np.argsort(np.where(corpus.counted, -scores, np.inf), kind="stable")
    hits = corpus.number[ranked[: int(budget * corpus.counted.sum() / 1000)]]
    return len(np.unique(hits[hits >= 0]))


def compare(corpus: Corpus) -> tuple[dict[str, list[int]], dict[str, float]]:
    """What each method finds at each budget, and the quiet rates of ours."""
    z = z_scores(corpus)
    scored = {
        "largest z": np.abs(z).max(axis=1),
        "forest": forest(corpus, corpus.fields),
        "forest of z": forest(corpus, np.clip(z, -50, 50)),
    }
    quiet: dict[str, float] = {}
    for method in ("mahalanobis", "trees", "combined"):
        score, ratio, quiet[method] = ours(corpus, method)
        scored[method] = ratio
        if method == "combined":
            scored["combined, by score"] = score
    return {name: [found(corpus, scores, budget) for budget in cards.BUDGETS] for name, scores in scored.items()}, quiet


def main() -> None:
    """Make the corpora and print what is found, the mean over the seeds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="21,22,23")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    arguments = parser.parse_args()
    seeds = [int(seed) for seed in arguments.seeds.split(",")]
    figures: dict[str, Any] = {}
    for name, make in CORPORA.items():
        results = [compare(make(seed)) for seed in seeds]
        means = {kind: np.mean([hits[kind] for hits, _ in results], axis=0).tolist() for kind in results[0][0]}
        quiet = {kind: float(np.mean([rates[kind] for _, rates in results])) for kind in results[0][1]}
        figures[name] = {"found": means, "quiet": quiet}
        cells = " | ".join(f"{kind} {' / '.join(f'{hits:.0f}' for hits in of)}" for kind, of in means.items())
        print(f"{name}: {cells} | false in 10,000: {', '.join(f'{k} {v:.0f}' for k, v in quiet.items())}", flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
