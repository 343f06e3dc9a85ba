"""Options of ``register`` in the rows of a table: read by the same parser, and laid over those of the command line."""

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import typer.main
from typer.core import TyperCommand
from typer.exceptions import TyperException

from cnnreg.cli.help import Command
from cnnreg.cli.plan import Options
from cnnreg.cli.register import register
from cnnreg.cli.shelf import alone
from cnnreg.errors import UsageError, unknown_name

IMAGES = ("fixed", "moving")
OF_PAIRS = {"fixed_mask", "moving_mask", "seg_fixed", "seg_moving", "points_fixed", "points_moving"}
FILES = {*IMAGES, *OF_PAIRS, "parameters"}
NAMES_OR_FILES = {"init", "model"}
OF_THE_RUN = {"out", "no_picture", "overwrite", "quiet", "as_json", "html", "device", "threads"}  # one for all rows
FLAGS = {"1": True, "true": True, "yes": True, "y": True, "0": False, "false": False, "no": False, "n": False}


@cache
def _parser() -> TyperCommand:
    return _register()


def _register() -> TyperCommand:
    """``register`` itself."""
    command = typer.main.get_command(alone(register))
    assert isinstance(command, TyperCommand)
    return command


@cache
def columns() -> dict[str, str]:
    """Names of columns, as options are spelled but with underscores -> the argument of ``register`` that they set."""
    found = {name: name for name in IMAGES}
    for param in _parser().params:
        if param.name in {*OF_THE_RUN, *IMAGES, "help"} or param.name is None:
            continue
        found |= {option[2:].replace("-", "_"): param.name for option in param.opts if option.startswith("--")}
    return found


class WithRowOptions(Command):
    """A command that also takes the options of ``register`` that rows may have; those given are in ``ctx.obj``."""

    def __init__(self, *arguments: Any, params: list[Any] | None = None, **rest: Any) -> None:
        own = params or []
        named = {option for param in own for option in param.opts}
        others = [p for p in _register().params if p.name not in IMAGES and not named & set(p.opts)]
        self.row_options = [p for p in others if p.name in columns().values()]
        super().__init__(*arguments, params=[*own, *self.row_options], **rest)

    def invoke(self, ctx: Any) -> Any:
        """Keep the options of rows from the function of the command."""
        ctx.obj = {}
        for param in self.row_options:
            value = ctx.params.pop(param.name)
            if "COMMANDLINE" in str(ctx.get_parameter_source(param.name)):
                ctx.obj[param.name] = value
        return super().invoke(ctx)


def read_options(cells: Mapping[str, str], given: Mapping[str, Any], *, base: Path) -> Options:
    """The options of a row: ``given`` on the command line, and over them what its ``cells`` say.

    Paths in cells are relative to ``base``, the folder of the table.

    Raises:
        UsageError: a cell is no value of its option.
    """
    words, flags = list(_arguments(cells, base)), {}
    for name, value in cells.items():
        if (argument := columns()[name]) in _flags():
            if value.lower() not in FLAGS:
                raise UsageError(f"{name} must be true or false, got {value!r}")
            flags[argument] = FLAGS[value.lower()]
    try:
        context = _parser().make_context("row", words)
    except TyperException as error:
        raise UsageError(error.format_message()) from None
    set_here = {columns()[name] for name in cells}
    values = {name: value for name, value in context.params.items() if name in set_here or name not in given}
    return Options.of({**given, **values, **flags})


def _arguments(cells: Mapping[str, str], base: Path) -> Iterator[str]:
    """A row as the words of a command line."""
    for name, value in cells.items():
        argument = columns()[name]
        is_file = argument in FILES or (argument in NAMES_OR_FILES and _is_path(value, argument))
        word = str(base / value) if is_file else value
        if argument not in IMAGES and argument not in _flags():
            yield f"--{name.replace('_', '-')}={word}"
    yield "--"
    yield from (str(base / cells[name]) for name in IMAGES)


def _is_path(value: str, argument: str) -> bool:
    return "/" in value or (argument == "init" and "." in value)


@cache
def _flags() -> set[str]:
    return {param.name for param in _parser().params if getattr(param, "is_flag", False) and param.name}


def check_columns(found: list[str], kept: list[str]) -> None:
    """Make sure that every column is understood, or is to be ``kept`` for the summary.

    Raises:
        UsageError: there is another; a misspelt option would be lost without a word.
    """
    for name in found:
        if name and name not in {*columns(), "pair_id", *kept}:
            fault = unknown_name("column", name, {*columns(), "pair_id"}).partition(": ")
            hint = fault[2].partition("valid are")[0].rstrip()
            raise UsageError(
                f"{fault[0]}: {hint or 'it is no option of register.'} To copy it into the summary, give --keep {name}"
            )
    if absent := [name for name in kept if name not in found]:
        raise UsageError(unknown_name("column of --keep", absent[0], found))
