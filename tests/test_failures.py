"""What goes wrong outside of the code, told in one sentence: full disks, names too long, nested and coloured text."""

import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import Ended, save_tiny_model, smooth_pair, tree, write_png

CLI = Callable[..., Ended]
LONG = "n" * 300


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    return [write_png(tmp_path / f"{n}.png", x) for n, x in zip("fm", smooth_pair((64, 80)), strict=True)]


@contextmanager
def small_disk(size: int) -> Iterator[None]:
    """No file may grow beyond ``size`` bytes: writing more is an error of the system, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize(
    ("command", "size"),
    [("register", 3000), ("register", 200), ("adapt", 2000), ("train", 2000), ("csub", 3000)],
)
def test_a_full_disk_is_one_sentence_and_leaves_no_half_files(
    cli: CLI, images: list[Path], tmp_path: Path, command: str, size: int
) -> None:
    model = ["--model", save_tiny_model(tmp_path / "model")]
    (tmp_path / "p.csv").write_text("fixed,moving\nf.png,m.png\n")
    arguments = {
        "register": [*images, *model, "--adapt", 2, "--no-picture"],
        "adapt": [*images, *model, "--steps", 1],
        "train": [tmp_path / "p.csv", *model, "--steps", 1],
        "csub": [images[0], *model, "--adapt", 1],
    }[command]
    with small_disk(size):
        ended = cli(command, *arguments, "-q", "--threads", 1, "-o", tmp_path / "out")
    assert ended.code == 1
    assert len(ended.err.splitlines()) == 1, ended.err
    assert ended.err.startswith("error: cannot write"), ended.err
    assert ".partial" not in ended.err
    assert not (tmp_path / "out").exists() or tree(tmp_path / "out") == {}


@pytest.mark.parametrize(
    "command",
    [
        "register F M --model L",
        "register F M --init L.tfm",
        "register F M --fixed-mask L.png --moving-mask L.png",
        "register F M -o L",
        "register F L.png",
        "evaluate --fixed F --moving M --csv L.csv",
        "evaluate --fixed F --moving M --points-fixed L.csv --points-moving L.csv",
        "models info L",
        "models path L",
        "models pull L",
        "models add MODEL --name L",
        "transform info L.mha",
        "transform invert L.mha -o x.mha",
        "apply L.mha F -o x",
        "train L.csv -o x",
        "adapt F M --steps 1 -o L",
        "study L.toml L.toml -o x",
        "strain L.mha --seg F",
        "presets show L",
    ],
)
def test_names_that_are_too_long(cli: CLI, images: list[Path], tmp_path: Path, command: str) -> None:
    known = {"F": images[0], "M": images[1], "MODEL": save_tiny_model(tmp_path / "model")}
    ended = cli(*(known.get(word, word.replace("L", LONG) if word[0] == "L" else word) for word in command.split()))
    assert ended.code in {1, 2}
    assert len(ended.err.splitlines()) == 1, ended.err


def test_cards_and_parameters_nested_beyond_all_depth(cli: CLI, images: list[Path], cache: Path, tmp_path: Path):
    """They do not hide the other models either."""
    (cache / "deep").mkdir(parents=True)
    (cache / "deep" / "card.json").write_text("[" * 200000)
    (tmp_path / "deep.toml").write_text("a = " + "[" * 200000)
    listed = cli("models", "list")
    assert listed.code == 0
    assert "DAMAGED" in listed.out
    assert "chest-xray" in listed.out
    for command in (["models", "info", "deep"], ["register", *images, "--model", "deep"]):
        ended = cli(*command)
        assert (ended.code, "is not a valid model card" in ended.err) == (1, True)
    ended = cli("register", *images, "--parameters", tmp_path / "deep.toml")
    assert (ended.code, "is not a TOML parameter file" in ended.err) == (1, True)


def test_a_card_does_not_steer_the_terminal(cli: CLI, images: list[Path], cache: Path, tmp_path: Path) -> None:
    """Its escape sequences, and what turns the direction of text, are left out; nor does a file's name."""
    model = save_tiny_model(cache / "loud", name="\x1b]0;title\x07loud")
    card = (model / "card.json").read_text()
    told = r"\u001b[31mRED\u009b0m\u202e\r\nsecond"
    (model / "card.json").write_text(card.replace('"description": "', f'"description": "{told}'))
    bad = tmp_path / "\x1b[31mbad.png"
    bad.write_bytes(b"no image")
    ends = [
        cli("models", "list"),
        cli("models", "list", "--json"),
        cli("models", "info", "loud"),
        cli("register", *images, "--model", "loud", "--adapt", 1, "-o", tmp_path / "out"),
        cli("register", bad, images[1]),
    ]
    assert [ended.code for ended in ends] == [0, 0, 0, 0, 1]
    assert "RED" in ends[0].out
    assert len([line for line in ends[0].out.splitlines() if "second" in line and "RED" in line]) == 1
    for ended in ends:
        assert not set("\x1b\x07\x9b\u202e\r") & set(ended.out + ended.err)


def test_a_bug_keeps_its_traceback() -> None:
    """Only errors of the system that no code of ours can have caused are told in a sentence."""
    code = """
import cnnreg.cli.main as main
def bug(_):
    raise OSError(22, "a bug")
main._check_names = bug
main.run(["info"])
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "Traceback" in ended.stderr
