"""``cnnreg study``."""

import shlex
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cnnreg import defaults
from cnnreg.cli import console, options, progress
from cnnreg.errors import UsageError

if TYPE_CHECKING:
    from cnnreg.learning.training import Progress


def study(
    source: Annotated[
        Path, typer.Argument(metavar="SOURCE.toml", help="The other kind of images.", show_default=False)
    ],
    target: Annotated[
        Path, typer.Argument(metavar="TARGET.toml", help="The kind to be registered.", show_default=False)
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the results.", show_default=False)],
    source_model: Annotated[
        str | None, typer.Option("--source-model", help="A model of SOURCE, instead of training one.")
    ] = None,
    target_model: Annotated[
        str | None, typer.Option("--target-model", help="A model of TARGET, instead of training one.")
    ] = None,
    rows: Annotated[
        str | None, typer.Option("--rows", help="Only these, such as a,c,i,default.", show_default="all")
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Only so many test pairs, at random.")] = None,
    long_limit: Annotated[
        int | None, typer.Option("--long-limit", min=1, help="Only so many for the rows a, d and g.")
    ] = None,
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, help="Pairs at a time, each in a process.")] = 1,
    train_steps: Annotated[
        int | None, typer.Option("--train-steps", min=1, help="Of each training.", show_default="10000")
    ] = None,
    convergence: Annotated[
        int, typer.Option("--convergence", min=1, help="One-shot steps of the rows a, d and g.")
    ] = 3000,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with what is missing in the folder.")] = False,
    overwrite: options.Overwrite = False,
    device: options.Device = "auto",
    seed: options.Seed = defaults.SEED,
    threads: options.Threads = None,
    quiet: options.Quiet = False,
) -> None:
    """The paper's study on two data sets: pre-training, one-shot adaptation and elastix, ten rows and our own.

    A description names the tables of pairs, train and test (and validation), and says whether to mirror. Writes
    results.csv, summary.md, figure.png and figure.pdf; every pair is saved at once, for --resume.
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
