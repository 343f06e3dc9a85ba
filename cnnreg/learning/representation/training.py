"""Training of the representation without labels: two contrasts of one scene, slightly bent."""

import torch
from torch import Tensor

from cnnreg.learning.features.views import Pairs, ViewConfig
from cnnreg.learning.representation.loss import peaked
from cnnreg.learning.representation.network import RepresentationNetwork

VIEWS = ViewConfig(
    size=96, turn=3.0, zoom=0.05, stretch=0.03, shear=0.03, shift=1.5, bend=4.0, near=0.2, alike=0.3
)  # about as far apart as initial transforms leave images


def peak_loss(network: RepresentationNetwork, batch: Pairs, seed: int) -> tuple[Tensor, float]:
    """The loss of a batch, and the share of places that win."""
    first, second = network(torch.cat([batch.first, batch.second])).chunk(2)
    return peaked(first, second, batch, network.sharpness, seed)
