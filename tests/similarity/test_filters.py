"""Fast forms of PyTorch's own filters."""

import pytest
import torch
import torch.nn.functional as F

from cnnreg.similarity.filters import halved


@pytest.mark.parametrize("size", [(8, 12), (7, 12), (8, 5), (2, 3)])
def test_halving_is_average_pooling_to_the_last_bit(size):
    image = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1))
    assert torch.equal(halved(image), F.avg_pool2d(image, 2))
    assert torch.equal(halved(image.transpose(2, 3)), F.avg_pool2d(image.transpose(2, 3), 2))
