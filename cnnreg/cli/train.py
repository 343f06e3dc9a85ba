"""``cnnreg train``."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from cnnreg import defaults
from cnnreg.cli import console, options, progress, settings
from cnnreg.errors import UsageError


def train(
    table: Annotated[
        Path,
        typer.Argument(
            metavar="PAIRS.csv",
            help="Columns fixed, moving[, seg_fixed, seg_moving]; with --mirror image[, seg].",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the model.", show_default=False)],
    validation: Annotated[
        Path | None, typer.Option("--val", help="A table like PAIRS.csv to choose the best step by.")
    ] = None,
    mirror: Annotated[
        bool, typer.Option("--mirror", help="Pair each image with its own mirror image, affinely aligned.")
    ] = False,
    model: Annotated[str, typer.Option("--model", "-m", help="Start from a model instead of random weights.")] = "none",
    steps: Annotated[
        int | None, typer.Option("--steps", min=1, help="Optimiser steps.", show_default="the preset's")
    ] = None,
    epochs: Annotated[
        int | None, typer.Option("--epochs", min=1, help="Passes over the table, instead of --steps.")
    ] = None,
    preset: options.Preset = None,
    parameters: options.Parameters = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint.")] = False,
    description: Annotated[str, typer.Option("--description", help="For the model's card.")] = "",
    license: Annotated[str, typer.Option("--license", help="For the model's card: whose data, whose terms.")] = "",
    device: options.Device = "auto",
    seed: options.Seed = defaults.SEED,
    threads: options.Threads = None,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
) -> None:
    """Train a model without labels on a table of pairs. Ctrl-C keeps a checkpoint for --resume."""
    if steps and epochs:
        raise UsageError("--steps and --epochs exclude each other")
    if resume and overwrite:
        raise UsageError("--resume and --overwrite exclude each other")
    with progress.display(quiet=quiet) as shown:
        from cnnreg.learning.training import Progress
        from cnnreg.pipeline.pretraining import TrainingRequest, train_model

        setup = settings.make_setup(
            preset=preset,
            parameters=parameters,
            model=model,
            device=device,
            seed=seed,
            threads=threads,
            changes=settings.section("training", steps=steps),
        )
        request = TrainingRequest(table, out, validation, mirror, epochs, resume, overwrite, description, license)
        show = progress.training(shown, quiet=quiet)

        def on_step(now: Progress) -> None:
            show(now.step, now.steps, f"loss {now.loss:.4f}, {now.images_per_second:.0f} images/s")

        card = train_model(request, setup, track=shown.track, on_step=on_step)
    if not quiet:
        scores = card.metrics.get("validation", {})
        for name, value in scores.items():
            console.say(f"validation {name} {value:.4f}")
        console.say(f"wrote {shlex.quote(str(out))}")
        console.next_command("cnnreg", "register", "FIXED", "MOVING", "--model", out)
