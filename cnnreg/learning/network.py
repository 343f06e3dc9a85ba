"""The network: a small U-Net behind an average pooling that turns two images into a field."""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cnnreg.config import NetworkConfig
from cnnreg.errors import ShapeError


class ConvBlock(nn.Sequential):
    """Two 3x3 convolutions. No BatchNorm, no dropout: the network is tuned on a single pair, where both do harm."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, 3, padding=1),
            nn.LeakyReLU(0.1, inplace=True),
            nn.Conv2d(outputs, outputs, 3, padding=1),
            nn.LeakyReLU(0.1, inplace=True),
        )


class RegistrationNetwork(nn.Module):
    """(fixed, moving) -> field, after Ferrante et al. 2018 (arXiv:1802.05984).

    The two images are concatenated (moving, fixed) and average-pooled by 2^l; the U-Net's skip connections are sums;
    its output, in pixels of the pooled grid, is interpolated to the images' grid and scaled to their pixels.
    The paper gives no channel counts; see docs/models.md for the choice.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        levels = config.channels
        self.encoder = nn.ModuleList([ConvBlock(i, o) for i, o in pairwise((2, *levels))])
        self.ascent = nn.ModuleList([nn.Conv2d(i, o, 3, padding=1) for o, i in pairwise(levels)])
        self.decoder = nn.ModuleList([ConvBlock(o, o) for o in levels[:-1]])
        self.head = nn.Conv2d(levels[0], 2, 3, padding=1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, a=0.1)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]
        nn.init.normal_(self.head.weight, std=1e-3)  # the untrained network starts close to the identity

    def forward(self, fixed: Tensor, moving: Tensor) -> Tensor:
        """Field (B, 2, H, W) in pixels that lays ``moving`` onto ``fixed``; images (B, 1, H, W) any size, in [0, 1]."""
        if fixed.shape != moving.shape or fixed.ndim != 4 or fixed.shape[1] != 1:
            raise ShapeError(
                f"the network needs two images (B, 1, H, W) alike, got {tuple(fixed.shape)} and {tuple(moving.shape)}"
            )
        height, width = fixed.shape[2:]
        factor = 2**self.config.pooling
        multiple = factor * 2 ** (len(self.config.channels) - 1)
        images = torch.cat([moving, fixed], dim=1)
        if height % multiple or width % multiple:  # pad below and to the right: pooled pixels stay where they were
            images = F.pad(images, (0, -width % multiple, 0, -height % multiple), mode="replicate")
        field = self._unet(F.avg_pool2d(images, factor)) * factor
        if factor > 1:
            field = F.interpolate(field, scale_factor=factor, mode="bilinear", align_corners=False)
        return field[:, :, :height, :width]

    def _unet(self, x: Tensor) -> Tensor:
        skips: list[Tensor] = []
        for block in self.encoder:
            x = block(F.avg_pool2d(x, 2) if skips else x)
            skips.append(x)
        for ascend, block, skip in zip(
            reversed(self.ascent), reversed(self.decoder), reversed(skips[:-1]), strict=True
        ):
            x = block(F.interpolate(ascend(x), scale_factor=2, mode="nearest") + skip)
        return self.head(x)


def build_network(config: NetworkConfig, *, seed: int) -> RegistrationNetwork:
    """A network with random weights drawn from ``seed``; torch's global random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return RegistrationNetwork(config)
