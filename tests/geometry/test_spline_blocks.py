"""A family of splines seen by blocks of pixels."""

import torch
import torch.nn.functional as F
from torch.testing import assert_close

from cnnreg.geometry.splines import SplineFamily


def test_fields_by_blocks_are_means_of_fields():
    like = torch.zeros(1, dtype=torch.float64)
    for spacing in (16.0, None):
        family = SplineFamily((48, 64), spacing, like)
        coefficients = torch.randn(2, 2, *family.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        assert_close(family.every(4).field(coefficients), F.avg_pool2d(family.field(coefficients), 4))
        assert family.every(1).rows[0] is family.rows[0]
