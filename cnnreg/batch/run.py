"""Running the tasks of a batch, or of a part of it, on one machine: what is done is skipped, the rest goes on."""

import signal
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import FrameType
from typing import Protocol

from cnnreg.batch.folder import DONE, STATE, BatchFolder
from cnnreg.batch.parts import WHOLE, Part
from cnnreg.batch.task import Task
from cnnreg.batch.worker import Outcome, Work
from cnnreg.errors import CnnregError, Interrupted, OutputError
from cnnreg.files import clean, holding
from cnnreg.watching import unwatched

AHEAD = 4  # pairs whose files are read while others are computed


class Executor(Protocol):
    """Who registers pairs."""

    def run(self, works: Iterable[Work]) -> Iterator[Outcome]:
        """Outcomes as they come, in any order."""


@dataclass(frozen=True)
class Plan:
    """What to do with the tasks of one process."""

    folder: BatchFolder
    tasks: tuple[Task, ...]
    command: tuple[str, ...]
    threads: int | None = None  # of each process
    part: Part = WHOLE
    rows: int = 0  # of the whole table
    overwrite: bool = False  # also what is done
    fail_fast: bool = False


@dataclass
class Tally:
    """How far it has come."""

    total: int
    done: int = 0
    skipped: int = 0
    again: Counter[str] = field(default_factory=Counter)  # why pairs with results are registered again -> how many
    failed: dict[str, str] = field(default_factory=dict)  # pair -> sentence

    @property
    def over(self) -> int:
        """Pairs that are not waited for any more."""
        return self.done + self.skipped + len(self.failed)


def run(plan: Plan, executor: Executor, *, on_pair: Callable[[Tally], None] = unwatched) -> Tally:
    """Register what is not done yet. The folder must have been begun.

    Raises:
        OutputError: another process is at work on the same part, or results cannot be written.
        Interrupted: by SIGINT or SIGTERM; what is finished stays.
    """
    tally = Tally(len(plan.tasks))
    with _alone(plan), _interruptible(tally):
        plan.folder.note_part(plan.part, plan.rows, "begun")
        try:
            for outcome in executor.run(_works(plan, tally, on_pair)):
                if outcome.status == DONE:
                    tally.done += 1
                else:
                    tally.failed[outcome.pair_id] = outcome.error
                on_pair(tally)
                if tally.failed and plan.fail_fast:
                    break
        finally:
            clean(plan.folder.path)
        plan.folder.note_part(plan.part, plan.rows, "ended")
    return tally


def _works(plan: Plan, tally: Tally, on_pair: Callable[[Tally], None]) -> Iterator[Work]:
    """What is left to do, with the files read ahead; what is done already is counted."""
    for task, hashes, unreadable in _read_ahead(plan.tasks):
        standing = "" if plan.overwrite else plan.folder.standing(task, hashes)
        if standing == DONE:
            tally.skipped += 1
            on_pair(tally)
            continue
        if standing:
            tally.again[standing] += 1
        task = replace(task, setup=replace(task.setup, threads=plan.threads))
        yield Work(task, plan.folder.path, plan.command, hashes, unreadable, plan.rows)


def _read_ahead(tasks: Iterable[Task]) -> Iterator[tuple[Task, dict[str, str] | None, str]]:
    """Every task with the hashes of its files, or why they cannot be read."""
    with ThreadPoolExecutor(1) as reader:
        reading = deque[tuple[Task, Future[tuple[dict[str, str] | None, str]]]]()
        for task in tasks:
            reading.append((task, reader.submit(_read, task)))
            if len(reading) > AHEAD:
                first, read = reading.popleft()
                yield first, *read.result()
        for last, read in reading:
            yield last, *read.result()


def _read(task: Task) -> tuple[dict[str, str] | None, str]:
    try:
        return task.hashes(), ""
    except CnnregError as error:
        return None, str(error)


@contextmanager
def _alone(plan: Plan) -> Iterator[None]:
    """No two processes at work on one part; other parts share the folder."""
    lock = plan.folder.path / STATE / f"part-{plan.part.number}-of-{plan.part.count}.lock"
    with holding(lock) as free:
        if not free:
            raise OutputError(
                f"another cnnreg batch is at work on {plan.folder.path}; wait for it, or give another folder with -o"
            )
        yield


@contextmanager
def _interruptible(tally: Tally) -> Iterator[None]:
    """SIGTERM, which clusters send first, ends the work as Ctrl-C does."""

    def stop(number: int, frame: FrameType | None) -> None:
        del number, frame
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, signal.SIG_IGN)  # once is enough
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {each: signal.signal(each, stop) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    except KeyboardInterrupt:
        left = tally.total - tally.done - tally.skipped
        raise Interrupted(f"interrupted with {left} of {tally.total} pairs to do; go on with --resume") from None
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
