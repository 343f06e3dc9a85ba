"""One-shot adaptation of the descriptors: some steps of their training on views of the very pair that is registered."""

import copy

import torch
from torch import Tensor

from cnnreg.learning.features.describing import Describer
from cnnreg.learning.features.loss import contrastive
from cnnreg.learning.features.views import Scene, ViewConfig, ViewMaker

SIDE = 384  # pixels of the longer side, at most, as in the training
RATE, BATCH, QUERIES = 3e-4, 3, 256
AVERAGED = 0.5  # of the steps: the mean of the weights after the last ones is kept
SEED = 20180216


def adapted(describer: Describer, images: tuple[Tensor, Tensor], *, steps: int, seed: int = SEED) -> Describer:
    """Another describer, trained on; the one that is given stays as it is.

    Args:
        images: (1, C, H, W) and (1, C, h, w), intensities in [0, 1] in the first channel. Nothing is taken from how
            they may lie on each other: each is warped and re-contrasted by itself.
        steps: of AdamW.
    """
    with torch.inference_mode(False), torch.enable_grad():
        network = copy.deepcopy(describer.network).train()
        mean = copy.deepcopy(network)
        maker = ViewMaker([(1.0, [_scene(image) for image in images])], ViewConfig(), seed=seed)
        optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=1e-4)
        for step in range(steps):
            pairs = maker(BATCH, seed + step)
            descriptors, logits = network(torch.cat([pairs.first, pairs.second]))
            loss = contrastive(descriptors, logits, pairs, queries=QUERIES, seed=seed + step).loss
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            count = step - round(AVERAGED * steps) + 1
            with torch.no_grad():
                for kept, new in zip(mean.parameters(), network.parameters(), strict=True):
                    kept.lerp_(new, 1 / max(count, 1))
    return Describer(mean.eval())


def _scene(image: Tensor) -> Scene:
    """A grey image as training takes it."""
    grey = image[:, :1].clone()
    factor = min(1.0, SIDE / max(grey.shape[2:]))
    size = [max(1, round(n * factor)) for n in grey.shape[2:]]
    grey = torch.nn.functional.interpolate(grey, size=size, mode="bilinear", antialias=True, align_corners=False)
    return Scene((255 * grey[0].clamp(0, 1)).round().byte().expand(3, -1, -1).contiguous())
