"""What is to be thought of a registration, by descriptors: whether its field is kept, and whether it went well."""

import torch
from torch import Tensor

from cnnreg.config import Config
from cnnreg.engine.evidence import Comparison
from cnnreg.geometry import fields
from cnnreg.geometry.resampling import source_points
from cnnreg.learning.features.describing import load_features
from cnnreg.pairs.dataset import Pair

UNREAL = (
    "the displacement field of the iterations was not kept, as the descriptors of the images do not show it; "
    "the result is the initial transform (--features none keeps the field)"
)
# Which part of a field the matches must show: of like contrasts, which correlate locally, and of others, whose
# iterations find something anywhere. Of hearts, films and brains it is .26 to 1, of like fields that did harm at most
# .2; of other contrasts .55 to 1 of those that did good, at most .6 of the harmful. Measured on the real pairs.
EXPLAINED = {"lncc": 0.2}
EXPLAINED_ELSE = 0.55
# Where held-out blocks do not bear a field out: the share of the matches that it must leave in place, and the part of
# the field that they must show. Of one kind of image, sections of a series or frames, these are .963 and more, and .75
# to .88; of two kinds not both, but for a mountain whose clouds have moved.
IN_PLACE, SHOWN = 0.955, (0.5, 1.3)
GAINED = 0.1  # share of the matches that come into their place: a field that does so is real, however large it is


def comparison_of(pair: Pair, config: Config) -> Comparison | None:
    """Of the images as they are aligned, before any field; None where no model describes images."""
    if config.alignment.features == "none":
        return None
    grid = pair.fixed.grid
    mask = torch.ones_like(pair.fixed_input) if pair.mask is None else pair.mask
    points = source_points(pair.total(torch.zeros(1, 2, *grid.size)), grid, pair.moving.grid)
    seen = fields.inside(points, pair.moving.grid.size)[:, None] * mask
    return Comparison(
        torch.cat([pair.fixed_input, mask], 1),
        torch.cat([pair.moving_input, seen], 1),
        load_features(config.alignment.features),
        (grid.spacing[1], grid.spacing[0]),
    )


def is_real(comparison: Comparison | None, field: Tensor, metric: str) -> bool:
    """Whether the matches show a field (1, 2, H, W) that comes after the alignment; or say nothing about it."""
    if comparison is None:
        return True
    agreement, found = comparison.agreement, field[0].numpy()
    part = agreement.explained(found)
    if part is None or part >= EXPLAINED.get(metric, EXPLAINED_ELSE):
        return True
    left, before = agreement.support(agreement.left(found)), agreement.support(agreement.offsets)
    return float(left.mean() - before.mean()) > GAINED


def is_plain(comparison: Comparison, field: Tensor) -> bool:
    """Whether the matches show a field (1, 2, H, W) so plainly that it is right though no block bears out another.

    So it is where a displacement varies a lot from place to place, and the images are of one kind.
    """
    agreement, found = comparison.agreement, field[0].numpy()
    part, left = agreement.explained(found), agreement.support(agreement.left(found))
    return part is not None and SHOWN[0] <= part <= SHOWN[1] and float(left.mean()) >= IN_PLACE
