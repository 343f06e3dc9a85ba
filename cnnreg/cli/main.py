"""The ``cnnreg`` command: which commands there are, and how errors end."""

import errno
import os
import shlex
import sys
import warnings
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.exceptions import TyperException

from cnnreg import __version__
from cnnreg.cli import console
from cnnreg.cli.help import PANEL, Group
from cnnreg.cli.shelf import Place, Shelf
from cnnreg.errors import CnnregError, FileNotice, UsageError

REGISTRATION, MODELS, APPLICATIONS, FIRST = "Registration", "Models", "Applications", "First steps"
COMMANDS = {
    "register": Place("register", "register", REGISTRATION),
    "apply": Place("evaluate", "apply", REGISTRATION),
    "evaluate": Place("evaluate", "evaluate", REGISTRATION),
    "batch": Place("batch", "app", REGISTRATION),
    "transform": Place("transform", "app", REGISTRATION),
    "train": Place("train", "train", MODELS),
    "adapt": Place("register", "adapt", MODELS),
    "finetune": Place("register", "adapt", MODELS, hidden=True),  # as others call it
    "models": Place("models", "app", MODELS),
    "presets": Place("presets", "app", MODELS),
    "csub": Place("applications", "csub", APPLICATIONS),
    "strain": Place("applications", "strain", APPLICATIONS),
    "study": Place("study", "study", APPLICATIONS),
    "demo": Place("demo", "demo", FIRST),
    "info": Place("presets", "info", FIRST),
}


class Root(Group):
    """``cnnreg`` itself."""

    def __init__(self, **rest: Any) -> None:
        super().__init__(**rest)
        self.commands = Shelf(COMMANDS)  # type: ignore[assignment]  # to which nothing is added


app = typer.Typer(
    name="cnnreg",
    cls=Root,
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # a bug keeps Python's own traceback
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Deformable registration of 2D images: a network predicts the displacement field, iterations improve it.",
)

INTERRUPTED = 130
BEYOND_US = {  # errors of the system that no code of ours can have caused
    errno.ENAMETOOLONG,
    errno.ELOOP,
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EROFS,
    errno.EACCES,
    errno.EIO,
}
_show_other = warnings.showwarning


def _show_warning(message: Warning | str, category: type[Warning], *place: Any, **rest: Any) -> None:
    """What a file surprises with is a note."""
    if issubclass(category, FileNotice):
        console.note(str(message))
    else:
        _show_other(message, category, *place, **rest)


def _print_version(wanted: bool) -> None:
    if wanted:
        console.say(f"cnnreg {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=_print_version,
            is_eager=True,
            help="Print the version and exit.",
            rich_help_panel=PANEL,
        ),
    ] = False,
) -> None:
    pass


def run(arguments: list[str] | None = None) -> int:
    """Run a command line and return its exit code: 0 done, 1 cannot be done, 2 not a valid command line."""
    try:
        _check_names(sys.argv[1:] if arguments is None else arguments)
        with warnings.catch_warnings():
            warnings.simplefilter("always", FileNotice)
            warnings.showwarning = _show_warning
            code = app(arguments, prog_name="cnnreg", standalone_mode=False) or 0
        if code == INTERRUPTED:  # Typer turns Ctrl-C into an exit code, silently
            console.error("interrupted")
        return code
    except CnnregError as error:
        console.error(str(error))
        return error.exit_code
    except TyperException as error:
        if message := error.format_message():  # empty where the help has been shown instead
            console.error(message + _habit(message, sys.argv[1:] if arguments is None else arguments))
        return error.exit_code
    except BrokenPipeError:  # the reader of our output has gone, as in "cnnreg ... | head"
        sys.stderr.close()
        return 141
    except OSError as error:
        if error.errno not in BEYOND_US:
            raise
        about = f"cannot use {error.filename}" if error.filename else "cannot write"
        console.error(f"{about}: {error.strerror}")
        return 1
    except Exception as error:
        if type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in str(error):
            console.error("out of memory; use smaller images, --device cpu, or a machine with more")
            return 1
        raise


def _habit(message: str, arguments: list[str]) -> str:
    """What to type instead of what other tools have taught."""
    if message == "No such option: -f":
        return ". Give FIXED and MOVING without options, in this order"
    if "unexpected extra argument" in message and {"true", "false", "True", "False"} & set(arguments):
        return ". A switch, such as --inverse, takes no value"
    if not message.startswith("No such command") or not arguments:
        return ""
    if arguments[0] == "help":
        return f" For help, type {shlex.join(['cnnreg', *arguments[1:2], '--help'])}"
    if len(arguments) >= 2 and all(Path(name).suffix for name in arguments[:2]):
        return f" To register two images, type {shlex.join(['cnnreg', 'register', *arguments])}"
    return ""


def _check_names(arguments: list[str]) -> None:
    """SimpleITK ends the whole process, without a word, at a file name that is not UTF-8."""
    for argument in arguments:
        if any("\ud800" <= character <= "\udfff" for character in argument):
            raise UsageError(f"the name {argument!r} is not UTF-8; rename the file or folder")


def main() -> None:
    """Entry point of the ``cnnreg`` script."""
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before torch: threads that wait let others have the core
    sys.exit(run())
