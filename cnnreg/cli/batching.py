"""What a batch says while it runs and when it ends."""

import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cnnreg.cli import console, progress
from cnnreg.errors import CnnregError, OutputError
from cnnreg.watching import unwatched

if TYPE_CHECKING:
    from cnnreg.batch.folder import BatchFolder
    from cnnreg.batch.run import Executor, Tally
    from cnnreg.batch.task import Task

LINES = 20  # of progress where there is no terminal
NAMED = 10  # pairs that are not done, by their names


@dataclass(frozen=True)
class Run:
    """How the command was given."""

    table: Path
    out: Path
    command: tuple[str, ...]
    jobs: int | None = None
    threads: int | None = None
    part: str | None = None
    resume: bool = False
    overwrite: bool = False
    fail_fast: bool = False
    quiet: bool = False
    dask: str | None = None


def conduct(asked: Run, tasks: list["Task"]) -> None:
    """Run the tasks, or this process' part of them, and write the summary.

    Raises:
        CnnregError: not every pair that was asked for is done.
    """
    from cnnreg.batch.parts import WHOLE, parse_part, part_of_array
    from cnnreg.batch.run import Plan, run

    found = None if asked.part else part_of_array(os.environ)
    part = parse_part(asked.part) if asked.part else found or WHOLE
    own = [tasks[n] for n in part.rows(len(tasks))]
    folder = _begin(asked, tasks, own)
    if found:
        folder.check_count(found)
    say = unwatched if asked.quiet else console.tell
    if part != WHOLE:
        say(part.told(len(tasks)))
    executor, threads = _executor(asked, own, say)
    _foretell(asked, own, say)
    plan = Plan(folder, tuple(own), asked.command, threads, part, len(tasks), asked.overwrite, asked.fail_fast)
    with display(len(own), quiet=asked.quiet) as on_pair:
        tally = run(plan, executor, on_pair=on_pair)
    for reason, times in tally.again.items():
        say(f"{_count(times, 'pair')} done again: {reason}")
    say(f"{tally.done} done, {tally.skipped} were done before, {len(tally.failed)} failed")
    if part == WHOLE:
        collect(asked.out, quiet=asked.quiet)
    elif undone := folder.undone(task.pair_id for task in own):
        raise CnnregError(_undone(undone, len(own), asked.out))


def _begin(asked: Run, tasks: list["Task"], own: list["Task"]) -> "BatchFolder":
    """Take the folder."""
    from cnnreg.batch.folder import BatchFolder

    folder = BatchFolder(asked.out)
    going_on = asked.resume or asked.overwrite
    folder.begin(tasks, table=asked.table, going_on=going_on)
    if (standing := folder.refuse_foreign(own)) and not going_on:
        raise OutputError(
            f"{asked.out} has results of {len(standing)} of these pairs, such as {standing[0]}; register only what is "
            f"not done with --resume, replace them with --overwrite, or give another folder with -o"
        )
    return folder


def _executor(asked: Run, own: list["Task"], say: Callable[[str], None]) -> tuple["Executor", int | None]:
    """Who registers the pairs, with how many threads each."""
    from cnnreg.batch.cores import share_cores, usable_cores
    from cnnreg.batch.dask import Dask
    from cnnreg.batch.local import Local
    from cnnreg.devices import resolve_device

    if asked.dask:
        say(f"on the workers of the Dask scheduler at {asked.dask}")
        return Dask(asked.dask), asked.threads or 1
    device, (cores, limit) = resolve_device(own[0].setup.device if own else "cpu"), usable_cores()
    jobs, threads = share_cores(asked.jobs, asked.threads, cores, single=device != "cpu")
    jobs = min(jobs, max(len(own), 1))
    say(f"{_count(jobs, 'process', 'processes')} of {_count(threads, 'thread')} on {device} ({cores} cores: {limit})")
    return Local(jobs), threads


