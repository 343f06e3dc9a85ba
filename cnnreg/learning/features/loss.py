"""What the descriptors are trained for: that the true place wins, and to know where it will."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from cnnreg.geometry.fields import sample
from cnnreg.learning.features.network import CELL, DescriptorNetwork
from cnnreg.learning.features.views import Pairs

TEMPERATURE = 0.07
NEAR = 8.0  # pixels: what lies nearer to the truth is neither right nor wrong
LEAST = 40  # cells in common: less is no pair
RELIABILITY = 0.2


@dataclass(frozen=True)
class Result:
    """The loss, and the share of cells whose best match is the right one."""

    loss: Tensor
    found: float


def described(queries: int) -> Callable[[DescriptorNetwork, Pairs, int], tuple[Tensor, float]]:
    """The loss of descriptors, by ``queries`` cells of each pair, for training."""

    def loss(network: DescriptorNetwork, batch: Pairs, seed: int) -> tuple[Tensor, float]:
        descriptors, logits = network(torch.cat([batch.first, batch.second]))
        result = contrastive(descriptors, logits, batch, queries=queries, seed=seed)
        return result.loss, result.found

    return loss


def contrastive(descriptors: Tensor, logits: Tensor, pairs: Pairs, *, queries: int, seed: int) -> Result:
    """Symmetric InfoNCE (van den Oord et al. 2018, arXiv:1807.03748) against all cells of the other view.

    Args:
        descriptors, logits: (2 B, D, h, w) and (2 B, 1, h, w), of the first views and of the second.
        queries: cells of each pair that are asked for.
    """
    count = len(pairs.first)
    first, second = descriptors[:count], descriptors[count:]
    there, valid = _cells(pairs)
    cells = _centres(second)
    chosen, weight = _choose(valid, queries, seed)
    target = there.flatten(2).gather(2, chosen[:, None].expand(-1, 2, -1))  # (B, 2, Q) pixels of the first view
    asked = second.flatten(2).gather(2, chosen[:, None].expand(-1, second.shape[1], -1))
    right = sample(first, ((target - (CELL - 1) / 2) / CELL)[:, :, None])[:, :, 0]
    right = F.normalize(right, dim=1)
    own = cells.flatten(1).T[chosen].transpose(1, 2)  # (B, 2, Q) pixels of the second view
    truth = (asked * right).sum(1)
    to_first, found = _cross_entropy(asked, first, truth, target, cells)
    to_second, back = _cross_entropy(right, second, truth, own, cells)
    each = (to_first + to_second) * weight
    total = weight.sum().clamp_min(1)
    mutual = (found & back).float()
    reliability = _reliability(logits, chosen, mutual, weight, valid, target)
    loss = each.sum() / total + RELIABILITY * reliability
    return Result(loss, float((found * weight).sum() / total))


def _cells(pairs: Pairs) -> tuple[Tensor, Tensor]:
    """Where each cell of the second view lies in the first (B, 2, h, w), and whether it shows there (B, 1, h, w)."""
    there = F.avg_pool2d(pairs.there, CELL)
    size = pairs.first.shape[-1]
    inside = ((there > 0) & (there < size - 1)).all(1, keepdim=True)
    seen = sample(pairs.first_mask.float(), there) > 0.5
    whole = F.avg_pool2d(pairs.second_mask.float(), CELL) > 0.99
    return there, inside & seen & whole


def _centres(descriptors: Tensor) -> Tensor:
    """(2, h, w) of pixels."""
    axes = [torch.arange(n) * CELL + (CELL - 1) / 2 for n in descriptors.shape[2:]]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))


def _choose(valid: Tensor, queries: int, seed: int) -> tuple[Tensor, Tensor]:
    """Numbers (B, Q) of random valid cells, and 1 where there were enough of them."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.rand(valid.flatten(1).shape, generator=generator)
    values, chosen = noise.masked_fill(~valid.flatten(1), -1).topk(queries, dim=1)
    weight = (values >= 0).float()
    return chosen, weight * (weight.sum(1, keepdim=True) >= LEAST)


def _cross_entropy(asked: Tensor, others: Tensor, truth: Tensor, at: Tensor, cells: Tensor) -> tuple[Tensor, Tensor]:
    """-log of the share of the truth among it and all cells that are not near it; and whether it is the largest."""
    alike = asked.transpose(1, 2) @ others.flatten(2)  # (B, Q, h w)
    near = torch.cdist(at.transpose(1, 2), cells.flatten(1).T[None].expand(len(at), -1, -1)) < NEAR
    wrong = alike.masked_fill(near, -1e4)
    all_of_them = torch.cat([truth[:, :, None], wrong], 2) / TEMPERATURE
    return torch.logsumexp(all_of_them, 2) - truth / TEMPERATURE, truth.detach() > wrong.detach().amax(2)


def _reliability(
    logits: Tensor, chosen: Tensor, mutual: Tensor, weight: Tensor, valid: Tensor, target: Tensor
) -> Tensor:
    """Cross entropy of "will be found": both ends of a query, and cells that show nothing the other view has."""
    count = len(chosen)
    second = logits[count:].flatten(1)
    first = sample(logits[:count], ((target - (CELL - 1) / 2) / CELL)[:, :, None])[:, 0, 0]
    asked = torch.cat([first, second.gather(1, chosen)])
    known = F.binary_cross_entropy_with_logits(asked, mutual.repeat(2, 1), reduction="none")
    known = (known * weight.repeat(2, 1)).sum() / weight.sum().clamp_min(1) / 2
    lost = (~valid.flatten(1)).float()
    unknown = F.binary_cross_entropy_with_logits(second, torch.zeros_like(second), reduction="none")
    return known + 0.3 * (unknown * lost).sum() / lost.sum().clamp_min(1)
