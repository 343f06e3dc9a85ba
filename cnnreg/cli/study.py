"""``cnnreg study``."""

import shlex
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cnnreg import defaults
from cnnreg.cli import console, options, progress
from cnnreg.cli.declaring import FOLDER, MACHINE, NUMBER, OUTPUT, TRAINING, option
from cnnreg.errors import UsageError

if TYPE_CHECKING:
    from cnnreg.learning.training import Progress

CASES = "Cases"


def _description(name: str, help: str) -> Any:
    return typer.Argument(metavar=name, help=help, show_default=False)


def study(
    source: Annotated[Path, _description("SOURCE.toml", "Description of the data set of the other domain.")],
    target: Annotated[Path, _description("TARGET.toml", "Description of the data set to be registered.")],
    out: Annotated[Path, option(OUTPUT, "--out", "-o", metavar=FOLDER, help="Folder of the results.", default=False)],
    source_model: Annotated[
        str | None,
        option(TRAINING, "--source-model", metavar="NAME", help="Trained model of SOURCE, instead of training one."),
    ] = None,
    target_model: Annotated[
        str | None,
        option(TRAINING, "--target-model", metavar="NAME", help="Trained model of TARGET, instead of training one."),
    ] = None,
    train_steps: Annotated[
        int | None,
        option(
            TRAINING,
            "--train-steps",
            low=1,
            metavar=NUMBER,
            help="Number of optimiser steps of each training.",
            default="10000",
        ),
    ] = None,
    rows: Annotated[
        str | None,
        option(CASES, "--rows", metavar="LIST", help="Run these rows only, such as a,c,i,default.", default="all"),
    ] = None,
    limit: Annotated[
        int | None,
        option(CASES, "--limit", low=1, metavar=NUMBER, help="Largest number of test pairs, drawn at random."),
    ] = None,
    long_limit: Annotated[
        int | None,
        option(CASES, "--long-limit", low=1, metavar=NUMBER, help="Largest number of pairs for the rows a, d and g."),
    ] = None,
    convergence: Annotated[
        int, option(CASES, "--convergence", low=1, metavar=NUMBER, help="Number of iterations of the rows a, d and g.")
    ] = 3000,
    jobs: Annotated[
        int,
        option(MACHINE, "--jobs", "-j", low=1, metavar=NUMBER, help="Number of pairs at a time, each in a process."),
    ] = 1,
    resume: Annotated[
        bool, option(OUTPUT, "--resume", help="Continue with what is missing in the folder of the results.")
    ] = False,
    overwrite: options.Overwrite = False,
    device: options.Device = "auto",
    seed: options.Seed = defaults.SEED,
    threads: options.Threads = None,
    quiet: options.Quiet = False,
) -> None:
    """Repeat the paper's study on two data sets: its ten rows, elastix among them, and the presets of cnnreg.

    A description names the tables of training, validation and test pairs, and says whether to pair images with their
    mirror images.

    Writes results.csv, summary.md, figure.png and figure.pdf. Every pair is saved at once, for --resume.
    """
    if resume and overwrite:
        raise UsageError("--resume and --overwrite exclude each other")
    models = {role: name for role, name in (("source", source_model), ("target", target_model)) if name}
    with progress.display(quiet=quiet) as shown:
        from cnnreg.study.conduct import StudyRequest, conduct

        request = StudyRequest(
            source,
            target,
            out,
            models,
            rows,
            limit,
            long_limit,
            jobs,
            train_steps,
            convergence,
            resume,
            overwrite,
            device,
            threads,
            seed,
            shlex.join(["cnnreg", *sys.argv[1:]]),
        )
        written = conduct(request, Display(shown, quiet=quiet))
    if not quiet:
        for path in written:
            console.say(f"wrote {path}")


class Display:
    """Where a study is, on a terminal; elsewhere a line for every tenth."""

    def __init__(self, shown: progress.Display, *, quiet: bool) -> None:
        self.shown, self.quiet = shown, quiet

    @contextmanager
    def training(self, role: str) -> Iterator[Callable[["Progress"], None]]:
        """Watches one training."""
        show = progress.training(self.shown, quiet=self.quiet, title=f"training the {role} model")
        yield lambda p: show(p.step, p.steps, f"loss {p.loss:.4f}, {p.images_per_second:.0f} images/s")

    @contextmanager
    def stage(self, title: str, total: float) -> Iterator[Callable[[float, str], None]]:
        """Watches a stage whose work adds up to ``total``."""
        done, told, start = 0.0, 0, time.monotonic()
        self.shown.stage(title, total, count=False)

        def advance(amount: float, note: str) -> None:
            nonlocal done, told
            done += amount
            self.shown.at(done, note)
            tenths = int(10 * done / total + 1e-9)
            if not self.quiet and not sys.stderr.isatty() and tenths > told:
                told = tenths
                left = (time.monotonic() - start) * (total / done - 1) / 60
                console.log(f"{title}: {10 * tenths} %, about {left:.0f} min left")

        yield advance
