"""Results on disk: written whole, over earlier results only, never over what is somebody else's."""

import os
import socket
import subprocess
import sys

import pytest

from cnnreg.errors import OutputError
from cnnreg.files import publishing
from cnnreg.interface.registration import Registrar
from tests.conftest import smooth_pair, tree, write_png


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
