"""Contrasts: what another modality might have made of the same scene. Batches (B, C, H, W) with values in [0, 1]."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from cnnreg.learning.features.chance import Chance


def to_grey(colours: Tensor, chance: Chance) -> Tensor:
    """(B, 3, H, W) to (B, 1, H, W): the luminance, a mixture of the channels, or a random function of them."""
    count = len(colours)
    weights = -chance.uniform(count, 3, low=1e-3).log()
    weights = weights / weights.sum(1, keepdim=True)
    weights[chance.some(count, 0.4)] = torch.tensor([0.3, 0.59, 0.11])
    signed = chance.some(count, 0.15)
    weights[signed] *= chance.integers(len(signed), 3, below=2) * 2.0 - 1
    grey = torch.einsum("bchw,bc->bhw", colours, weights)[:, None]
    mixed = chance.some(count, 0.15)
    if len(mixed):
        grey[mixed] = _random_function(colours[mixed], chance)
    return to_unit(grey)


def _random_function(colours: Tensor, chance: Chance) -> Tensor:
    """A sum of six waves in the space of colours, as the bands of a spectrum depend on each other."""
    directions = chance.normal(len(colours), 6, 3, spread=2.5)
    phases = chance.uniform(len(colours), 6, 1, 1, high=2 * math.pi)
    waves = (torch.einsum("bchw,bkc->bkhw", colours, directions) + phases).sin()
    return (waves * chance.normal(len(colours), 6, 1, 1)).sum(1, keepdim=True)


def to_unit(images: Tensor) -> Tensor:
    """Stretched to [0, 1], the extremes of small patches apart."""
    low, high = (f(F.avg_pool2d(images, 3).flatten(1), 1) for f in (torch.amin, torch.amax))
    low, high = low.view(-1, 1, 1, 1), high.view(-1, 1, 1, 1)
    return ((images - low) / (high - low + 1e-3)).clamp(0, 1)


def recontrast(images: Tensor, strength: Tensor, chance: Chance) -> Tensor:
    """Another contrast of each image; ``strength`` (B,) from 0, a like one, to 1, any that can be thought of."""
    count, images = len(images), images.clone()
    changes: list[tuple[float, Callable[[Tensor, Chance], Tensor]]] = [
        (0.1, cartoon),
        (0.45, remapped),
        (0.3, lambda x, _: 1 - x),
        (0.12, patchwork),
        (0.2, structure),
    ]
    for probability, change in changes:
        if len(chosen := chance.some(count, strength * probability)):
            images[chosen] = change(images[chosen], chance)
    gamma = chance.normal(count, 1, 1, 1, spread=0.35).exp()
    return images.clamp(0, 1) ** gamma


def remapped(images: Tensor, chance: Chance) -> Tensor:
    """Piecewise linear through 4 to 9 random knots, a third of the time rising only."""
    knots = 4 + chance.integer(6)
    values = chance.uniform(len(images), knots)
    rising = chance.some(len(images), 1 / 3)
    values[rising] = (values[rising] + 0.05).cumsum(1)
    low, high = values.amin(1, keepdim=True), values.amax(1, keepdim=True)
    values = (values - low) / (high - low + 1e-6)
    at = (images.clamp(0, 1) * (knots - 1)).flatten(1)
    below = at.floor().clamp_max(knots - 2).long()
    first, second = values.gather(1, below), values.gather(1, below + 1)
    return torch.lerp(first, second, at - below).view_as(images)


def patchwork(images: Tensor, chance: Chance) -> Tensor:
    """One contrast here, another one there, as where tissues or materials differ."""
    mask = torch.sigmoid(4 * chance.smooth(len(images), *images.shape[2:]))
    return torch.lerp(images, remapped(images, chance), mask)


def cartoon(images: Tensor, chance: Chance) -> Tensor:
    """Levels of brightness with a grey and a texture of their own each: a map, a label image, another tissue."""
    levels = 3 + chance.integer(5)
    smooth = to_unit(blurred(images, chance.uniform(len(images), low=0.6, high=2.5)))
    number = (smooth * (levels - 1e-3)).long().flatten(1)
    greys = chance.uniform(len(images), levels).gather(1, number).view_as(images)
    spread = chance.uniform(len(images), levels, high=0.15).gather(1, number).view_as(images)
    texture = blurred(chance.normal(*images.shape), chance.uniform(len(images), low=0.3, high=2.0))
    keep = chance.uniform(len(images), 1, 1, 1, high=0.6)
    return torch.lerp(greys, images, keep) + spread * texture


def structure(images: Tensor, chance: Chance) -> Tensor:
    """What a sensor of edges, relief, details or fine structures sees."""
    smooth = blurred(images, chance.uniform(len(images), low=0.4, high=2.0))
    down, right = (smooth.roll(-1, d) - smooth.roll(1, d) for d in (2, 3))
    down[:, :, [0, -1]], right[:, :, :, [0, -1]] = 0, 0
    angle = chance.uniform(len(images), 1, 1, 1, high=2 * math.pi)
    opened = F.max_pool2d(-F.max_pool2d(-smooth, 9, 1, 4), 9, 1, 4)
    closed = -F.max_pool2d(-F.max_pool2d(smooth, 9, 1, 4), 9, 1, 4)
    wide = blurred(smooth, torch.full((len(images),), 3.0))
    kinds = torch.stack(
        [
            torch.hypot(down, right),
            right * angle.cos() + down * angle.sin(),
            smooth - wide,
            smooth - opened,
            closed - smooth,
            (smooth - wide).abs(),
        ]
    )
    drawn = kinds[chance.integers(len(images), below=len(kinds)), torch.arange(len(images))]
    scale = drawn.abs().flatten(1).mean(1).view(-1, 1, 1, 1) + 1e-3
    signed = drawn.amin((1, 2, 3), keepdim=True) < -scale
    unit = torch.where(signed, 0.5 + drawn / (8 * scale), drawn / (5 * scale))
    return torch.lerp(unit, images, chance.uniform(len(images), 1, 1, 1, high=0.4)).clamp(0, 1)


def degraded(images: Tensor, chance: Chance) -> Tensor:
    """Uneven light, bleaching, blur, coarse pixels, speckle, noise and texture of a detector."""
    count, size = len(images), images.shape[2:]
    images = images.clone()
    if len(lit := chance.some(count, 0.5)):
        images[lit] *= 1 + 0.25 * chance.smooth(len(lit), *size)
        images[lit] += 0.1 * chance.smooth(len(lit), *size)
    if len(bleached := chance.some(count, 0.15)):
        mask = torch.sigmoid(5 * chance.smooth(len(bleached), *size) - 1)
        images[bleached] = torch.lerp(images[bleached], chance.uniform(len(bleached), 1, 1, 1), 0.9 * mask)
    if len(soft := chance.some(count, 0.45)):
        images[soft] = blurred(images[soft], chance.uniform(len(soft)) ** 2 * 2.0 + 0.4)
    if chance.happens(0.3):
        coarse, step = chance.some(count, 0.25), 2 + chance.integer(2)
        small = F.avg_pool2d(images[coarse], step, ceil_mode=True)
        images[coarse] = F.interpolate(small, size=size, mode="nearest" if chance.happens(0.3) else "bilinear")
    if len(speckled := chance.some(count, 0.1)):
        images[speckled] *= (chance.normal(len(speckled), 1, *size) * 0.25).exp()
    noise = chance.uniform(count, 1, 1, 1, high=0.06) * (chance.uniform(count, 1, 1, 1) < 0.6)
    images += noise * chance.normal(*images.shape)
    if len(textured := chance.some(count, 0.08)):
        texture = blurred(chance.normal(len(textured), 1, *size), chance.uniform(len(textured), low=1.0, high=3.0))
        images[textured] += 0.2 * texture
    return images


def blurred(images: Tensor, sigma: Tensor) -> Tensor:
    """Each image (B, 1, H, W) by a Gaussian of its own, at most 3 pixels."""
    reach = 6
    weights = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma[:, None]) ** 2)
    weights = weights / weights.sum(1, keepdim=True)
    x = F.pad(images.transpose(0, 1), (reach,) * 4, mode="reflect")
    x = F.conv2d(x, weights[:, None, None], groups=len(images))
    return F.conv2d(x, weights[:, None, :, None], groups=len(images)).transpose(0, 1)
