"""Talking to people: results on standard output; progress and errors on standard error, and only to terminals."""

import os
import sys
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from cnnreg.watching import unwatched


def plain(text: str) -> str:
    """Without what steers a terminal or turns the direction of text, which files and their names may hold."""
    return "".join(c for c in text if c in "\n\t" or unicodedata.category(c) not in {"Cc", "Cf"})


def error(sentence: str) -> None:
    """One line on standard error, whatever the width of the terminal."""
    line = " ".join(plain(sentence).split())
    red, black = ("\033[31m", "\033[0m") if _coloured() else ("", "")
    print(f"{red}error:{black} {line}", file=sys.stderr)


def _coloured() -> bool:
    """By the conventions of no-color.org and terminfo."""
    return sys.stderr.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def note(sentence: str) -> None:
    """One line on standard error that is no error."""
    print(f"note: {plain(sentence)}", file=sys.stderr)


def say(text: str) -> None:
    """A line of the result."""
    print(plain(text))


def print_table(title: str, columns: list[str], rows: Iterable[tuple[str, list[str]]], *, left: bool = False) -> None:
    """A table on standard output; plain, unwrapped columns where that is no terminal."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("", no_wrap=True)
    for column in columns:
        words = left and column == columns[-1]  # these may be long, and must not squeeze the others
        table.add_column(escape(column), justify="left" if left else "right", no_wrap=not words)
    for name, cells in rows:
        table.add_row(*(escape(plain(cell).replace("\n", " ")) for cell in (name, *cells)))
    console = Console()
    if not console.is_terminal:
        console = Console(width=100_000)  # nothing is wrapped or cut
    if title:
        console.print(escape(plain(title)), soft_wrap=True, highlight=False)
    console.print(table)


@contextmanager
def progress(title: str, total: float, *, quiet: bool, count: bool = True) -> Iterator[Callable[..., None]]:
    """A bar on standard error while the block runs; call the result with ``advance=`` or ``note=``.

    Off where standard error is no terminal, and with ``quiet``. ``count`` shows how many are done, of how many.
    """
    if quiet or not sys.stderr.isatty() or total <= 0:
        yield _silent
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn() if count else TaskProgressColumn(),
        TextColumn("{task.fields[note]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=total, note="")

        def update(*, advance: float = 1, note: str | None = None) -> None:
            fields: dict[str, Any] = {} if note is None else {"note": note}
            bar.update(task, advance=advance, **fields)

        yield update


def progress_line(text: str) -> None:
    """What stands for a bar in the log of a job."""
    print(plain(text), file=sys.stderr)


def _silent(*, advance: float = 1, note: str | None = None) -> None:
    del advance, note


def tracker(*, quiet: bool) -> Any:
    """A ``track(items, title, total)`` that shows a bar."""

    def track(items: Iterable[Any], title: str, total: int) -> Iterator[Any]:
        with progress(title, total, quiet=quiet) as update:
            for item in items:
                yield item
                update()

    return track


@contextmanager
def energy_display(steps: int, *, quiet: bool) -> Iterator[Callable[[int, dict[str, float]], None]]:
    """Shows (step, terms of the energy) of a one-shot adaptation as a bar."""
    with progress("adapting", steps, quiet=quiet) as update:
        yield lambda step, terms: update(
            advance=int(step > 0), note=f"energy {terms['total']:.5f}" if "total" in terms else None
        )


@contextmanager
def training_display(*, quiet: bool) -> Iterator[Callable[[int, int, str], None]]:
    """Shows (step, steps, note): a bar on a terminal, a line every tenth of the way elsewhere."""
    if quiet:
        yield unwatched
        return
    if not sys.stderr.isatty():

        def line(step: int, steps: int, note: str) -> None:
            if step % max(steps // 10, 1) == 0 or step == steps:
                print(f"step {step} of {steps}: {note}", file=sys.stderr)

        yield line
        return
    bars: list[
        tuple[Any, Callable[..., None]]
    ] = []  # opened at the first step, when reading has taken its own bar away
    reached = 0

    def show(step: int, steps: int, note: str) -> None:
        nonlocal reached
        if not bars:
            bar = progress("training", steps, quiet=False)
            bars.append((bar, bar.__enter__()))
        bars[0][1](advance=step - reached, note=note)
        reached = step

    try:
        yield show
    finally:
        for bar, _ in bars:
            bar.__exit__(None, None, None)
