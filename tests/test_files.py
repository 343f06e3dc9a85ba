"""Results on disk: written whole, over earlier results only, never over what is somebody else's."""

import os
import socket
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest

from cnnreg.config import InputConfig, preset
from cnnreg.errors import OutputError
from cnnreg.files import publishing
from cnnreg.interface.registrar import Registrar
from cnnreg.learning.modelcards import load_model, save_model
from cnnreg.learning.training import train
from cnnreg.pairs.dataset import Pair, PairFiles, load_pair
from tests.conftest import smooth_pair, tree, write_png


def load_pairs_of(folder: Path) -> list[Pair]:
    files = [write_png(folder / f"pair{n}.png", x) for n, x in enumerate(smooth_pair((40, 56)))]
    return [load_pair(PairFiles(*files), InputConfig())]


@pytest.fixture
def images(tmp_path):
    """Two images in a folder ``out``, beside a note; the fixed one is called as a result would be."""
    out = tmp_path / "out"
    out.mkdir()
    for name, image in zip(("warped.png", "m.png"), smooth_pair((40, 56)), strict=True):
        write_png(out / name, image)
    (out / "warped.notes.txt").write_text("mine")
    return out / "warped.png", out / "m.png"


def test_an_input_is_never_replaced(cli, images):
    before = tree(images[0].parent)
    ended = cli("register", *images, "-o", images[0].parent, "--overwrite", "--adapt", 2, "--model", "none")
    assert ended.code == 1
    assert "is an input and lies where a result would go" in ended.err
    assert tree(images[0].parent) == before


def test_what_is_not_ours_is_never_replaced(cli, images, tmp_path):
    """An image of a result's name that no report lists."""
    fixed = images[0].rename(tmp_path / "f.png")
    (tmp_path / "out" / "warped.tif").write_bytes(b"a picture of mine")
    before = tree(tmp_path / "out")
    ended = cli("register", fixed, images[1], "-o", tmp_path / "out", "--overwrite", "--adapt", 2, "--model", "none")
    assert (ended.code, "no report of cnnreg lists it" in ended.err) == (1, True)
    assert tree(tmp_path / "out") == before


def test_earlier_results_are_replaced_and_nothing_else(cli, images, tmp_path):
    fixed = images[0].rename(tmp_path / "f.png")
    command = ("register", fixed, images[1], "-o", tmp_path / "out", "--adapt", 2, "--model", "none", "--threads", 1)
    assert cli(*command).code == 0
    first = tree(tmp_path / "out")
    assert cli(*command).code == 1
    assert tree(tmp_path / "out") == first
    assert cli(*command, "--overwrite").code == 0
    assert tree(tmp_path / "out").keys() == first.keys()
    assert (tmp_path / "out" / "warped.notes.txt").read_text() == "mine"


def test_of_two_runs_into_one_folder_the_second_fails(images, tmp_path):
    """Both began while it was empty."""
    results = [Registrar(model="none", adapt=1).register(*images) for _ in range(2)]
    from cnnreg.pipeline.report import write_registration

    write_registration(results[0].result, tmp_path / "new", command=[], overwrite=False)
    first = tree(tmp_path / "new")
    with pytest.raises(OutputError, match="written by another run in the meantime"):
        write_registration(results[1].result, tmp_path / "new", command=[], overwrite=False)
    assert tree(tmp_path / "new") == first


def test_a_broken_link_is_noticed_before_the_work(cli, images, tmp_path):
    (tmp_path / "broken").symlink_to(tmp_path / "nowhere" / "at all")
    ended = cli("register", *images, "-o", tmp_path / "broken", "--adapt", 2)
    assert (ended.code, "is a link to nowhere" in ended.err) == (1, True)


def test_what_killed_runs_left_is_cleaned_away(tmp_path):
    """Of dead processes of this machine; that of a living one, or of another machine, stays."""
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    host = socket.gethostname()
    for name in (f"{host}-{dead.pid}-a", f"{host}-{os.getpid()}-b", "elsewhere-1-c"):
        (tmp_path / f".partial-{name}").mkdir()
    with publishing(tmp_path, replaces=()) as staging:
        (staging / "x").write_text("x")
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"x", f".partial-{host}-{os.getpid()}-b", ".partial-elsewhere-1-c"}


@pytest.mark.parametrize("name", ["field.mha", "report.json", "report.png", "warped.png"])
def test_a_file_of_a_result_s_name_is_not_a_result(cli, images, tmp_path, name):
    """Neither --overwrite nor its absence touches what no report lists; a report that lists nothing is none."""
    fixed, moving = (image.rename(tmp_path / f"{n}.png") for n, image in zip("fm", images, strict=True))
    (tmp_path / "out" / name).write_text("{}" if name == "report.json" else "mine")
    before = tree(tmp_path / "out")
    for option in ([], ["--overwrite"]):
        ended = cli("register", fixed, moving, "-o", tmp_path / "out", "--adapt", 2, "--model", "none", *option)
        assert (ended.code, "but no report of cnnreg lists it" in ended.err) == (1, True)
        assert tree(tmp_path / "out") == before


def test_a_folder_in_the_place_of_a_result_costs_no_result(cli, images, tmp_path):
    """It is noticed before the work, and the earlier results stay."""
    fixed, moving = (image.rename(tmp_path / f"{n}.png") for n, image in zip("fm", images, strict=True))
    command = ("register", fixed, moving, "-o", tmp_path / "out", "--adapt", 2, "--model", "none")
    assert cli(*command).code == 0
    (tmp_path / "out" / "report.png").unlink()
    (tmp_path / "out" / "report.png").mkdir()
    before = tree(tmp_path / "out")
    ended = cli(*command, "--overwrite")
    assert (ended.code, "report.png lies where a result would go" in ended.err) == (1, True)
    assert tree(tmp_path / "out") == before


