"""Descriptors: what the views, the loss and the training of their network promise."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from cnnreg.errors import ConfigError, ModelError, ShapeError
from cnnreg.geometry.fields import sample
from cnnreg.learning.features import oneshot
from cnnreg.learning.features.describing import Describer
from cnnreg.learning.features.loss import contrastive, described
from cnnreg.learning.features.network import CELL, DescriptorNetwork, FeatureConfig
from cnnreg.learning.features.synthetic import synthetic_scenes
from cnnreg.learning.features.training import FeatureTraining, train_features
from cnnreg.learning.features.views import Pairs, Scene, ViewConfig, ViewMaker, invert
from cnnreg.learning.modelcards import load_descriptors, load_model
from tests.conftest import smooth_image, write_png

SMALL = FeatureConfig(channels=(4, 8, 8), width=8, size=6)
VIEWS = ViewConfig(size=64)
TRAINING = FeatureTraining(steps=4, batch_size=2, queries=32, save_every=2, warm_up=2)


def scenes(count: int = 3) -> list[Scene]:
    return [
        Scene((255 * torch.rand(3, 90, 110, generator=torch.Generator().manual_seed(k))).byte()) for k in range(count)
    ]


def network() -> DescriptorNetwork:
    torch.manual_seed(1)
    return DescriptorNetwork(SMALL)


@pytest.mark.parametrize("size", [(64, 64), (50, 77), (33, 120)])
def test_a_descriptor_of_length_one_for_every_cell_of_any_image(size):
    descriptors, logits = network()(torch.rand(2, 1, *size))
    cells = [-(-n // CELL) for n in size]
    assert descriptors.shape == (2, 6, *cells)
    assert logits.shape == (2, 1, *cells)
    torch.testing.assert_close(descriptors.norm(dim=1), torch.ones(2, *cells))


def test_the_network_takes_grey_images_only():
    with pytest.raises(ShapeError, match="needs images"):
        network()(torch.rand(1, 3, 64, 64))
    with pytest.raises(ConfigError, match="multiples"):
        FeatureConfig(channels=(5, 8))


def test_views_of_one_seed_are_the_same_and_of_another_not():
    maker = ViewMaker([(1.0, scenes())], VIEWS, seed=0)
    first, again, other = maker(2, 5), maker(2, 5), maker(2, 6)
    assert torch.equal(first.first, again.first)
    assert torch.equal(first.there, again.there)
    assert not torch.equal(first.first, other.first)


def test_what_a_pair_of_views_says_belongs_together_does():
    """Of smooth scenes, in whatever contrasts: a rank correlation far from nothing, of either sign."""
    smooth = torch.from_numpy(smooth_image((200, 220), seed=2, scale=9))
    maker = ViewMaker([(1.0, [Scene((255 * smooth).byte().expand(3, -1, -1))])], replace(VIEWS, size=96), seed=0)
    alike = []
    for seed in range(12):
        pair = maker(1, seed)
        laid = sample(pair.first, pair.there)
        seen = (pair.second_mask & (sample(pair.first_mask.float(), pair.there) > 0.99))[0, 0]
        if seen.sum() > 500:
            both = torch.stack([laid[0, 0][seen], pair.second[0, 0][seen]])
            alike.append(torch.corrcoef(both)[0, 1].abs().item())
    assert np.median(alike) > 0.5


def test_a_map_and_the_way_back_cancel():
    axis = torch.arange(48.0) - 23.5
    down, right = torch.meshgrid(axis, axis, indexing="ij")
    there = torch.stack([1.1 * down + 0.1 * right + 2 * (right / 12).sin(), 0.9 * right - 3])[None]
    back = invert(there)
    round_trip = sample(there, back + 23.5)
    inner = (slice(None), slice(None), slice(12, -12), slice(12, -12))
    torch.testing.assert_close(round_trip[inner], torch.stack([down, right])[None][inner], atol=0.05, rtol=0)


def test_the_loss_knows_descriptors_that_tell_every_cell_from_those_that_tell_none():
    size = 32
    axis = torch.arange(float(size))
    there = torch.stack(torch.meshgrid(axis, axis, indexing="ij"))[None]
    everywhere = torch.ones(1, 1, size, size, dtype=torch.bool)
    pairs = Pairs(torch.rand(1, 1, size, size), torch.rand(1, 1, size, size), there, everywhere, everywhere)
    cells = size // CELL
    own = torch.eye(cells * cells).view(1, -1, cells, cells).repeat(2, 1, 1, 1)
    same = torch.ones_like(own) / cells
    logits = torch.zeros(2, 1, cells, cells)
    good, bad = (contrastive(x, logits, pairs, queries=48, seed=0) for x in (own, same))
    assert good.found == 1
    assert bad.found == 0
    assert good.loss < bad.loss - 1


def test_a_training_that_was_stopped_goes_on_as_if_it_had_not(tmp_path):
    whole = train_features(
        network(), [(1.0, scenes())], tmp_path / "a", training=TRAINING, views=VIEWS, loss=described(32)
    )

    class EnoughError(Exception):
        pass

    def stop(progress):
        if progress.step == 3:
            raise EnoughError

    with pytest.raises(EnoughError):
        train_features(
            network(),
            [(1.0, scenes())],
            tmp_path / "b",
            training=TRAINING,
            views=VIEWS,
            loss=described(32),
            on_step=stop,
        )  # after the checkpoint of step 2
    resumed = train_features(
        network(), [(1.0, scenes())], tmp_path / "b", training=TRAINING, views=VIEWS, loss=described(32), resume=True
    )
    for (name, one), other in zip(whole.state_dict().items(), resumed.state_dict().values(), strict=True):
        assert torch.equal(one, other), name
    longer = replace(TRAINING, steps=6)
    with pytest.raises(ModelError, match="other settings"):
        train_features(
            network(), [(1.0, scenes())], tmp_path / "b", training=longer, views=VIEWS, loss=described(32), resume=True
        )


def test_some_steps_of_training_lower_the_loss(tmp_path):
    """On views of one scene that differ little, even a tiny network learns to tell cells from each other."""
    near = replace(VIEWS, turn=3.0, zoom=0.05, stretch=0.01, shear=0.01, shift=2.0, bend=0.5)
    losses = []
    training = replace(TRAINING, steps=40, warm_up=5, learning_rate=5e-3)
    train_features(
        network(),
        [(1.0, scenes(1))],
        tmp_path,
        training=training,
        views=near,
        loss=described(32),
        on_step=lambda p: losses.append(p.loss),
    )
    assert losses[-1] < losses[0]


def test_one_shot_adaptation_learns_the_pair_and_leaves_what_it_was_given(monkeypatch):
    monkeypatch.setattr(oneshot, "RATE", 2e-3)
    before, images = network(), tuple(torch.from_numpy(smooth_image((170, 190), seed=k))[None, None] for k in (1, 2))
    kept = {name: value.clone() for name, value in before.state_dict().items()}
    after, again = (oneshot.adapted(Describer(before), images, steps=12).network for _ in range(2))
    assert all(torch.equal(value, kept[name]) for name, value in before.state_dict().items())
    assert all(torch.equal(a, b) for a, b in zip(after.parameters(), again.parameters(), strict=True))
    groups = [(1.0, [Scene((255 * image[0]).byte().expand(3, -1, -1)) for image in images])]
    pairs = ViewMaker(groups, ViewConfig(), seed=5)(6, 99)
    losses = []
    for one in (before, after):
        with torch.no_grad():
            losses.append(contrastive(*one(torch.cat([pairs.first, pairs.second])), pairs, queries=128, seed=0).loss)
    assert losses[1] < losses[0]


def test_synthetic_scenes_are_of_many_kinds_and_the_same_for_a_seed():
    made = synthetic_scenes(5, seed=3)
    assert all(scene.image.shape == (3, 320, 320) and scene.image.float().std() > 5 for scene in made)
    assert all(torch.equal(a.image, b.image) for a, b in zip(made, synthetic_scenes(5, seed=3), strict=True))


def test_a_model_of_descriptors_from_the_command_line(cli, tmp_path):
    for k in range(2):
        write_png(tmp_path / f"{k}.png", (255 * smooth_image((120, 140), seed=k, scale=4)).astype(np.uint8))
    table = tmp_path / "images.csv"
    table.write_text("image\n0.png\n1.png\n")
    ended = cli("train", table, "--features", "--steps", 1, "-o", tmp_path / "m", "--threads", 1)
    assert ended.code == 0, ended.err
    card = json.loads((tmp_path / "m" / "card.json").read_text())
    assert card["kind"] == "descriptors"
    assert card["training"]["images"] == 2
    assert load_descriptors(tmp_path / "m").config == FeatureConfig()
    with pytest.raises(ModelError, match="as --model a model that predicts"):
        load_model(tmp_path / "m")
    assert cli("models", "info", tmp_path / "m").code == 0


def test_pairs_with_landmarks_become_one_scene_seen_twice(tmp_path):
    from cnnreg.pipeline.describing import read_scenes

    for name in "ab":
        write_png(tmp_path / f"{name}.png", (255 * smooth_image((120, 140), seed=1, scale=4)).astype(np.uint8))
    points = np.random.default_rng(0).uniform(10, 100, (8, 2))
    for name, shift in (("a", 0), ("b", 5)):
        (tmp_path / f"{name}.csv").write_text("x,y\n" + "\n".join(f"{x + shift},{y}" for x, y in points))
    table = tmp_path / "pairs.csv"
    table.write_text("fixed,moving,points_fixed,points_moving\na.png,b.png,a.csv,b.csv\na.png,b.png,,\n")
    first, *rest = read_scenes(table)
    np.testing.assert_allclose(first.matrix, [[1, 0, 0], [0, 1, 5]], atol=1e-4)
    assert [scene.other for scene in rest] == [None, None]
