"""The network: any size, no state but its weights, and the pooled grid where it belongs."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from cnnreg.config import NetworkConfig
from cnnreg.errors import ShapeError
from cnnreg.learning.network import build_network

SMALL = NetworkConfig(pooling=2, channels=(4, 8, 8))


def images(height: int, width: int, batch: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(height * width)
    fixed, moving = torch.rand(2, batch, 1, height, width, generator=generator)
    return fixed, moving


@pytest.mark.parametrize(("height", "width"), [(16, 16), (17, 23), (64, 48), (97, 131), (256, 256)])
def test_a_field_of_the_images_size(height, width):
    """Any size from 16 pixels gives a finite field of that size; nothing has to divide by anything."""
    field = build_network(SMALL, seed=0)(*images(height, width))
    assert field.shape == (1, 2, height, width)
    assert torch.isfinite(field).all()


def test_images_are_concatenated_moving_first():
    """As in the paper: the first layer sees (moving, fixed)."""
    network = build_network(NetworkConfig(pooling=0, channels=(4,)), seed=0)
    fixed, moving = images(16, 16)
    with torch.no_grad():
        network.encoder[0][0].weight[:, 1] = 0  # deaf to the second channel
    assert torch.equal(network(fixed, moving), network(1 - fixed, moving))
    assert not torch.equal(network(fixed, moving), network(fixed, 1 - moving))


def test_pooled_pixels_are_interpolated_to_the_right_place_and_units():
    """A head that emits a ramp over the pooled grid j gives 2^l j at i = 2^l j + (2^l - 1) / 2, times 2^l."""
    network = build_network(NetworkConfig(pooling=2, channels=(4,)), seed=0)
    network._unet = lambda x: torch.arange(x.shape[3], dtype=x.dtype).expand(x.shape[0], 2, *x.shape[2:])
    field = network(*images(24, 40))
    i = torch.arange(40.0)
    expected = ((i - 1.5) / 4).clamp(0, 9) * 4
    assert_close(field[0, 1, 0], expected)


def test_skip_connections_are_sums():
    """The decoder has as many channels as the encoder at each level: nothing is concatenated."""
    network = build_network(NetworkConfig(), seed=0)
    assert [block[0].in_channels for block in network.decoder] == [16, 32, 64]


def test_padding_does_not_move_the_image():
    """A region far from the rim is the same whether or not the size needs padding."""
    network = build_network(NetworkConfig(pooling=1, channels=(4, 4)), seed=0)
    fixed, moving = images(64, 64)
    whole, part = network(fixed, moving), network(fixed[..., :62, :61], moving[..., :62, :61])
    assert_close(part[..., :32, :32], whole[..., :32, :32])


def test_no_layer_behaves_differently_in_training():
    """No BatchNorm, no dropout: train and eval mode agree to the bit, and a batch is its pairs one by one."""
    network = build_network(SMALL, seed=0)
    fixed, moving = images(32, 48, batch=2)
    assert torch.equal(network.train()(fixed, moving), network.eval()(fixed, moving))
    assert not [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm | nn.Dropout)]
    assert_close(network(fixed, moving)[1:], network(fixed[1:], moving[1:]), atol=1e-6, rtol=1e-4)


def test_weights_follow_the_seed_and_leave_global_randomness_alone():
    """Same seed, same weights; building a network does not disturb anybody's random numbers."""
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    one, two, other = (build_network(SMALL, seed=s) for s in (1, 1, 2))
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert not torch.equal(one.head.weight, other.head.weight)


@pytest.mark.parametrize(
    ("a", "b"), [((1, 1, 16, 20), (1, 1, 20, 16)), ((1, 3, 16, 20), (1, 3, 16, 20)), ((16, 20), (16, 20))]
)
def test_images_that_do_not_go_together_are_refused(a, b):
    """The error names both shapes."""
    with pytest.raises(ShapeError, match=r"two images .* got"):
        build_network(SMALL, seed=0)(torch.zeros(a), torch.zeros(b))
