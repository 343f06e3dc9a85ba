"""``cnnreg models``: the trained networks at hand."""

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import typer

from cnnreg.cli import console, options
from cnnreg.cli.declaring import OUTPUT, model_names, option
from cnnreg.cli.help import Command, Group
from cnnreg.errors import UsageError

SOURCE = "Source"
app = typer.Typer(
    cls=Group, add_completion=False, no_args_is_help=True, help="List, inspect, fetch and verify trained models."
)

Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        help="Name of a model, or its folder.",
        show_default=False,
        autocompletion=model_names,
    ),
]
Source = Annotated[
    str | None,
    option(
        SOURCE,
        "--source",
        metavar="FOLDER|URL",
        help="Folder, or http(s) address, that holds NAME/card.json.",
        default="the models of this installation",
    ),
]
Offline = Annotated[
    bool, option(SOURCE, "--offline", help="Do not use the network; the variable CNNREG_OFFLINE=1 does the same.")
]


@app.command("list", cls=Command)
def list_models(as_json: options.AsJson = False) -> None:
    """List the models that --model can name."""
    from cnnreg.errors import ModelError
    from cnnreg.learning.modelcards import read_card
    from cnnreg.learning.modelplaces import available, cache_folder

    rows = {}
    for name, folder in available().items():
        origin = "cache" if folder.is_relative_to(cache_folder()) else "shipped"
        try:
            what = read_card(folder).description
        except ModelError as error:  # one damaged model does not hide the others
            what = f"DAMAGED: {error}"
        rows[name] = {"from": origin, "what": what, "path": str(folder)}
    if as_json:
        console.say(json.dumps(rows, indent=2))
    else:
        table = [(name, [row["from"], row["what"]]) for name, row in rows.items()]
        console.print_table("", ["from", "what"], table, left=True)


@app.command(cls=Command)
def info(name: Name) -> None:
    """Print the card of a model: network, training, data, licence, measured quality, hash."""
    from cnnreg.learning.modelcards import verify
    from cnnreg.learning.modelplaces import find

    console.say(json.dumps(dataclasses.asdict(verify(find(name))), indent=2))


@app.command(cls=Command)
def pull(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the model.", show_default=False)],
    source: Source = None,
    offline: Offline = False,
    overwrite: options.Overwrite = False,
) -> None:
    """Copy a model into your cache, and verify it. Parallel jobs may do so at the same time."""
    from cnnreg.learning.modelplaces import cache_folder
    from cnnreg.learning.modelstore import pull as run

    there = (cache_folder() / name).is_dir() and not overwrite
    folder = run(name, source=source, offline=offline, overwrite=overwrite)
    console.say(f"{name}: {folder}{' (was in the cache already; --overwrite fetches it again)' if there else ''}")


@app.command(cls=Command)
def verify(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME...", help="Names of models; all of them, if none is given.")
    ] = None,
) -> None:
    """Check that the weights of models are complete and match the hash in their cards."""
    from cnnreg.errors import ModelError
    from cnnreg.learning.modelcards import load_network
    from cnnreg.learning.modelplaces import available, find

    bad = []
    for name in names or available():
        try:
            load_network(find(name))
            console.say(f"{name}: good")
        except ModelError as error:
            bad.append(name)
            console.error(str(error))
    if bad:
        raise ModelError(f"{len(bad)} model(s) failed: {', '.join(bad)}")


@app.command(cls=Command)
def path(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="Name of a model; the cache itself, if none is given.")
    ] = None,
) -> None:
    """Print the folder of a model, or that of the cache."""
    from cnnreg.learning.modelplaces import cache_folder, find

    console.say(str(find(name) if name else cache_folder()))


@app.command(cls=Command)
def add(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Folder that train or adapt has written.", show_default=False)
    ],
    name: Annotated[
        str | None,
        option(OUTPUT, "--name", metavar="NAME", help="Name of the model.", default="that of the folder"),
    ] = None,
    overwrite: options.Overwrite = False,
) -> None:
    """Copy a trained or adapted model into your cache, so that its name works everywhere."""
    from cnnreg.learning.modelplaces import available
    from cnnreg.learning.modelstore import add as run

    chosen = name or folder.resolve().name
    if chosen == "none":
        raise UsageError("a model cannot be called none, which stands for random weights")
    if chosen in available() and not overwrite:
        raise UsageError(f"there is a model {chosen!r} already; give another --name, or --overwrite")
    console.say(f"{chosen}: {run(folder, chosen, overwrite=overwrite)}")
