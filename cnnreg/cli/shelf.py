"""Commands that are imported when they are called, so that one does not wait for the others."""

from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from typing import Any, NamedTuple

import typer
import typer.main

from cnnreg.cli.help import Command


class Place(NamedTuple):
    """Where a command is: a function, or a Typer of several, in a module of this folder; and its panel of the help."""

    module: str
    attribute: str
    panel: str
    hidden: bool = False


class Shelf(Mapping[str, Any]):
    """Commands by name, made when they are asked for."""

    def __init__(self, places: Mapping[str, Place]) -> None:
        self._places = places
        self._made: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._made:
            self._made[name] = _make(name, self._places[name])
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


def alone(function: Callable[..., None], *, cls: type[Command] = Command) -> typer.Typer:
    """A function as the only command."""
    app = typer.Typer(add_completion=False)
    app.command(cls=cls)(function)
    return app


def _make(name: str, place: Place) -> Any:
    found = getattr(import_module(f"cnnreg.cli.{place.module}"), place.attribute)
    command = typer.main.get_command(found if isinstance(found, typer.Typer) else alone(found))
    command.name, command.hidden = name, place.hidden
    command.rich_help_panel = place.panel  # type: ignore[attr-defined]
    return command
