"""What is to be thought of a registration: the verdict on the pair as its field lays the images onto each other."""

import torch
from torch import Tensor

from cnnreg.config import Config
from cnnreg.engine.verdict import Verdict, assess
from cnnreg.geometry import fields
from cnnreg.geometry.resampling import source_points
from cnnreg.learning.features.describing import load_features
from cnnreg.pairs.dataset import Pair


def assess_pair(pair: Pair, field: Tensor, config: Config) -> Verdict | None:
    """Of the field (1, 2, H, W) from the fixed to the moving image; None where no model describes images."""
    if config.alignment.features == "none":
        return None
    grid = pair.fixed.grid
    points = source_points(field, grid, pair.moving.grid)
    warped = fields.sample(pair.moving_own, points)
    mask = torch.ones_like(pair.fixed_input) if pair.mask is None else pair.mask
    seen = fields.inside(points, pair.moving.grid.size)[:, None] * mask
    return assess(
        torch.cat([pair.fixed_input, mask], 1),
        torch.cat([warped, seen], 1),
        load_features(config.alignment.features),
        spacing=(grid.spacing[1], grid.spacing[0]),
    )
