"""The representation of images for the metric learned: network, loss, training, model on disk."""

import pytest
import torch
from torch import nn

from cnnreg.config import preset
from cnnreg.errors import ConfigError, ModelError, ShapeError
from cnnreg.geometry.fields import pixel_grid
from cnnreg.learning.features.network import DescriptorNetwork, FeatureConfig
from cnnreg.learning.features.training import FeatureTraining, train_features
from cnnreg.learning.features.views import Pairs, Scene, ViewConfig, ViewMaker
from cnnreg.learning.modelcards import load_descriptors, load_model, load_representation, save_model
from cnnreg.learning.representation.adapting import adapt_representation
from cnnreg.learning.representation.loss import peaked
from cnnreg.learning.representation.network import RepresentationConfig, RepresentationNetwork
from cnnreg.learning.representation.representing import load_representer
from cnnreg.learning.representation.training import VIEWS, peak_loss
from tests.conftest import smooth_image

SMALL = RepresentationConfig(channels=(4, 8), size=5)


def network(config: RepresentationConfig = SMALL) -> RepresentationNetwork:
    torch.manual_seed(3)
    return RepresentationNetwork(config)


def scene(seed: int = 0) -> Scene:
    smooth = torch.from_numpy(smooth_image((90, 110), seed=seed, scale=3))
    return Scene((255 * smooth).byte().expand(3, -1, -1).contiguous())


@pytest.mark.parametrize("size", [(64, 64), (50, 77), (9, 21), (3, 5)])
def test_a_vector_of_length_one_for_every_pixel_of_any_image(size):
    found = network(RepresentationConfig())(torch.rand(2, 1, *size))
    assert found.shape == (2, 8, *size)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(2, *size))


def test_brightness_and_gain_change_nothing():
    image = torch.rand(1, 1, 40, 56)
    net = network()
    torch.testing.assert_close(net(3 + 7 * (100 * image)), net(700 * image), atol=1e-3, rtol=0)


def test_the_network_takes_grey_images_and_channels_only():
    with pytest.raises(ShapeError, match="needs images"):
        network()(torch.rand(1, 3, 64, 64))
    with pytest.raises(ConfigError, match="positive"):
        RepresentationConfig(channels=(4, 0))


def test_the_loss_is_least_where_agreement_peaks_at_the_true_place():
    """A noise image laid onto itself by a known shift: the truth wins everywhere, and a wrong one nowhere."""
    size = 40
    noise = nn.functional.normalize(torch.randn(1, 6, size, size, generator=torch.Generator().manual_seed(0)), dim=1)
    moved = noise.roll((2, -1), (2, 3))
    everywhere = torch.ones(1, 1, size, size, dtype=torch.bool)
    grid = pixel_grid(noise)
    truth = torch.tensor([-2.0, 1.0]).view(1, 2, 1, 1)
    sharp = torch.tensor(3.0)

    def pairs(shift: torch.Tensor) -> Pairs:
        return Pairs(noise[:, :1], moved[:, :1], grid + shift, everywhere, everywhere)

    right, wins = peaked(noise, moved, pairs(truth), sharp, 0)
    wrong, loses = peaked(noise, moved, pairs(truth + 1), sharp, 0)
    assert wins == 1
    assert loses == 0
    assert right < wrong


def test_nothing_outside_of_the_masks_counts():
    size = 40
    noise = nn.functional.normalize(torch.randn(1, 6, size, size, generator=torch.Generator().manual_seed(0)), dim=1)
    mask = torch.zeros(1, 1, size, size, dtype=torch.bool)
    pairs = Pairs(noise[:, :1], noise[:, :1], pixel_grid(noise), mask, mask)
    value, wins = peaked(noise, noise, pairs, torch.tensor(3.0), 0)
    assert value == 0
    assert wins == 0


def test_some_steps_of_training_lower_the_loss(tmp_path):
    losses = []
    near = ViewConfig(size=48, turn=2.0, zoom=0.02, stretch=0.01, shear=0.01, shift=1.0, bend=1.0)
    training = FeatureTraining(steps=40, batch_size=2, warm_up=5, learning_rate=5e-3, save_every=40)
    trained = train_features(
        network(), [(1.0, [scene()])], tmp_path, training=training, views=near, loss=peak_loss,
        on_step=lambda progress: losses.append(progress.loss),
    )  # fmt: skip
    assert isinstance(trained, RepresentationNetwork)
    assert losses[-1] < losses[0]


def test_a_model_of_each_kind_where_another_is_wanted(tmp_path):
    """What is saved is what is loaded; and a wrong kind says what it is and where it belongs."""
    config = preset("default")
    net = network()
    save_model(net, tmp_path / "r", config, name="r", description="")
    save_model(
        DescriptorNetwork(FeatureConfig(channels=(4, 8), width=4)), tmp_path / "d", config, name="d", description=""
    )
    image = torch.rand(1, 1, 30, 44)
    torch.testing.assert_close(load_representation(tmp_path / "r")(image), net(image), atol=1e-2, rtol=0)
    assert load_representer(str(tmp_path / "r"))(image).requires_grad is False
    with pytest.raises(ModelError, match=r"describes images .* name it as --features"):
        load_representation(tmp_path / "d")
    with pytest.raises(ModelError, match=r"represents images .* name it as refinement\.representation"):
        load_descriptors(tmp_path / "r")
    with pytest.raises(ModelError, match="as --model a model that predicts displacement fields"):
        load_model(tmp_path / "r")


def test_adaptation_lowers_the_loss_on_the_pair_and_leaves_the_network_as_it_was():
    net = network()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    images = tuple(torch.from_numpy(smooth_image((60, 75), seed=k, scale=2))[None, None] for k in (1, 2))
    adapted = adapt_representation(net, images, steps=12, rate=3e-3, seed=0)
    again = adapt_representation(net, images, steps=12, rate=3e-3, seed=0)
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())
    assert all(torch.equal(a, b) for a, b in zip(adapted.parameters(), again.parameters(), strict=True))
    scenes = [Scene((255 * image[0]).byte().expand(3, -1, -1)) for image in images]
    batch = ViewMaker([(1.0, scenes)], VIEWS, seed=9)(4, 9)
    with torch.no_grad():
        assert peak_loss(adapted, batch, 0)[0] < peak_loss(net, batch, 0)[0]
