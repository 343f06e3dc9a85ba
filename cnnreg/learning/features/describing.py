"""A trained network that describes images, for the search for the initial transform."""

from functools import lru_cache

import torch
from torch import Tensor

from cnnreg.learning.features.network import DescriptorNetwork
from cnnreg.learning.modelcards import load_descriptors
from cnnreg.learning.modelplaces import find


class Describer:
    """Images (B, 1, H, W) to descriptors (B, D, h, w) of cells of four pixels, and logits of their reliability."""

    def __init__(self, network: DescriptorNetwork) -> None:
        self.network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # a sixth quicker

    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor]:
        with torch.inference_mode():
            descriptors, logits = self.network(images.contiguous(memory_format=torch.channels_last))
        return descriptors, logits


@lru_cache(maxsize=2)
def load_features(name: str) -> Describer:
    """By the name or the folder of a model; kept, for the next pair is described by the same.

    Raises:
        ModelError: it is damaged, or a model of another kind.
        UsageError: there is none of this name.
    """
    return Describer(load_descriptors(find(name)))
