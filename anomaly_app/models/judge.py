"""How good the answers of a model are: numbers of ML_EVALUATE.

Source: the definitions of Fawcett, An introduction to ROC analysis (2006), and of any text on regression.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

CLASSES = ("accuracy", "precision", "recall", "f1", "auc")
"""Of a classification."""
NUMBERS = ("rmse", "mae", "r2")
"""Of a regression."""


def classification(
    labels: Sequence[Any], predicted: Sequence[Any], scores: Sequence[float] | None
) -> tuple[float | None, ...]:
    """Accuracy, precision, recall, F1 and AUC.

    Of two classes precision and recall are about the greater label; of several they are means over the classes, and
    there is no AUC.

    Args:
        labels: what is true.
        predicted: what the model says, in the same form.
        scores: how much it thinks of the greater label; None if it does not say.

    Example:
        >>> classification([0, 0, 1, 1], [0, 1, 1, 1], [0.1, 0.6, 0.5, 0.9])
        (0.75, 0.6666666666666666, 1.0, 0.8, 0.75)
    """
    if not labels:
        return (None,) * len(CLASSES)
    right = sum(label == guess for label, guess in zip(labels, predicted, strict=True))
    classes = sorted({*labels, *predicted}, key=lambda one: (str(type(one)), one))
    judged = classes[-1:] if len(classes) <= 2 else classes
    true, said = Counter(labels), Counter(predicted)
    hits = Counter(label for label, guess in zip(labels, predicted, strict=True) if label == guess)
    precisions = [hits[one] / said[one] if said[one] else 0.0 for one in judged]
    recalls = [hits[one] / true[one] if true[one] else 0.0 for one in judged]
    f1s = [2 * p * r / (p + r) if p + r else 0.0 for p, r in zip(precisions, recalls, strict=True)]
    auc = None
    if scores is not None and len(classes) == 2:
        auc = area_under_curve([label == classes[-1] for label in labels], scores)
    count = len(judged)
    return right / len(labels), sum(precisions) / count, sum(recalls) / count, sum(f1s) / count, auc


def area_under_curve(positives: Sequence[bool], scores: Sequence[float]) -> float | None:
    """The area under the ROC curve: how often a positive is above a negative; None if there are none of one kind.

    Example:
        >>> area_under_curve([True, False, True], [0.9, 0.5, 0.5])
        0.75
    """
    positive = np.asarray(positives, dtype=bool)
    count = int(positive.sum())
    others = len(positive) - count
    if not count or not others:
        return None
    _, places, sizes = np.unique(np.asarray(scores, dtype=float), return_inverse=True, return_counts=True)
    ranks = (np.cumsum(sizes) - (sizes - 1) / 2)[places]
    return float((ranks[positive].sum() - count * (count + 1) / 2) / (count * others))


def regression(labels: Sequence[float], predicted: Sequence[float]) -> tuple[float | None, ...]:
    """Root mean square error, mean absolute error, and the share of the variance that is explained.

    Example:
        >>> regression([1.0, 2.0, 3.0], [1.0, 2.0, 5.0])
        (1.1547005383792515, 0.6666666666666666, -1.0)
    """
    if not labels:
        return (None,) * len(NUMBERS)
    errors = [guess - label for label, guess in zip(labels, predicted, strict=True)]
    squares = math.fsum(error * error for error in errors)
    mean = math.fsum(labels) / len(labels)
    spread = math.fsum((label - mean) ** 2 for label in labels)
    absolute = math.fsum(map(abs, errors)) / len(errors)
    return math.sqrt(squares / len(errors)), absolute, 1 - squares / spread if spread else None
