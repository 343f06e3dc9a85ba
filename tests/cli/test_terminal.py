"""What a person at a terminal sees: progress by stage, a table that says what is better, commands that can be typed."""

import contextlib
import os
import pty
import re
import shlex
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from cnnreg.cli import console, progress
from cnnreg.cli.main import run
from tests.conftest import Ended

STATES = {
    "before": {"mad": 0.3, "ncc": 0.5, "folding_percent": 0.0},
    "prediction": {"mad": 0.1, "ncc": 0.7, "folding_percent": 2.0, "sd_log_jacobian": 0.3},
    "adaptation": {"mad": 0.2, "ncc": 0.9, "folding_percent": 0.0, "sd_log_jacobian": 0.2},
}


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str]]:
    """``terminal("register", ...)`` gives the exit code and what a terminal of 80 columns shows, without colours."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")

    def call(*arguments: object) -> tuple[int, str]:
        ours, theirs = pty.openpty()
        shown = bytearray()

        def read() -> None:
            with contextlib.suppress(OSError):  # how a terminal ends
                while part := os.read(ours, 65536):
                    shown.extend(part)

        reader = threading.Thread(target=read)
        reader.start()
        with os.fdopen(theirs, "w", encoding="utf-8") as screen, monkeypatch.context() as patched:
            patched.setattr(sys, "stdout", screen)
            patched.setattr(sys, "stderr", screen)
            code = run([str(argument) for argument in arguments])
        reader.join()
        os.close(ours)
        return code, re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode())

    return call


Terminal = Callable[..., tuple[int, str]]


def test_the_stages_are_shown_in_their_order(terminal: Terminal, pair_files: tuple[Path, Path], tmp_path: Path):
    """From the loading of libraries to the writing of results; nothing of it is left in the end."""
    code, shown = terminal("register", *pair_files, "--adapt", 3, "-o", tmp_path / "out")
    assert code == 0, shown
    stages = ["loading the libraries", "loading the model", "reading", "finding", "predicting", "iterating", "writing"]
    places = [shown.find(stage) for stage in stages]
    assert -1 not in places
    assert places == sorted(places)
    assert shown.find("registered to fixed.png") > shown.rfind("writing the results")


def test_without_iterations_there_are_stages_too(terminal: Terminal, pair_files: tuple[Path, Path], tmp_path: Path):
    code, shown = terminal("register", *pair_files, "--adapt", 0, "-o", tmp_path / "out")
    assert (code, "predicting" in shown, "iterating" in shown) == (0, True, False), shown


def test_no_line_is_wider_than_the_terminal(terminal: Terminal, pair_files: tuple[Path, Path], tmp_path: Path):
    """But for paths and sentences, which wrap."""
    code, shown = terminal("register", *pair_files, "--adapt", 2, "-o", tmp_path / "out")
    assert code == 0
    lines = [line for line in re.split(r"[\r\n]+", shown) if not line.startswith(("wrote", "next"))]
    assert max(map(len, lines)) <= 80


def test_no_progress_where_it_is_not_wanted(
    terminal: Terminal, cli: Callable[..., Ended], pair_files: tuple[Path, Path], tmp_path: Path
):
    """On what is no terminal, and with --quiet on one."""
    ended = cli("register", *pair_files, "--adapt", 2, "-o", tmp_path / "a")
    assert (ended.code, ended.err) == (0, "")
    assert terminal("register", *pair_files, "--adapt", 2, "--quiet", "-o", tmp_path / "b") == (0, "")


def test_progress_of_a_failure_goes_away(terminal: Terminal, tmp_path: Path):
    """What remains is the error."""
    code, shown = terminal("register", "no.png", "no2.png", "-o", tmp_path / "out")
    assert code == 1
    assert shown.strip().splitlines()[-1].startswith("error: ")


def test_a_display_counts_parts():
    """Of a stage with parts all are yielded, shown or not."""
    shown = progress.Display()
    assert list(shown.track("abc", "reading", 3)) == ["a", "b", "c"]


def test_training_has_lines_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]):
    """One a tenth of the way, for the log of a job; with --quiet none."""
    for quiet, expected in ((False, [f"training: step {n} of 20, loss" for n in range(2, 21, 2)]), (True, [])):
        show = progress.training(progress.Display(), quiet=quiet)
        for step in range(1, 21):
            show(step, 20, "loss")
        assert capsys.readouterr().err.splitlines() == expected


def test_the_best_of_a_row_is_marked(capsys: pytest.CaptureFixture[str]):
    """The lowest where lower is better, the highest where that is; all that are alike; nothing where neither is."""
    console.print_measures("title", STATES)
    lines = {re.split(r"\s{2,}", line)[0]: line.split() for line in capsys.readouterr().out.splitlines()}
    assert lines["MAE (MAD)"][2:] == ["lower", "0.3000", "0.1000*", "0.2000"]
    assert lines["NCC"][1:] == ["higher", "0.5000", "0.7000", "0.9000*"]
    assert lines["folding [%]"][2:] == ["lower", "0.000*", "2.000", "0.000*"]
    assert lines["SD log J"][3:] == ["0.300", "0.200"]


def test_what_is_no_guide_is_not_marked(capsys: pytest.CaptureFixture[str]):
    console.print_measures("", STATES, unreliable=["NCC"])
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("NCC"))
    assert ("no guide" in line, "*" in line) == (True, False)


def test_one_state_alone_is_not_called_the_best(capsys: pytest.CaptureFixture[str]):
    console.print_measures("", {"value": STATES["before"]})
    assert "*" not in capsys.readouterr().out


def test_printed_commands_can_be_typed(cli: Callable[..., Ended], tmp_path: Path):
    """That of the demo, and the next one, with a blank in the folder's name."""
    folder = tmp_path / "my demo"
    ended = cli("demo", "-o", folder, "--adapt", 0)
    assert ended.code == 0, ended.err
    words = shlex.split(ended.out.splitlines()[0])
    assert words[:4] == ["cnnreg", "register", str(folder / "fixed.png"), str(folder / "moving.png")]
    assert cli(*words[1:], "--overwrite").code == 0
    told = next(line for line in ended.out.splitlines() if line.startswith("next: ")).removeprefix("next: ")
    words = shlex.split(told)
    assert words[:3] == ["cnnreg", "apply", str(folder / "result" / "field.mha")]
    assert cli(*words[1:3], folder / "moving.png", "-o", tmp_path / "applied").code == 0
