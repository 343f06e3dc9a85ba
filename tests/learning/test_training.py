"""Training: interrupted and resumed equals uninterrupted; the best validation is kept; augmentation is sound."""

import csv
import dataclasses
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from cnnreg.config import preset
from cnnreg.learning.augmentation import augment
from cnnreg.learning.modelcards import load_model
from cnnreg.learning.training import learning_rate
from tests.conftest import smooth_image, smooth_pair, write_png

PARAMETERS = """
[network]
pooling = 1
channels = [4, 8]
[training]
batch_size = 3
validate_every = 2
"""


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """pairs.csv with five pairs, their label maps, and a column of somebody's own."""
    rows = []
    for seed in range(5):
        fixed, moving = smooth_pair(seed=seed)
        row = {}
        for name, values in (("fixed", fixed), ("moving", moving)):
            row[name] = write_png(tmp_path / f"{name}{seed}.png", values).name
            row[f"seg_{name}"] = write_png(tmp_path / f"seg_{name}{seed}.png", (values > 0.6) * 1.0).name
        rows.append(row | {"patient": f"p{seed}"})
    with (tmp_path / "pairs.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    (tmp_path / "small.toml").write_text(PARAMETERS)
    return tmp_path / "pairs.csv"


def weights(folder: Path) -> list[torch.Tensor]:
    return list(load_model(folder).network.state_dict().values())


def train(cli, table: Path, out: Path, *extra: object) -> None:
    ended = cli("train", table, "-o", out, "-p", table.parent / "small.toml", "-q", *extra)
    assert (ended.code, ended.err) == (0, "")


def test_training_lowers_the_loss_and_leaves_a_usable_model(cli, table, tmp_path):
    """Sixty steps on five pairs; the folder is a model at once, with a log of every step."""
    (tmp_path / "fast.toml").write_text(PARAMETERS + "learning_rate = 1e-2\naugment = 0.0\n")
    ended = cli("train", table, "-o", tmp_path / "m", "-p", tmp_path / "fast.toml", "--steps", 60, "--val", table, "-q")
    assert (ended.code, ended.err) == (0, "")
    with (tmp_path / "m" / "log.csv").open() as file:
        log = list(csv.DictReader(file))
    assert [int(row["step"]) for row in log] == list(range(1, 61))
    losses = [float(row["loss"]) for row in log]
    assert np.mean(losses[-10:]) < np.mean(losses[:10]) - 0.02
    validated = [row for row in log if row["val_dsc"]]
    assert [int(row["step"]) for row in validated] == list(range(2, 61, 2))
    card = load_model(tmp_path / "m").card
    best = max(float(row["val_dsc"]) for row in validated)
    assert card.metrics["validation"]["dsc"] == pytest.approx(best)
    assert card.training["pairs"] == 5
    assert cli("register", *first_pair(table), "--model", tmp_path / "m", "-o", tmp_path / "r", "-q").code == 0


def first_pair(table: Path) -> tuple[Path, Path]:
    return table.parent / "fixed0.png", table.parent / "moving0.png"


def test_the_same_command_gives_the_same_weights_and_another_seed_does_not(cli, table, tmp_path):
    """Bit for bit, on the CPU."""
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        train(cli, table, tmp_path / name, "--steps", 4, "--seed", seed)
    assert all(torch.equal(x, y) for x, y in zip(weights(tmp_path / "a"), weights(tmp_path / "b"), strict=True))
    assert not all(torch.equal(x, y) for x, y in zip(weights(tmp_path / "a"), weights(tmp_path / "c"), strict=True))


def test_interrupted_and_resumed_equals_uninterrupted(cli, table, tmp_path, monkeypatch):
    """An interrupt after step 3 of 8, then --resume: the weights and the log of a run that was never stopped."""
    train(cli, table, tmp_path / "whole", "--steps", 8, "--val", table)

    from cnnreg.learning import training

    original = training.training_step

    def interrupted(*args, **kwargs):
        if kwargs["step"] == 2:
            signal.raise_signal(signal.SIGINT)
        return original(*args, **kwargs)

    monkeypatch.setattr(training, "training_step", interrupted)
    command = ["train", table, "-o", tmp_path / "cut", "-p", tmp_path / "small.toml", "-q", "--steps", 8]
    command += ["--val", table]
    ended = cli(*command)
    assert (ended.code, ended.err) == (130, "error: stopped at step 3 of 8; go on from there with --resume\n")
    assert not (tmp_path / "cut" / "card.json").exists()
    monkeypatch.undo()
    monkeypatch.setenv("CNNREG_CACHE", str(tmp_path / "cache"))
    assert cli(*command, "--resume").code == 0
    assert all(torch.equal(x, y) for x, y in zip(weights(tmp_path / "whole"), weights(tmp_path / "cut"), strict=True))
    assert (tmp_path / "whole" / "log.csv").read_text() == (tmp_path / "cut" / "log.csv").read_text()


def test_a_killed_run_goes_on_from_its_last_checkpoint(cli, table, tmp_path):
    """kill -9 at any moment leaves a checkpoint that --resume completes to the same weights."""
    train(cli, table, tmp_path / "whole", "--steps", 12)
    arguments = ["train", table, "-o", tmp_path / "cut", "-p", tmp_path / "small.toml", "-q", "--steps", "12"]
    slow = (
        "import sys, time; from cnnreg.learning import training; step = training.training_step\n"
        "def stall(*a, **k):\n"
        "    while (training.Path(sys.argv[3]) / training.CHECKPOINT).exists(): time.sleep(1)  # until it is killed\n"
        "    return step(*a, **k)\n"
        "training.training_step = stall\n"
        "from cnnreg.cli.main import run; sys.exit(run(sys.argv[1:]))"
    )
    process = subprocess.Popen([sys.executable, "-c", slow, *map(str, arguments)])
    while not (tmp_path / "cut" / "checkpoint.pt").exists():
        assert process.poll() is None  # killed, not ended
        time.sleep(0.05)
    process.kill()
    process.wait()
    assert not (tmp_path / "cut" / "card.json").exists()
    assert cli(*arguments, "--resume").code == 0
    assert all(torch.equal(x, y) for x, y in zip(weights(tmp_path / "whole"), weights(tmp_path / "cut"), strict=True))


def test_mirror_training_pairs_each_image_with_its_mirror_image(cli, tmp_path):
    """A table of single images, one of them asymmetric; two steps run and the card says so."""
    for seed in range(2):
        write_png(tmp_path / f"{seed}.png", smooth_image((50, 50), seed=seed))
    (tmp_path / "images.csv").write_text("image,remark\n0.png,x\n1.png,y\n")
    (tmp_path / "small.toml").write_text(PARAMETERS + "size = 32\n")
    ended = cli(
        "train", tmp_path / "images.csv", "--mirror", "-o", tmp_path / "m", "-p", tmp_path / "small.toml", "--epochs", 3
    )
    assert ended.code == 0
    card = load_model(tmp_path / "m").card
    assert card.training["mirror"] is True
    assert card.training["training"]["steps"] == 2  # 3 epochs of 2 pairs in batches of 3


def test_images_of_different_sizes_need_a_training_size(cli, tmp_path):
    """The error names the sizes and the key to set."""
    for name, size in (("a", (40, 50)), ("b", (44, 50))):
        write_png(tmp_path / f"{name}.png", smooth_image(size))
    (tmp_path / "pairs.csv").write_text("fixed,moving\na.png,a.png\nb.png,b.png\n")
    (tmp_path / "small.toml").write_text(PARAMETERS)
    ended = cli("train", tmp_path / "pairs.csv", "-o", tmp_path / "m", "-p", tmp_path / "small.toml")
    assert ended.code == 1
    assert "50x40, 50x44" in ended.err
    assert "training.size" in ended.err


def test_cosine_schedule_starts_full_and_ends_at_nothing():
    """Half a cosine over the steps; the paper's is constant."""
    config = preset("default").override({"training": {"steps": 100, "learning_rate": 0.5}}, source="test")
    assert learning_rate(0, config) == 0.5
    assert learning_rate(50, config) == pytest.approx(0.25)
    assert learning_rate(100, config) == pytest.approx(0, abs=1e-12)
    assert {learning_rate(step, preset("paper")) for step in (0, 5000, 9999)} == {1e-4}


def test_augmentation_moves_both_images_of_a_pair_alike():
    """With identical contrast, an image paired with itself stays paired with itself, however it is turned."""
    image = torch.from_numpy(smooth_image((40, 52)))[None, None].expand(6, 1, 40, 52) * 0.5 + 0.25
    fixed, moving = augment(image, image, strength=1.0, generator=Generator(0))
    ranks = [x.flatten(1).argsort(dim=1).argsort(dim=1).double() for x in (fixed, moving)]
    for a, b in zip(*ranks, strict=True):  # gamma keeps the order of the intensities, geometry would not
        assert torch.corrcoef(torch.stack([a, b]))[0, 1] > 0.999
    assert not torch.equal(fixed[0], fixed[1])


def test_augmentation_of_strength_zero_changes_nothing():
    """And draws nothing."""
    a, b = torch.rand(2, 1, 8, 9), torch.rand(2, 1, 8, 9)
    fixed, moving = augment(a, b, strength=0, generator=Generator(0))
    assert torch.equal(fixed, a)
    assert torch.equal(moving, b)


def Generator(seed: int) -> torch.Generator:  # noqa: N802  reads like torch's own
    return torch.Generator().manual_seed(seed)


def test_label_maps_follow_their_images_to_the_training_size():
    """A moving image on a grid of its own: its labels come to the fixed grid, then to the training size."""
    from cnnreg.config import InputConfig
    from cnnreg.images.image import Grid, Image
    from cnnreg.pairs.dataset import at_size, make_pair

    values = smooth_image((40, 60))
    fine = np.kron(values, np.ones((2, 2), dtype=np.float32))
    fixed = Image(values, Grid((40, 60), (2.0, 2.0), (1.0, 1.0), unit="mm"))
    moving = Image(fine, Grid((80, 120), (1.0, 1.0), (0.5, 0.5), unit="mm"))  # the same scene, twice as fine
    pair = make_pair(fixed, moving, InputConfig())
    pair = dataclasses.replace(
        pair, seg_fixed=(values > 0.5).astype(np.int64), seg_moving=(fine > 0.5).astype(np.int64)
    )
    small = at_size(pair, 32)
    assert small.fixed_input.shape == small.moving_input.shape == (1, 1, 32, 32)
    assert small.seg_fixed.shape == small.seg_moving.shape == (32, 32)
    assert (small.seg_fixed != small.seg_moving).mean() < 0.02
    agreement = small.seg_fixed == (small.fixed_input[0, 0].numpy() > 0.5)
    assert agreement.mean() > 0.95


@pytest.mark.parametrize(("option", "value", "named"), [("--seed", 5, "seed"), ("--table", "other.csv", "table")])
def test_a_run_is_resumed_with_what_it_began_with(cli, table, tmp_path, option, value, named):
    """Another seed or another table is another run: an error that says which, and the checkpoint stays."""
    train(cli, table, tmp_path / "m", "--steps", 2)
    before = (tmp_path / "m" / "checkpoint.pt").read_bytes()
    other = tmp_path / "other.csv"
    other.write_text("\n".join(table.read_text().splitlines()[:3]) + "\n")
    command = ["train", other if option == "--table" else table, "-o", tmp_path / "m", "-p", tmp_path / "small.toml"]
    ended = cli(*command, "--steps", 2, "--resume", *([option, value] if option != "--table" else []))
    assert ended.code == 1
    assert f"another {named}" in ended.err
    assert (tmp_path / "m" / "checkpoint.pt").read_bytes() == before
