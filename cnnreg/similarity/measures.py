"""Similarities besides correlation that one-shot registration can climb, with their derivatives by hand.

Each is made from the fixed image and, told a warped one, gives what :class:`.correlation.Correlation` gives: the
similarity (B,), at most 1, its derivative by each pixel of the warped image, and the size of its second.
"""

import torch
from torch import Tensor

BINS = 32  # of the histograms, along each side


class Squares:
    """1 - sum of squared differences / variance of the fixed image, (B, C, H, W), in a mask (B, 1, H, W)."""

    def __init__(self, fixed: Tensor, mask: Tensor | None = None) -> None:
        weight = torch.ones_like(fixed[:, :1]) if mask is None else mask
        self.fixed, weight = fixed, weight / weight.sum((1, 2, 3), keepdim=True).clamp_min(1)
        middle = (fixed * weight).sum((2, 3), keepdim=True)
        variance = ((fixed - middle).square() * weight).sum((1, 2, 3), keepdim=True)
        self.weight = weight / (variance + 1e-6)

    def __call__(self, warped: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The similarity (B,), its derivative (B, C, H, W), and the size of its second."""
        rest = warped - self.fixed
        slope = rest * (-2 * self.weight)
        return 1 + (slope * rest).sum((1, 2, 3)) / 2, slope, (2 * self.weight).expand_as(rest)


class MutualInformation:
    """Mutual information of the intensities of two images (B, 1, H, W), divided by the fixed one's entropy: [0, 1].

    Blurred joint histogram with linear weights, its derivative exact (after Viola and Wells 1997,
    doi:10.1023/A:1007958904918). Intensities in ``limits``, of the warped image, fill the histogram; others are
    counted at its rim.
    """

    def __init__(self, fixed: Tensor, limits: tuple[float, float], mask: Tensor | None = None) -> None:
        self.batch, self.pixels = len(fixed), fixed.shape[2] * fixed.shape[3]
        weight = torch.ones_like(fixed) if mask is None else mask
        self.weight = (weight / weight.sum((1, 2, 3), keepdim=True).clamp_min(1)).flatten(1)
        self.low, self.width = limits[0], max((limits[1] - limits[0]) / (BINS - 1), 1e-6)
        low, high = fixed.amin().item(), fixed.amax().item()
        self.row, self.part, _ = _bins(fixed.flatten(1), low, max((high - low) / (BINS - 1), 1e-6))
        offsets = torch.arange(BINS, device=fixed.device)
        kernel = torch.exp(-(offsets[:, None] - offsets).square() / 2).to(fixed)
        self.blur = kernel / kernel.sum(0, keepdim=True)

    def __call__(self, warped: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The similarity (B,), its derivative (B, 1, H, W), and the size of its second."""
        column, part, inside = _bins(warped.flatten(1), self.low, self.width)
        joint = warped.new_zeros(self.batch, BINS * BINS)
        corners = [
            ((self.row + i) * BINS + column + j, (self.part if i else 1 - self.part), (part if j else 1 - part))
            for i in (0, 1)
            for j in (0, 1)
        ]
        for index, by_row, by_column in corners:
            joint.scatter_add_(1, index, self.weight * by_row * by_column)
        joint = self.blur @ joint.view(-1, BINS, BINS) @ self.blur.T + 1e-9
        rows, columns = joint.sum(2, keepdim=True), joint.sum(1, keepdim=True)
        entropy = -(rows * rows.log()).sum((1, 2)).view(-1, 1, 1)
        told = (joint.log() - columns.log()) / entropy
        value = (joint * (told - rows.log() / entropy)).sum((1, 2))
        told = (self.blur.T @ told @ self.blur).flatten(1)
        slope = sum((1 if n % 2 else -1) * told.gather(1, c[0]) * c[1] for n, c in enumerate(corners))
        slope = (slope * self.weight * inside / self.width).view_as(warped)
        levels = self.low + self.width * torch.arange(BINS, device=warped.device, dtype=warped.dtype)
        mean = (joint * levels).sum(2, keepdim=True) / rows
        unexplained = (joint * (levels - mean).square()).sum((1, 2)).view(-1, 1, 1, 1)
        curvature = self.weight.view_as(warped) / (unexplained * entropy[..., None])
        return value, slope, curvature


def _bins(values: Tensor, low: float, width: float) -> tuple[Tensor, Tensor, Tensor]:
    """The bin below each value, how far it is to the next, and whether it lies between the first and the last."""
    place = (values - low) / width
    held = place.clamp(0, BINS - 1)
    below = held.floor().clamp_(max=BINS - 2)
    return below.long(), held - below, (place == held).to(values)
