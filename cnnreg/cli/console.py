"""Talking to people: results on standard output; progress and errors on standard error, and only to terminals."""

import os
import shlex
import shutil
import sys
import textwrap
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any, TextIO


def plain(text: str) -> str:
    """Without what steers a terminal or turns the direction of text, which files and their names may hold."""
    return "".join(c for c in text if c in "\n\t" or unicodedata.category(c) not in {"Cc", "Cf"})


def error(sentence: str) -> None:
    """One line on standard error; on a terminal as many as it takes."""
    line = _wrapped(f"error: {' '.join(plain(sentence).split())}", sys.stderr)
    red, black = ("\033[31m", "\033[0m") if _coloured() else ("", "")
    print(line.replace("error:", f"{red}error:{black}", 1), file=sys.stderr)


def _coloured() -> bool:
    """By the conventions of no-color.org and terminfo."""
    return sys.stderr.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def note(sentence: str) -> None:
    """One line on standard error that is no error; on a terminal as many as it takes."""
    print(_wrapped(f"note: {plain(sentence)}", sys.stderr), file=sys.stderr)


def say(text: str) -> None:
    """A line of the result."""
    print(plain(text))


def tell(sentence: str) -> None:
    """A sentence of the result, wrapped to the width of a terminal, if it is one."""
    print(_wrapped(plain(sentence), sys.stdout))


def _wrapped(text: str, stream: TextIO) -> str:
    """To the width of a terminal, if ``stream`` is one; commands and paths stay whole."""
    if not stream.isatty():
        return text
    width = max(shutil.get_terminal_size().columns, 40)
    wrap = textwrap.TextWrapper(width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
    return "\n".join(wrap.fill(line) for line in text.splitlines())


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


def log(text: str) -> None:
    """What stands for progress in the log of a job."""
    print(plain(text), file=sys.stderr)


def print_measures(title: str, states: Mapping[str, Mapping[str, Any]], *, unreliable: Iterable[str] = ()) -> None:
    """A table of the measures of every state, with what is better, and the best marked.

    ``unreliable`` are those that are no guide for this pair.
    """
    from cnnreg.evaluation.tables import rows

    table, marked, no_guide = [], False, set(unreliable)
    for row in rows(states):
        best = set() if row.title in no_guide else row.best
        marked = marked or bool(best)
        cells = [cell + ("*" if number in best else " ") for number, cell in enumerate(row.cells)]
        table.append((row.title, ["no guide" if row.title in no_guide else row.better, *cells]))
    print_table(title, ["better", *(f"{state} " for state in states)], table)
    if marked:
        say("* the best of its row")


def next_command(*words: object, why: str = "") -> None:
    """A command to try next, as it can be typed."""
    say(f"next: {shlex.join(map(str, words))}")
    if why:
        say(f"      ({why})")
