"""How an option is declared: its panel of the help, its names, what it means, and what its default is called."""

from collections.abc import Callable
from typing import Any

import typer

IMAGES, PROPERTIES, INITIAL = "Images", "Image properties", "Initial transform"
MODEL, METRIC, LABELS = "Model and adaptation", "Metric and masks", "Labels and landmarks"
OUTPUT, MACHINE, TRAINING = "Output", "Machine", "Training"
FILE, FOLDER, NUMBER = "FILE", "FOLDER", "N"


def option(
    panel: str,
    *names: str,
    help: str,
    metavar: str | None = None,
    default: str | bool = True,
    low: float | None = None,
    high: float | None = None,
    names_of: Callable[[], list[str]] | None = None,
) -> Any:
    """An option in a panel of the help; ``default`` is what it is called, where the value itself would not tell it.

    Choices are understood in capitals, too. ``names_of``: what shells complete, where other values are possible.
    """
    return typer.Option(
        *names,
        help=help,
        metavar=metavar,
        show_default=default,
        min=low,
        max=high,
        case_sensitive=False,
        autocompletion=names_of,
        rich_help_panel=panel,
    )


def argument(name: str, help: str) -> Any:
    """A file that a command works on."""
    return typer.Argument(metavar=name, help=help, show_default=False, rich_help_panel=IMAGES)


def preset_names() -> list[str]:
    """What shells complete."""
    from cnnreg.config import preset_texts

    return list(preset_texts())


def model_names() -> list[str]:
    """What shells complete."""
    from cnnreg.learning.modelplaces import available

    return [*available(), "none"]
