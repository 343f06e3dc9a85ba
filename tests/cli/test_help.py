"""The help of every command: whole sentences in groups, within 80 columns, nothing cut."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import typer.main
from typer.core import TyperOption

from cnnreg.cli.main import app
from tests.conftest import Ended


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command below, with the words that call it."""
    for name, below in getattr(command, "commands", {}).items():
        if not below.hidden:
            yield (*path, name), below
            yield from commands(below, (*path, name))


COMMANDS = dict(commands(typer.main.get_command(app)))


def test_there_are_commands_to_look_at():
    assert {("register",), ("models", "pull"), ("transform", "convert")} <= COMMANDS.keys()


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("columns", [80, 120])
def test_help_fits_and_is_tidy(
    path: tuple[str, ...], columns: int, cli: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
):
    """No types in angle brackets, no braces, no name that is cut, no option without a group."""
    monkeypatch.setenv("COLUMNS", str(columns))
    ended = cli(*path, "--help")
    assert ended.code == 0
    assert max(map(len, ended.out.splitlines())) <= columns
    assert re.findall(r"<bool>|<str>|<path>|<int|<list|[{}…]|\.\.\.\.|─ Options ─", ended.out) == []
    assert "[OPTIONS]" in ended.out.splitlines()[1]


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_help_is_in_sentences(path: tuple[str, ...]):
    """Of the command, and of each of its options: a capital first, a full stop last."""
    command = COMMANDS[path]
    texts = {"": command.help}
    texts |= {p.opts[0]: p.help for p in command.params if isinstance(p, TyperOption)}
    odd = {name: text for name, text in texts.items() if not re.fullmatch(r"[A-Z].*[.)]", text.strip(), re.DOTALL)}
    assert odd == {}


def test_defaults_are_what_counts(cli: Callable[..., Ended]):
    """In one pair of brackets, numbers as they are, 0 included."""
    for words, expected in ((("register",), "[default: 50]"), (("strain",), "[default: 0.0]")):
        text = " ".join(cli(*words, "--help").out.replace("│", " ").split())
        assert expected in text
        assert "default: (" not in text


@pytest.mark.parametrize(
    ("line", "choices"),
    [
        (("register", "a.png", "b.png", "--padding", "x"), ("auto", "off")),
        (("register", "a.png", "b.png", "--metric", "x"), ("lncc", "mattes")),
        (("register", "a.png", "b.png", "--field-type", "x"), ("float32", "float64")),
        (("apply", "f.mha", "b.png", "--interpolation", "cubic"), ("linear", "nearest")),
        (("transform", "convert", "f.mha", "-o", "g.mha", "--to", "fsl"), ("itk", "voxelmorph")),
        (("register", "a.png", "b.png", "--init", "x"), ("auto", "affine")),
        (("register", "a.png", "b.png", "--preset", "x"), ("accurate", "paper")),
    ],
)
def test_a_choice_that_there_is_not_lists_those_there_are(
    line: tuple[str, ...], choices: tuple[str, ...], cli: Callable[..., Ended]
):
    ended = cli(*line)
    assert (ended.code, [choice for choice in choices if choice not in ended.err]) == (2, []), ended.err


@pytest.mark.parametrize(
    ("value", "said"), [("fifty", "a whole number was expected, got 'fifty'"), ("-3", "it must be 0 or more, got '-3'")]
)
def test_a_value_that_is_none_is_said_so(value: str, said: str, cli: Callable[..., Ended]):
    """In words that are not those of a library."""
    ended = cli("register", "a.png", "b.png", "--iterations", value)
    assert (ended.code, said in ended.err, "Input" in ended.err) == (2, True, False), ended.err


def test_a_seed_that_torch_does_not_take(cli: Callable[..., Ended]):
    ended = cli("register", "a.png", "b.png", "--seed", 2**63)
    assert (ended.code, "largest seed" in ended.err) == (2, True), ended.err


def test_finetune_is_adapt(cli: Callable[..., Ended]):
    """Under its other name, the same command with the same complaint."""
    ended = [cli(name, "a.png") for name in ("adapt", "finetune")]
    assert ended[0] == ended[1]
    assert (ended[0].code, "FIXED and MOVING" in ended[0].err) == (2, True)
