"""What the representation is trained for: that agreement peaks at the true place."""

import random

import torch
import torch.nn.functional as F
from torch import Tensor

from cnnreg.geometry.fields import sample
from cnnreg.learning.features.views import Pairs

REACH = 4  # pixels, of the places that compete with the true one
WINDOW = 7  # pixels: agreement is the mean over it
APART = 3  # pixels between the places that are asked for
HOPELESS = 0.3  # of the places, about: what one contrast shows there, the other does not


NEAR = [(y, x) for y in (0, -1, 1) for x in (0, -1, 1)]  # the true place first, then its neighbours
SIDE = range(-REACH, REACH + 1)
FAR = [(y, x) for y in SIDE for x in SIDE if max(abs(y), abs(x)) > 1]
ASKED = 12  # of those farther off, others at each step


def peaked(first: Tensor, second: Tensor, pairs: Pairs, sharpness: Tensor, seed: int) -> tuple[Tensor, float]:
    """Cross entropy of the true place among its neighbours, and the share of places where it wins.

    Some places have nothing in common in both contrasts; a probability that is mixed with chance keeps these from
    forbidding all certainty.

    Args:
        first, second: representations (B, D, N, N) of the views of ``pairs``.
        sharpness: logarithm of the factor from agreement to logits.
        seed: of the places that compete besides the nearest ones.
    """
    size = second.shape[-1]
    laid = sample(first, pairs.there)
    inside = ((pairs.there >= 0) & (pairs.there <= size - 1)).all(1, keepdim=True)
    valid = inside & (sample(pairs.first_mask.float(), pairs.there) > 0.99) & pairs.second_mask
    weight = (_means(valid.float()) > 0.99).float()[:, 0]
    around = F.pad(second, (REACH,) * 4, mode="replicate")
    places = NEAR + random.Random(seed).sample(FAR, ASKED)
    shifted = (around[..., REACH + y : REACH + y + size, REACH + x : REACH + x + size] for y, x in places)
    agreement = _means(torch.stack([(laid * other).sum(1) for other in shifted], 1))
    probability = (agreement * sharpness.exp()).softmax(1)[:, 0]
    each = -((1 - HOPELESS) * probability + HOPELESS / len(places)).log()
    total = weight.sum().clamp_min(1)
    wins = agreement.detach().argmax(1) == 0
    return (each * weight).sum() / total, float((wins * weight).sum() / total)


def _means(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, WINDOW, APART)
