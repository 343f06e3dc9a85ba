"""Seeded random numbers for batches of images, so that the same seed makes the same views."""

import torch
import torch.nn.functional as F
from torch import Tensor


class Chance:
    """Draws from one generator."""

    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        return torch.rand(shape, generator=self.generator) * (high - low) + low

    def normal(self, *shape: int, spread: float = 1.0) -> Tensor:
        return torch.randn(shape, generator=self.generator) * spread

    def integers(self, *shape: int, below: int) -> Tensor:
        return torch.randint(below, shape, generator=self.generator)

    def integer(self, below: int) -> int:
        return int(self.integers(1, below=below))

    def number(self, low: float = 0.0, high: float = 1.0) -> float:
        return float(self.uniform(1, low=low, high=high))

    def happens(self, probability: float) -> bool:
        return self.number() < probability

    def some(self, count: int, probability: Tensor | float) -> Tensor:
        """Indices of those of ``count`` that are chosen."""
        return (torch.rand(count, generator=self.generator) < probability).nonzero()[:, 0]

    def smooth(self, count: int, height: int, width: int) -> Tensor:
        """(count, 1, height, width) of slowly changing numbers, spread about 1; on 2 to 6 cells, all alike."""
        cells = 5 + self.integer(4)
        return F.interpolate(self.normal(count, 1, cells, cells), size=(height, width), mode="bicubic")
