"""Names from other tools: further names of options and metrics, hints, and help in groups."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from cnnreg.cli import console, settings
from cnnreg.cli.declaring import IMAGES, INITIAL, LABELS, MACHINE, METRIC, MODEL, OUTPUT
from cnnreg.errors import UsageError
from cnnreg.interface.setup import Choices
from tests.conftest import Ended

GROUPS = [
    IMAGES,
    MODEL,
    INITIAL,
    METRIC,
    LABELS,
    OUTPUT,
    MACHINE,
]


def test_help_of_register_is_grouped(cli: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch):
    """Each group has its heading, and no line is wider than the terminal."""
    monkeypatch.setenv("COLUMNS", "80")
    text = cli("register", "--help").out
    assert [group for group in GROUPS if f"─ {group} ─" not in text] == []
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize(
    ("name", "metric"), [("cc", "lncc"), ("mattes", "mi"), ("meansquares", "mse"), ("demons", "mse"), ("ncc", "ncc")]
)
def test_metrics_by_their_names_elsewhere(name: str, metric: str):
    """ANTs' and elastix's names stand for ours."""
    assert Choices(similarity=name).changes["refinement"] == {"similarity": metric}


def test_further_names_of_options(cli: Callable[..., Ended], pair_files: tuple[Path, Path], tmp_path: Path):
    """``--iterations`` and ``--metric`` do what ``--adapt`` and ``--similarity`` do."""
    names = ("--iterations", 3, "--metric", "Mattes"), ("--adapt", 3, "--similarity", "mi")
    for out, chosen in zip("ab", names, strict=True):
        ended = cli("register", *pair_files, *chosen, "-o", tmp_path / out, "--model", "none")
        assert ended.code == 0, ended.err
    assert (tmp_path / "a/field.mha").read_bytes() == (tmp_path / "b/field.mha").read_bytes()
    assert json.loads((tmp_path / "a/report.json").read_text())["parameters"]["refinement"]["similarity"] == "mi"


def test_images_given_as_options(cli: Callable[..., Ended]):
    """``-f`` from habit is answered with how it is done here."""
    ended = cli("register", "-f", "a.png", "-m", "b.png")
    assert (ended.code, "Give FIXED and MOVING without options" in ended.err) == (2, True)


def test_other_unknown_options_get_no_such_hint(cli: Callable[..., Ended]):
    """The hint is for ``-f`` alone, not for every option that contains it."""
    ended = cli("register", "a.png", "b.png", "--fix", "c.png")
    assert (ended.code, "without options" in ended.err) == (2, False)


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        (("help",), "For help, type cnnreg --help"),
        (("help", "register"), "For help, type cnnreg register --help"),
        (("a b.png", "c.tif", "--adapt", "5"), "type cnnreg register 'a b.png' c.tif --adapt 5"),
        (("register", "a.png", "b.png", "--inverse", "true"), "A switch, such as --inverse, takes no value"),
    ],
)
def test_habits_get_a_hint(cli: Callable[..., Ended], line: tuple[str, ...], hint: str):
    ended = cli(*line)
    assert (ended.code, hint in ended.err) == (2, True), ended.err


@pytest.mark.parametrize(("text", "expected"), [("1.25", (1.25, 1.25)), ("1,1.5", (1, 1.5)), ("1.0,25.0", (1, 25))])
def test_spacing(text: str, expected: tuple[float, float]):
    assert settings.numbers(text, "--spacing") == expected


def test_a_decimal_comma_is_no_second_number():
    """1,25 is not 1 by 25 mm unless it is said so."""
    with pytest.raises(UsageError, match=r"write 1\.25 for a decimal number, or 1\.0,25\.0 if you mean two"):
        settings.numbers("1,25", "--spacing")


@pytest.mark.parametrize(("variable", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_errors_have_no_colour_where_none_is_wanted(variable: str, value: str, monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    for name in ("NO_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    console.error("x")
    assert capsys.readouterr().err == "\033[31merror:\033[0m x\n"
    monkeypatch.setenv(variable, value)
    console.error("x")
    assert capsys.readouterr().err == "error: x\n"
