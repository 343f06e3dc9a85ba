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
CHANCE, LITTLE = 0.1, 60  # share of the matches that chance may put in place; and matches that are little to go by
RIVALLED, CLEAR = 0.4, 0.6  # another place has so much of the evidence, and so few matches agree: either may be right
PATCHY, UNSTEADY, MOVES = 0.45, 1.5, 0.7  # share of the image; per cent of the diagonal: what is worth a sentence


@dataclass(frozen=True)
class Verdict:
    """What is to be thought of a registration."""

    name: str  # "good", "check" or "failed"
    probability: float  # that the median error is below one per cent of the diagonal
    reasons: tuple[str, ...]  # sentences
    evidence: Evidence
    confidence: NDArray[np.float32]  # (2, h, w) over the fixed image: the same probability in a place, and how much
    # evidence there is, 0 to 1


def assess(comparison: Comparison, field: NDArray[np.float32], *, rival: float = 0.0) -> Verdict:
    """What is to be thought of the images as a field (2, H, W) lays them onto each other.

    ``rival`` is what speaks for the best other place, as a share of what speaks for this one.
    """
    agreement, evidence = comparison.judged(field)
    return verdict_on(evidence, confidence_map(agreement, agreement.support(agreement.left(field))), rival=rival)


def verdict_on(evidence: Evidence, confidence: NDArray[np.float32], *, rival: float = 0.0) -> Verdict:
    """The class by the probability, and the sentences."""
    probability, torn = chance_of(evidence), rival > RIVALLED and evidence.share < CLEAR
    if torn:  # of places that are as good as each other only one can be right
        probability = min(probability, 1 / (1 + rival))
    name = "good" if probability >= GOOD else "failed" if probability < FAILED else "check"
    reasons = _reasons(name, evidence)
    if torn:
        reasons = (
            *reasons,
            f"another place has {min(rival, 1):.0%} of the evidence for this one, as of things that repeat",
        )
    return Verdict(name, probability, reasons, evidence, confidence)


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
    """What speaks for the verdict, the strongest first."""
    count, share, percent = evidence.matches, evidence.share, evidence.diagonal / 100
    if count < FEW:
        return (f"the images have only {count} details that could be compared",)
    usual = "" if name == "good" else ", about as many as by chance" if share < CHANCE else "; it should be more"
    reasons = [f"{share:.0%} of {count} details that look alike in both images lie in the same place{usual}"]
    if share < CHANCE:
        return tuple(reasons)
    if evidence.residual > MOVES * percent:
        reasons.append(f"by these details, the result is still off by about {evidence.residual:.0f} pixels")
    if evidence.coverage < PATCHY:
        reasons.append(f"they support {evidence.coverage:.0%} of the image; elsewhere nothing is certain")
    if name != "good" and evidence.inconsistency > UNSTEADY * percent:
        reasons.append(f"what the halves of the image tell differs by {evidence.inconsistency:.0f} pixels")
    return tuple(reasons)


def advice(verdict: Verdict) -> str:
    """What to do next; nothing where all is well."""
    evidence = verdict.evidence
    if verdict.name == "good":
        return ""
    if evidence.matches < LITTLE:
        return (
            "crop both images to what they have in common, or give masks of it (--fixed-mask, --moving-mask); or place "
            "the moving image yourself (--init FILE)"
        )
    if evidence.share < CHANCE:
        return (
            "make sure that both images show the same thing; then mark some landmarks in both (--points-fixed, "
            "--points-moving, --landmark-weight 1) or place the moving image yourself (--init FILE)"
        )
    if evidence.coverage < PATCHY:
        return (
            "in the picture, rely on what is blue in the map of confidence; mark landmarks where it is not "
            "(--points-fixed, --points-moving, --landmark-weight 1), or mask it (--fixed-mask)"
        )
    marks = "mark some landmarks in both images (--points-fixed, --points-moving, --landmark-weight 1)"
    if evidence.residual > MOVES * evidence.diagonal / 100:
        return f"search for a better initial transform (--init affine), or {marks}"
    return f"look at the picture: is what is blue in the map of confidence enough for you? If not, {marks}"
