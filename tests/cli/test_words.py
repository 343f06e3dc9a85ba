"""Names from other tools: further names of options and metrics, hints, and help in groups."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from cnnreg.cli import options, settings
from tests.conftest import Ended

GROUPS = [
    options.IMAGES,
    options.MODEL,
    options.INITIAL,
    options.METRIC,
    options.LABELS,
    options.OUTPUT,
    options.MACHINE,
]


def test_help_of_register_is_grouped(cli: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch):
    """Each group has its heading, and no line is wider than the terminal."""
    monkeypatch.setenv("COLUMNS", "80")
    text = cli("register", "--help").out
    assert [group for group in GROUPS if f"─ {group} ─" not in text] == []
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize(("name", "metric"), [("cc", "lncc"), ("mattes", "mi"), ("meansquares", "mse"), ("ncc", "ncc")])
def test_metrics_by_their_names_elsewhere(name: str, metric: str):
    """ANTs' and elastix's names stand for ours."""
    assert settings.similarity(name)["refinement"] == {"similarity": metric}


def test_further_names_of_options(cli: Callable[..., Ended], pair_files: tuple[Path, Path], tmp_path: Path):
    """``--iterations`` and ``--metric`` do what ``--adapt`` and ``--similarity`` do."""
    names = ("--iterations", 3, "--metric", "mattes"), ("--adapt", 3, "--similarity", "mi")
    for out, chosen in zip("ab", names, strict=True):
        ended = cli("register", *pair_files, *chosen, "-o", tmp_path / out, "--model", "none")
        assert ended.code == 0, ended.err
    assert (tmp_path / "a/field.mha").read_bytes() == (tmp_path / "b/field.mha").read_bytes()
    assert json.loads((tmp_path / "a/report.json").read_text())["parameters"]["refinement"]["similarity"] == "mi"


def test_images_given_as_options(cli: Callable[..., Ended]):
    """``-f`` from habit is answered with how it is done here."""
    ended = cli("register", "-f", "a.png", "-m", "b.png")
    assert (ended.code, "give FIXED and MOVING without options" in ended.err) == (2, True)


def test_other_unknown_options_get_no_such_hint(cli: Callable[..., Ended]):
    """The hint is for ``-f`` alone, not for every option that contains it."""
    ended = cli("register", "a.png", "b.png", "--fix", "c.png")
    assert (ended.code, "without options" in ended.err) == (2, False)