def submit(asked: Run, tasks: list["Task"], text: str, *, only_print: bool) -> None:
    """Submit the batch to Slurm, or print the file that would."""
    from cnnreg.batch.run import Plan
    from cnnreg.batch.slurm import Resources, count_parts, max_array_size, plans_of, script
    from cnnreg.batch.slurm import submit as submit_plans

    resources = Resources.parse(text)
    parts = count_parts(len(tasks), resources, largest=max_array_size() - 1)
    if only_print:
        console.say(script(_without_slurm(asked.command), asked.out, parts, resources))
        return
    folder = _begin(asked, tasks, tasks)
    folder = type(folder)(folder.path.absolute())
    plan = Plan(folder, tuple(tasks), asked.command, asked.threads, rows=len(tasks))
    array, collector = submit_plans(plans_of(plan, parts), resources)
    if not asked.quiet:
        _foretell(asked, tasks, console.tell)
        console.say(f"submitted job array {array} of {_count(parts, 'task')}, and job {collector} that collects them")
        console.say(f"when they have ended: cnnreg batch --collect {shlex.quote(str(asked.out))}")


def _without_slurm(command: tuple[str, ...]) -> list[str]:
    """The command line without what says that it is for Slurm, and what the script says itself."""
    words, kept = iter(command), []
    for word in words:
        if word == "--slurm":
            next(words, None)
        elif word not in {"--slurm-script", "--resume"} and not word.startswith("--slurm="):
            kept.append(word)
    return kept


def _foretell(asked: Run, tasks: list["Task"], say: Callable[[str], None]) -> None:
    from cnnreg.batch.forecast import expected_bytes, free_bytes, readable

    expected, free = expected_bytes(tasks), free_bytes(asked.out)
    pieces = ", ".join(tasks[0].pieces) if tasks else "nothing"
    say(f"{_count(len(tasks), 'pair')}; {pieces}: about {readable(expected)} of the {readable(free)} free on the disk")
    if expected > free:
        console.note(f"the disk of {asked.out} will probably be full before the end; see --outputs and --field-type")


def collect(folder: Path, *, quiet: bool) -> None:
    """Write the summary of all parts.

    Raises:
        CnnregError: pairs are not done.
    """
    from cnnreg.batch.folder import BatchFolder
    from cnnreg.batch.summary import SUMMARY, summarise, write_summary_page
    from cnnreg.files import PAGE

    batch = BatchFolder(folder)
    undone = summarise(batch)
    write_summary_page(batch)
    if not quiet:
        console.say(f"wrote {folder / SUMMARY} and {folder / PAGE}")
    if undone:
        raise CnnregError(_undone(undone, len(batch.record()["pairs"]), folder, parts=batch.parts_of(list(undone))))


def _undone(undone: dict[str, str], total: int, folder: Path, *, parts: list[str] | None = None) -> str:
    named = "; ".join(f"{pair} ({why})" for pair, why in list(undone.items())[:NAMED])
    more = f"; and {len(undone) - NAMED} more, see {folder}" if len(undone) > NAMED else ""
    died = f". {'; '.join(parts)}" if parts else ""
    return f"{len(undone)} of {_count(total, 'pair')} are not done: {named}{more}{died}"


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"


@contextmanager
def display(total: int, *, quiet: bool) -> Iterator[Callable[["Tally"], None]]:
    """A bar with pairs a second and the time left; where there is no terminal, a line now and then."""
    start, told = time.monotonic(), 0
    with progress.display(quiet=quiet) as shown:
        shown.stage("registering", total)

        def show(tally: "Tally") -> None:
            nonlocal told
            over = tally.over
            registered, seconds = tally.over - tally.skipped, time.monotonic() - start
            rate = registered / seconds if seconds else 0.0
            shown.at(over, f"{rate:.2f} pairs/s, {len(tally.failed)} failed")
            if not quiet and not sys.stderr.isatty() and (over * LINES // total > told or over == total):
                told = over * LINES // total
                left = f"about {(total - over) / rate / 60:.0f} min left" if rate else "none registered"
                failed = f"{len(tally.failed)} failed"
                console.log(f"{over} of {total} pairs, {failed}, {rate:.2f} pairs/s, {left}")

        yield show
