"""The network that gives every pixel a few numbers, which another contrast of the same scene has, too."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cnnreg.errors import ConfigError, ShapeError
from cnnreg.learning.features.network import normalise

WINDOWS = (16, 48)  # pixels: local normalisation, of details and of what is around them
SLOPE = 0.1  # of the activation below 0


@dataclass(frozen=True)
class RepresentationConfig:
    """The size of a :class:`RepresentationNetwork`."""

    channels: tuple[int, ...] = (8, 16, 32, 48)  # at full resolution, and at strides 2, 4, 8
    size: int = 8  # numbers at a pixel

    def __post_init__(self) -> None:
        object.__setattr__(self, "channels", tuple(self.channels))  # JSON has lists
        if not self.channels or min(*self.channels, self.size) < 1:
            raise ConfigError(f"channels and size must be positive, got {self.channels} and {self.size}")


class RepresentationNetwork(nn.Module):
    """(B, 1, H, W) to unit vectors (B, D, H, W), one at every pixel.

    Brightness and its slow changes are normalised away first. No layer looks at the whole image, so that a part of an
    image looks as it does in the whole of it.
    """

    def __init__(self, config: RepresentationConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or RepresentationConfig()
        inputs = (len(WINDOWS), *config.channels)
        self.encoder = nn.ModuleList(
            [nn.Sequential(*_layer(i, o), *_layer(o, o)) for i, o in zip(inputs, config.channels, strict=False)]
        )
        steps = list(zip(config.channels, config.channels[1:], strict=False))
        self.decoder = nn.ModuleList([nn.Sequential(*_layer(fine + coarse, fine)) for fine, coarse in steps])
        self.head = nn.Conv2d(config.channels[0], config.size, 3, padding=1)
        self.sharpness = nn.Parameter(torch.tensor(2.0))  # logarithm of the factor from agreement to logits

    def forward(self, image: Tensor) -> Tensor:
        """Of images of any size and range of intensities."""
        if image.ndim != 4 or image.shape[1] != 1:
            raise ShapeError(f"the representation needs images (B, 1, H, W), got {tuple(image.shape)}")
        height, width = image.shape[2:]
        multiple = max(2 ** (len(self.config.channels) - 1), max(WINDOWS) // 8)
        image = F.pad(image, (0, -width % multiple, 0, -height % multiple), mode="replicate")
        x = torch.cat([normalise(image, window) for window in WINDOWS], 1)
        levels = []
        for n, stage in enumerate(self.encoder):
            x = stage(F.avg_pool2d(x, 2) if n else x)  # not a stride: pixels stay where they are
            levels.append(x)
        for finer, stage in reversed(list(zip(levels[:-1], self.decoder, strict=True))):
            x = F.interpolate(x, size=finer.shape[2:], mode="bilinear", align_corners=False)
            x = stage(torch.cat([finer, x], 1))
        return F.normalize(self.head(x), dim=1)[..., :height, :width]


def _layer(inputs: int, outputs: int) -> list[nn.Module]:
    convolution = nn.Conv2d(inputs, outputs, 3, padding=1)
    nn.init.kaiming_normal_(convolution.weight, a=SLOPE)
    return [convolution, nn.LeakyReLU(SLOPE)]
