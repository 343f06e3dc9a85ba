"""Words of the command line to values.

Typer's own way loads pydantic and builds a validator for every option, which takes longer than reading the images.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import typer

WHOLE, NUMBER = "a whole number", "a number"


class Reader:
    """Reads the words of one option or argument; what Typer asks for a value."""

    def __init__(self, read: Callable[[Any], Any], *, several: bool) -> None:
        self._read, self._several = read, several

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        """The value of what was typed, or of a default.

        Raises:
            typer.BadParameter: it is no such value; with what was expected.
        """
        try:
            if self._several:
                return [self._read(word) for word in value or ()]
            return None if value is None else self._read(value)
        except ValueError as error:
            raise typer.BadParameter(str(error), ctx=ctx, param=param) from None


def reader_of(parameter: Any) -> Reader | None:
    """For text, files, numbers, choices, lists of these, and switches; None for what Typer is to read."""
    kind, told = parameter.type_descriptor.annotation, parameter.type_descriptor.parameter_info
    several = get_origin(kind) is list
    if several:
        kind = get_args(kind)[0]
    if kind in {str, Path, bool}:  # of a switch the parser knows the value
        return Reader(kind, several=several)
    if kind in {int, float}:
        return Reader(lambda word: _number(kind, word, told.min, told.max), several=several)
    if get_origin(kind) is Literal:
        return Reader(lambda word: _choice(get_args(kind), word), several=several)
    return None


def _number(kind: type[int] | type[float], word: Any, low: float | None, high: float | None) -> int | float:
    try:
        value = kind(word)
    except ValueError:
        raise ValueError(f"{WHOLE if kind is int else NUMBER} was expected, got {word!r}") from None
    if low is not None and not value >= low:  # NaN is not, either
        raise ValueError(f"it must be {low:g} or more, got {word!r}")
    if high is not None and not value <= high:
        raise ValueError(f"it must be {high:g} or less, got {word!r}")
    return value


def _choice(choices: tuple[str, ...], word: str) -> str:
    """Capitals are understood, too."""
    for choice in choices:
        if choice.lower() == word.lower():
            return choice
    raise ValueError(f"{word!r} is not one of {', '.join(map(repr, choices))}.")
