"""A trained representation, as the iterations on the field use it."""

from functools import lru_cache

import torch
from torch import Tensor

from cnnreg.learning.modelcards import load_representation
from cnnreg.learning.modelplaces import find
from cnnreg.learning.representation.network import RepresentationNetwork


class Representer:
    """Images (B, 1, H, W) to unit vectors (B, D, H, W), without a graph."""

    def __init__(self, network: RepresentationNetwork) -> None:
        self.network = network

    def __call__(self, images: Tensor) -> Tensor:
        with torch.inference_mode():
            found: Tensor = self.network.to(images.device)(images)
        return found


@lru_cache(maxsize=2)
def load_representer(name: str) -> Representer:
    """By the name or the folder of a model; kept, for the next pair is represented by the same.

    Raises:
        ModelError: it is damaged, or a model of another kind.
        UsageError: there is none of this name.
    """
    return Representer(load_representation(find(name)))
