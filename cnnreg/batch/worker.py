"""One task done: registered, written with its status, or recorded as failed with what could be seen of it."""

import errno
import os
import socket
import threading
import time
import traceback
import warnings
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from cnnreg.batch.folder import DONE, FAILED, BatchFolder
from cnnreg.batch.sketch import sketch
from cnnreg.batch.task import Task
from cnnreg.errors import CnnregError, FileNotice, OutputError
from cnnreg.evaluation.page.preview import preview_side
from cnnreg.files import PREVIEW, sha256
from cnnreg.interface.registrar import Registrar
from cnnreg.pipeline.preview import preview
from cnnreg.pipeline.report import FIELD, PICTURE, describe_verdict, write_registration
from cnnreg.pipeline.setup import Setup

FOR_ALL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}  # what no other pair would fare better with


@dataclass(frozen=True)
class Outcome:
    """How a task ended."""

    pair_id: str
    status: str  # done or failed
    error: str = ""  # the sentence of what failed
    seconds: float = 0.0


@dataclass(frozen=True)
class Work:
    """A task with the hashes of its input files, and the command that asked for it; or why they cannot be read."""

    task: Task
    folder: Path
    command: tuple[str, ...]
    hashes: dict[str, str] | None = None
    unreadable: str = ""
    pairs: int = 1  # of the whole batch, on which the size of previews depends


@lru_cache(maxsize=4)
def _registrar(setup: Setup) -> Registrar:
    """Kept between pairs, for the few sets of options that the rows of a table take turns with."""
    return Registrar.of(setup)


_one_at_a_time = threading.Lock()  # where an executor has several threads in a process, as Dask's workers may


def register_task(work: Work) -> Outcome:
    """Register a pair and publish its folder; a failure that is the pair's own is published, too.

    Raises:
        OutputError: results cannot be written, which no other pair would fare better with.
    """
    with _one_at_a_time:
        return _register_task(work)


def _register_task(work: Work) -> Outcome:
    folder, start = BatchFolder(work.folder), time.perf_counter()
    began = datetime.now(UTC).isoformat(timespec="seconds")
    facts: dict[str, Any] = {"pair_id": work.task.pair_id, "status": FAILED, "error": None}
    with folder.staging() as staging, warnings.catch_warnings(record=True) as notices:
        warnings.simplefilter("always", FileNotice)
        try:
            if work.unreadable:
                raise CnnregError(work.unreadable)
            facts |= _register(work, staging)
        except OutputError:
            raise
        except (CnnregError, MemoryError) as error:
            facts["error"] = " ".join(str(error).split()) or "out of memory"
        except Exception as error:  # a bug, or what a library makes of a strange file: the others go on
            if isinstance(error, OSError) and error.errno in FOR_ALL:
                raise OutputError(f"cannot write the results to {work.folder}: {error.strerror}") from None
            facts["error"] = f"unexpected {type(error).__name__}: {' '.join(str(error).split())}"
            facts["traceback"] = traceback.format_exc()
        if facts["error"]:
            sketch(work.task.request, facts["error"], staging / PICTURE)
        facts["notes"] = [str(n.message) for n in notices if issubclass(n.category, FileNotice)] + facts.get(
            "notes", []
        )
        seconds = time.perf_counter() - start
        folder.publish(staging, work.task, facts | _circumstances(work, began, seconds))
    return Outcome(work.task.pair_id, facts["status"], facts["error"] or "", seconds)


def _register(work: Work, staging: Path) -> dict[str, Any]:
    """Register and write into ``staging``; what the status tells of it."""
    task = work.task
    result = _registrar(task.setup).run(task.request, inverse=task.inverse).result
    home, pieces = work.folder / task.pair_id, set(task.pieces) - {"page"}
    write_registration(result, staging, command=list(work.command), single=task.single, pieces=pieces, home=home)
    if "page" in task.pieces:
        (staging / PREVIEW).write_text(preview(result, preview_side(work.pairs)), encoding="utf-8")
    hashed = [*staging.glob("warped.*"), *staging.glob(FIELD)]
    return {
        "status": DONE,
        "verdict": describe_verdict(result.verdict) if result.verdict else None,
        "metrics": result.measures,
        "seconds": {stage: round(seconds, 4) for stage, seconds in result.seconds.items()},
        "device": result.device,
        "threads": result.threads,
        "notes": list(result.notes),
        "sha256": {file.name.split(".")[0]: sha256(file) for file in hashed},
    }


def _circumstances(work: Work, began: str, seconds: float) -> dict[str, Any]:
    return {
        "inputs": work.hashes,
        "options_sha256": work.task.digest(),
        "options": work.task.options(),
        "command": list(work.command),
        "host": socket.gethostname(),
        "process": os.getpid(),
        "began": began,
        "total_seconds": round(seconds, 4),
    }


def record_failure(work: Work, sentence: str) -> Outcome:
    """Publish that a task failed in a way that its process could not tell any more."""
    return register_task(replace(work, unreadable=sentence))
