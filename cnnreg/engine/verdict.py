"""Whether a registration went well: the probability that evidence gives it, why, and where.

The probability that the median error is below one per cent of the diagonal is a logistic function of the evidence, and
that the error is below it in one place, one of the matches round about; both fitted by ``benchmarks/verdict.py``.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cnnreg.engine.evidence import Agreement, Array, Comparison, Evidence

WEIGHTS = (0.03, 5.39, 3.11)  # of 1, and of the logarithms of the odds of the share and of the coverage
LOCAL = (0.65, 1.85)  # of 1, and of the logarithm of the odds of the share of matches round about
GOOD, FAILED = 0.8, 0.25  # probabilities: from here on good; below, failed
FEW = 12  # matches: fewer are no evidence
CELLS = 24  # of the map of confidence along the longer side
AROUND = 0.05  # of the longer side: deviation of the Gaussian by which matches count for a place
TAKEN = 2.0  # matches of the whole image that count everywhere
SURE = 4.0  # matches: where there are so many, the evidence is 1/2
PATCHY, UNSTEADY, MOVES = 0.4, 1.5, 0.7  # share of the image; per cent of the diagonal: what is worth a sentence


@dataclass(frozen=True)
class Verdict:
    """What is to be thought of a registration."""

    name: str  # "good", "check" or "failed"
    probability: float  # that the median error is below one per cent of the diagonal
    reasons: tuple[str, ...]  # sentences
    evidence: Evidence
    confidence: NDArray[np.float32]  # (2, h, w) over the fixed image: the same probability in a place, and how much
    # evidence there is, 0 to 1


def assess(comparison: Comparison, field: NDArray[np.float32]) -> Verdict:
    """What is to be thought of the images as a field (2, H, W) lays them onto each other."""
    agreement, evidence = comparison.judged(field)
    probability = chance_of(evidence)
    name = "good" if probability >= GOOD else "failed" if probability < FAILED else "check"
    confidence = confidence_map(agreement, agreement.support(agreement.left(field)))
    return Verdict(name, probability, _reasons(name, evidence), evidence, confidence)


def terms(evidence: Evidence) -> tuple[float, ...]:
    """What the probability is a logistic function of."""
    return 1.0, _odds(evidence.share), _odds(evidence.coverage)


def chance_of(evidence: Evidence) -> float:
    """The probability that the median error is below one per cent of the diagonal."""
    if evidence.matches < FEW:
        return 0.0
    return _logistic(sum(weight * term for weight, term in zip(WEIGHTS, terms(evidence), strict=True)))


def _odds(share: float) -> float:
    share = min(max(share, 0.01), 0.98)
    return math.log(share / (1 - share))


def _logistic(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def confidence_map(agreement: Agreement, values: Array) -> NDArray[np.float32]:
    """(2, h, w): the probability that the error in a place is below one per cent of the diagonal, and the evidence.

    ``values`` (N,) is the support of each match.
    """
    size = agreement.size
    shape = [max(1, round(n / max(size) * CELLS)) for n in size]
    near = [
        np.exp(-((((np.arange(n)[:, None] + 0.5) * side / n - 0.5 - places) / (AROUND * max(size))) ** 2) / 2)
        for n, side, places in zip(shape, size, agreement.places.T, strict=True)
    ]
    count, agreeing = near[0] @ near[1].T, (near[0] * values) @ near[1].T
    share = (agreeing + TAKEN * values.sum() / max(len(values), 1)) / (count + TAKEN)
    odds = np.log(share.clip(0.01, 0.98) / (1 - share.clip(0.01, 0.98)))
    return np.stack([1 / (1 + np.exp(-LOCAL[0] - LOCAL[1] * odds)), count / (count + SURE)]).astype(np.float32)


def _reasons(name: str, evidence: Evidence) -> tuple[str, ...]:
    count, percent = evidence.matches, evidence.diagonal / 100
    if count < FEW:
        return (f"the images have only {count} details that could be compared",)
    told = f"{evidence.share:.0%} of {count} details that look alike in both images lie in the same place"
    usual = {"good": "", "check": "; of good registrations, more do", "failed": ", about as many as by chance"}
    reasons = [told + usual[name]]
    if name != "failed" and evidence.residual > MOVES * percent:
        reasons.append(f"these details still lie {evidence.residual:.1f} pixels apart (median)")
    if name != "failed" and evidence.coverage < PATCHY:
        reasons.append(f"they support only {evidence.coverage:.0%} of the image; elsewhere nothing can be said")
    if name == "check" and evidence.inconsistency > UNSTEADY * percent:
        reasons.append(f"two halves of the image tell transforms that differ by {evidence.inconsistency:.1f} pixels")
    return tuple(reasons)
