"""``cnnreg presets`` and ``cnnreg info``."""

import json
from typing import Annotated

import typer

from cnnreg.cli import console, options
from cnnreg.cli.help import Command, Group

app = typer.Typer(
    cls=Group, add_completion=False, no_args_is_help=True, help="Show sets of parameters, to use or to edit."
)


@app.command("list", cls=Command)
def list_presets() -> None:
    """List the presets."""
    from cnnreg.config import preset_texts

    for name, text in preset_texts().items():
        console.say(f"{name:<10} {text.splitlines()[0].lstrip('# ')}")


@app.command(cls=Command)
def show(name: Annotated[str, typer.Argument(metavar="NAME", help="Name of a preset.", show_default=False)]) -> None:
    """Print a preset as a parameter file, each key with its meaning: save it, edit it, and use it with -p."""
    from cnnreg.config import preset_file

    console.say(preset_file(name))


def info(as_json: options.AsJson = False) -> None:
    """Print versions, devices, folders and threads, as a bug report needs them."""
    from cnnreg.pipeline.system import describe_system

    facts = describe_system()
    if as_json:
        console.say(json.dumps(facts, indent=2))
        return
    for name, value in facts.items():
        console.say(f"{name:<18} {value}")
