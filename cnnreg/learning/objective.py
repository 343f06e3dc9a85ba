"""The energy of a registration: equation (1) of Ferrante et al. 2018 (arXiv:1802.05984), and its variants."""

from torch import Tensor

from cnnreg.config import LossConfig
from cnnreg.similarity.descriptors import mind
from cnnreg.similarity.differentiable import Climb, local_ncc, ncc
from cnnreg.similarity.measures import MutualInformation, Squares
from cnnreg.similarity.regularity import diffusion, norm_per_pixel, total_variation


def energy(fixed: Tensor, warped: Tensor, field: Tensor, config: LossConfig) -> dict[str, Tensor]:
    """``-similarity(M o D, F) + tv TV(D) + l2 ||D|| / n``, term by term.

    Args:
        fixed, warped: (B, 1, H, W), intensities in [0, 1].
        field: (B, 2, H, W) in pixels.

    Returns:
        The weighted terms of non-zero weight and their sum ``total``, each (B,); to be minimised.
    """
    terms = {config.similarity: -similarity(fixed, warped, config)}
    penalties = {
        "tv": (config.tv, total_variation),
        "l2": (config.l2, norm_per_pixel),
        "diffusion": (config.diffusion, diffusion),
    }
    terms |= {name: weight * penalty(field) for name, (weight, penalty) in penalties.items() if weight}
    return {"total": sum(terms.values()), **terms}  # type: ignore[dict-item]


def similarity(fixed: Tensor, warped: Tensor, config: LossConfig) -> Tensor:
    """What ``config.similarity`` names, (B,), 1 at most; see :func:`energy`."""
    match config.similarity:
        case "lncc":
            return local_ncc(fixed, warped, window=config.window)
        case "mse":
            return Climb.apply(warped, Squares(fixed))  # type: ignore[no-untyped-call]
        case "mi":
            return Climb.apply(warped, MutualInformation(fixed, (0.0, 1.0)))  # type: ignore[no-untyped-call]
        case "mind":
            return Climb.apply(mind(warped), Squares(mind(fixed)))  # type: ignore[no-untyped-call]
    return ncc(fixed, warped)