def test_strain_and_subtraction_replace_only_their_own(cli, images, tmp_path):
    fixed, moving = images
    assert cli("register", fixed, moving, "-o", tmp_path / "r", "--adapt", 2, "--model", "none").code == 0
    commands = {
        "strain.csv": ("strain", tmp_path / "r" / "field.mha", "--seg", fixed, "--label", 200, "--wall", 5),
        "difference.mha": ("csub", fixed, "--adapt", 1),
    }
    for name, command in commands.items():
        folder = tmp_path / command[0]
        assert cli(*command, "-o", folder).code == 0
        first = tree(folder)
        assert cli(*command, "-o", folder).code == 1
        assert tree(folder) == first
        assert cli(*command, "-o", folder, "--overwrite").code == 0
        assert tree(folder).keys() == first.keys()
        other = tmp_path / f"my {name}"
        other.mkdir()
        (other / name).write_text("mine")
        ended = cli(*command, "-o", other, "--overwrite")
        assert (ended.code, "but no report of cnnreg lists it" in ended.err) == (1, True)
        assert tree(other) == {name: b"mine"}


@pytest.mark.parametrize("name", ["log.csv", "checkpoint.pt", "weights.safetensors", "card.json"])
def test_a_training_replaces_only_a_model(cli, images, tmp_path, name):
    (tmp_path / "p.csv").write_text("fixed,moving\nout/warped.png,out/m.png\n")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / name).write_text('{"network": "mine"}')
    before = tree(tmp_path / "model")
    for option in ([], ["--overwrite"]):
        ended = cli("train", tmp_path / "p.csv", "--steps", 1, "-q", "-o", tmp_path / "model", *option)
        assert (ended.code, name in ended.err) == (1, True)
        assert tree(tmp_path / "model") == before


def test_an_adapted_model_replaces_only_a_model_and_not_the_one_it_began_with(cli, images, tmp_path, tiny_model):
    command = ("adapt", *images, "--steps", 1, "-q", "--model", tiny_model)
    start = tree(tiny_model)
    ended = cli(*command, "-o", tiny_model, "--overwrite")
    assert (ended.code, "the model that this one begins with" in ended.err) == (1, True)
    assert tree(tiny_model) == start
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "weights.safetensors").write_text("mine")
    for option in ([], ["--overwrite"]):
        assert cli(*command, "-o", tmp_path / "mine", *option).code == 1
    assert tree(tmp_path / "mine") == {"weights.safetensors": b"mine"}
    assert cli(*command, "-o", tmp_path / "new").code == 0
    assert cli(*command, "-o", tmp_path / "new").code == 1
    assert cli(*command, "-o", tmp_path / "new", "--overwrite").code == 0


def test_of_two_trainings_into_one_folder_the_second_fails(tiny_model, tmp_path):
    """Both began while it was empty: the second notices before its first step, and an adaptation when it ends."""
    model, pairs = load_model(tiny_model), load_pairs_of(tmp_path)
    (tmp_path / "new").mkdir()
    config = preset("default").override({"training": {"steps": 1, "batch_size": 1}}, source="test")
    for seed in (0, 1):
        first = tree(tmp_path / "new")
        with nullcontext() if seed == 0 else pytest.raises(OutputError, match="another run"):
            train(model.network, pairs, tmp_path / "new", config=config, seed=seed, overwrite=False)
    assert tree(tmp_path / "new") == first
    facts = {"name": "n", "description": "d"}
    save_model(model.network, tmp_path / "model", config, overwrite=False, **facts)
    with pytest.raises(OutputError, match="another run"):
        save_model(model.network, tmp_path / "model", config, overwrite=False, **facts)


def test_a_demo_does_not_replace_your_images(cli, tmp_path):
    (tmp_path / "fixed.png").write_bytes(b"mine")
    for option in ([], ["--overwrite"]):
        ended = cli("demo", "-o", tmp_path, "--adapt", 1, *option)
        assert (ended.code, "but no report of cnnreg lists it" in ended.err) == (1, True)
    assert tree(tmp_path) == {"fixed.png": b"mine"}


def test_single_files_do_not_replace_what_they_come_from(cli, images, tmp_path):
    """Nor what else they need: elastix's text has its field beside it."""
    fixed, moving = images
    assert cli("register", fixed, moving, "-o", tmp_path / "r", "--adapt", 2, "--model", "none").code == 0
    field = tmp_path / "r" / "field.mha"
    table = tmp_path / "p.csv"
    table.write_text("x,y\n1,2\n")
    again = tmp_path / "a_warped.png"
    again.write_bytes(moving.read_bytes())
    (tmp_path / "a.png").write_bytes(moving.read_bytes())
    commands = [
        ("transform", "invert", field, "-o", field, "--overwrite"),
        ("transform", "compose", field, field, "-o", field, "--overwrite"),
        ("transform", "convert", field, "-o", field.with_suffix(".txt"), "--to", "elastix"),
        ("transform", "convert", field, "-o", field.with_suffix(".txt"), "--to", "elastix", "--overwrite"),
        ("apply", field, tmp_path / "a.png", again, "-o", tmp_path, "--overwrite"),
        ("evaluate", "--points-fixed", table, "--points-moving", table, "--field", field, "--csv", table),
    ]
    before = tree(tmp_path)
    for command in commands:
        ended = cli(*command)
        assert ended.code in {1, 2}, command
        assert "an input" in ended.err or "exists" in ended.err, ended.err
        assert tree(tmp_path) == before, command
