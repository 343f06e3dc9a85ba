"""What can go wrong through no fault of the code: each error is one sentence for the person at the terminal."""

import difflib
from collections.abc import Iterable


class CnnregError(Exception):
    """Something the user can mend. The message says what was expected, what came, and what to do."""

    exit_code = 1


class UsageError(CnnregError):
    """The command line itself is wrong: unknown names, options that contradict each other or do nothing."""

    exit_code = 2


class ImageError(CnnregError):
    """An image cannot be read, written or used."""


class TableError(CnnregError):
    """A CSV file lacks columns or rows, or names files that are not there."""


class ConfigError(CnnregError):
    """A parameter file or preset holds a key or value that is not valid."""


class ModelError(CnnregError):
    """A model is missing, damaged, or does not fit its card."""


class ShapeError(CnnregError):
    """Tensors whose shapes do not go together."""


class DivergenceError(CnnregError):
    """An optimisation produced a loss that is not finite."""


class DeviceError(CnnregError):
    """A device was asked for that this machine does not have."""


class Interrupted(CnnregError):  # noqa: N818  it is no error
    """Long work was told to stop, and saved what it had."""

    exit_code = 130


class OutputError(CnnregError):
    """A result cannot be written where it was asked for, or would overwrite another."""


class FileNotice(UserWarning):
    """What was read of a file, where that may surprise; the command line shows it as a note."""


def unknown_name(kind: str, name: str, valid: Iterable[str]) -> str:
    """The sentence for a name that is not known, with the nearest valid one first."""
    names = sorted(valid)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"unknown {kind} {name!r}: {hint}valid are {', '.join(names) or 'none'}"
