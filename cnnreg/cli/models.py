"""``cnnreg models``: the trained networks at hand."""

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import typer

from cnnreg.cli import console, options
from cnnreg.errors import UsageError

app = typer.Typer(no_args_is_help=True, help="List, inspect, fetch and verify trained models.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="A model's name, or a folder.", show_default=False)]


@app.command("list")
def list_models(as_json: options.AsJson = False) -> None:
    """List every model that --model can name."""
    from cnnreg.errors import ModelError
    from cnnreg.learning.modelstore import available, cache_folder, read_card

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


@app.command()
def info(name: Name) -> None:
    """Print a model's card: architecture, training, data, licence, metrics, hash."""
    from cnnreg.learning.modelstore import find, verify

    console.say(json.dumps(dataclasses.asdict(verify(find(name))), indent=2))


@app.command()
def pull(
    name: Annotated[str, typer.Argument(metavar="NAME", show_default=False)],
    source: Annotated[
        str | None,
        typer.Option(
            "--source", help="A folder or http(s) address with NAME/card.json.", show_default="shipped models"
        ),
    ] = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Never use the network; so does CNNREG_OFFLINE=1.")
    ] = False,
    overwrite: options.Overwrite = False,
) -> None:
    """Copy a model, verified, into your cache; safe for parallel jobs."""
    from cnnreg.learning.modelstore import cache_folder
    from cnnreg.learning.modelstore import pull as run

    there = (cache_folder() / name).is_dir() and not overwrite
    folder = run(name, source=source, offline=offline, overwrite=overwrite)
    console.say(f"{name}: {folder}{' (was in the cache already; --overwrite fetches it again)' if there else ''}")


@app.command()
def verify(
    names: Annotated[list[str] | None, typer.Argument(metavar="NAME...", help="All, if none is named.")] = None,
) -> None:
    """Check that weights are whole and fit their cards."""
    from cnnreg.errors import ModelError
    from cnnreg.learning.modelstore import available, find, load_model

    bad = []
    for name in names or available():
        try:
            load_model(find(name))
            console.say(f"{name}: good")
        except ModelError as error:
            bad.append(name)
            console.error(str(error))
    if bad:
        raise ModelError(f"{len(bad)} model(s) failed: {', '.join(bad)}")


@app.command()
def path(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="The cache folder, if none is named.")] = None,
) -> None:
    """Print the folder of a model, or of the cache."""
    from cnnreg.learning.modelstore import cache_folder, find

    console.say(str(find(name) if name else cache_folder()))


@app.command()
def add(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A folder from train or adapt.", show_default=False)],
    name: Annotated[
        str | None, typer.Option("--name", help="The name to give it.", show_default="the folder's")
    ] = None,
    overwrite: options.Overwrite = False,
) -> None:
    """Copy a trained or adapted model into your cache, under a name."""
    from cnnreg.learning.modelstore import add as run
    from cnnreg.learning.modelstore import available

    chosen = name or folder.resolve().name
    if chosen == "none":
        raise UsageError("a model cannot be called none, which stands for random weights")
    if chosen in available() and not overwrite:
        raise UsageError(f"there is a model {chosen!r} already; give another --name, or --overwrite")
    console.say(f"{chosen}: {run(folder, chosen, overwrite=overwrite)}")
