"""The network that describes an image, cell by cell, so that the same place looks the same in another modality."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cnnreg.errors import ConfigError, ShapeError

CELL = 4  # pixels along a cell's side
WINDOWS = (16, 48)  # pixels: local normalisation, of details and of what is around them
GROUPS = 4


@dataclass(frozen=True)
class FeatureConfig:
    """The size of a :class:`DescriptorNetwork`."""

    channels: tuple[int, ...] = (16, 32, 64, 112, 128)  # at strides 2, 4, 8, 16, 32
    width: int = 48  # of the way back
    size: int = 48  # numbers in a descriptor

    def __post_init__(self) -> None:
        object.__setattr__(self, "channels", tuple(self.channels))  # JSON has lists
        values = (*self.channels, self.width)
        if len(self.channels) < 2 or any(n < GROUPS or n % GROUPS for n in values) or self.size < 1:
            raise ConfigError(f"channels and width must be positive multiples of {GROUPS}, got {values}")


class DescriptorNetwork(nn.Module):
    """(B, 1, H, W) to unit descriptors (B, D, ceil(H / 4), ceil(W / 4)) and the logit of their reliability.

    Cell j covers the pixels 4 j to 4 j + 3, so its middle is 4 j + 1.5. Brightness and its slow changes are normalised
    away first; what is left to invariance is learned. Turns are not: they are tried.
    """

    def __init__(self, config: FeatureConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or FeatureConfig()
        first, *deeper = config.channels
        inputs = len(WINDOWS) * 4
        self.stem = nn.Sequential(_block(inputs, first), _block(first, first))
        self.encoder = nn.ModuleList(
            [nn.Sequential(_block(i, o), _block(o, o)) for i, o in zip(config.channels, deeper, strict=False)]
        )
        self.lateral = nn.ModuleList([nn.Conv2d(n, config.width, 1) for n in deeper])
        self.decoder = nn.ModuleList([_block(config.width, config.width) for _ in deeper])
        self.head = nn.Conv2d(config.width, config.size + 1, 1)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Descriptors and reliability of images of any size and range of intensities."""
        if image.ndim != 4 or image.shape[1] != 1:
            raise ShapeError(f"the descriptor network needs images (B, 1, H, W), got {tuple(image.shape)}")
        height, width = image.shape[2:]
        multiple = 2 ** len(self.config.channels)
        if height % multiple or width % multiple:
            image = F.pad(image, (0, -width % multiple, 0, -height % multiple), mode="replicate")
        x = torch.cat([normalise(image, window) for window in WINDOWS], 1)
        x = self.stem(F.pixel_unshuffle(x, 2))
        levels = []
        for stage in self.encoder:
            x = stage(F.avg_pool2d(x, 2))  # not a stride: cells stay where they are
            levels.append(x)
        y = self.decoder[-1](self.lateral[-1](levels[-1]))
        for level, lateral, stage in reversed(list(zip(levels, self.lateral, self.decoder, strict=True))[:-1]):
            y = stage(lateral(level) + F.interpolate(y, scale_factor=2.0, mode="bilinear", align_corners=False))
        out = self.head(y)[:, :, : -(-height // CELL), : -(-width // CELL)]
        return F.normalize(out[:, :-1], dim=1), out[:, -1:]


def normalise(image: Tensor, window: int) -> Tensor:
    """Deviation from the mean of about ``window`` pixels, in units of the deviation there, at most 4."""
    factor = window // 8
    small = F.avg_pool2d(image, factor)
    side = min(9, *(n - (n + 1) % 2 for n in small.shape[2:]))
    mean = _box(small, side)
    square = _box(F.avg_pool2d(image.square(), factor), side)
    spread = (square - mean.square()).clamp_min(0).add(4e-4).sqrt()
    mean, spread = (
        F.interpolate(x, size=image.shape[2:], mode="bilinear", align_corners=False) for x in (mean, spread)
    )
    return ((image - mean) / spread).clamp(-4, 4)


def _box(x: Tensor, side: int) -> Tensor:
    return F.avg_pool2d(x, side, 1, side // 2, count_include_pad=False)


def _block(inputs: int, outputs: int) -> nn.Sequential:
    """Group normalisation, for it does the same to one image as to many."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.GroupNorm(GROUPS, outputs), nn.ReLU(inplace=True)
    )
