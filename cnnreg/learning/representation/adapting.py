"""One-shot adaptation of the representation: some steps of its own loss on the two images of the pair."""

import copy

import torch
from torch import Tensor

from cnnreg.geometry.resampling import shrink
from cnnreg.learning.features.views import Scene, ViewMaker
from cnnreg.learning.representation.network import RepresentationNetwork
from cnnreg.learning.representation.training import VIEWS, peak_loss

SIDE = 384  # pixels: views need no more, and are made of every scene anew
BATCH = 2


def adapt_representation(
    network: RepresentationNetwork, images: tuple[Tensor, Tensor], *, steps: int, rate: float, seed: int
) -> RepresentationNetwork:
    """A copy of ``network`` after ``steps`` of Adam at ``rate`` on views of ``images``, (1, 1, H, W) each in [0, 1].

    Nothing is asked of the one image by the other, which may lie anywhere: each is shown in two contrasts.
    """
    adapted = copy.deepcopy(network).cpu()
    scenes = [Scene((255 * shrink(image, SIDE)[0]).clamp(0, 255).byte().expand(3, -1, -1).cpu()) for image in images]
    maker = ViewMaker([(1.0, scenes)], VIEWS, seed=seed)
    optimizer = torch.optim.Adam(adapted.parameters(), lr=rate)
    with torch.inference_mode(False), torch.enable_grad():
        for step in range(steps):
            loss, _ = peak_loss(adapted, maker(BATCH, seed * 1_000_003 + step), seed + step)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(adapted.parameters(), 1.0)
            optimizer.step()
    return adapted.eval()
