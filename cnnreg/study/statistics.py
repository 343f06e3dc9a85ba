"""Paired comparisons: bootstrap intervals over patients, Wilcoxon's signed rank test, Holm's correction."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

DRAWS = 4000


def interval(values: NDArray[np.float64], groups: Sequence[str], *, confidence: float = 0.95) -> tuple[float, float]:
    """Bootstrap interval of the mean; whole groups (patients) are drawn, since their pairs are not independent."""
    names, member = np.unique(np.asarray(groups), return_inverse=True)
    sums, counts = (np.bincount(member, weights, len(names)) for weights in (values, None))
    draws = np.random.default_rng(0).integers(0, len(names), (DRAWS, len(names)))
    means = sums[draws].sum(1) / counts[draws].sum(1)
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def signed_rank(differences: NDArray[np.float64]) -> float:
    """Two-sided p of Wilcoxon's signed rank test (doi:10.2307/3001968); 1 where nothing differs."""
    from scipy.stats import wilcoxon

    if len(differences) == 0 or not differences.any():
        return 1.0
    return float(wilcoxon(differences).pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """p values adjusted for their number, step down (Holm 1979, jstor:4615733)."""
    order = np.argsort(p_values, kind="stable")
    adjusted = np.empty(len(p_values))
    highest = 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min((len(order) - rank) * p_values[index], 1.0))
        adjusted[index] = highest
    return adjusted.tolist()
