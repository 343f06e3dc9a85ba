"""What iterations on a pair come to."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Refinement:
    """Fields of a batch of pairs, and how they were reached."""

    field: Tensor  # (B, 2, H, W) in pixels
    start: list[str]  # the winner of each pair: "identity", "coarse", or a name that was given
    energies: Tensor  # (N, B): the energy before each iteration, along the winner's path
    levels: list[int]  # pixels of the image per pixel of the level, by iteration
    similarity: str = ""  # as it was used, "none" where the images do not agree beyond chance
    transform: str = ""  # "dense", "bspline" or "none", as it was used
    evidence: str = ""  # why, where it was chosen for the pair
    borne_out: bool = True  # by held-out blocks; if not, it needs other evidence
