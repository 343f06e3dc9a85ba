"""The folder of a batch: what was asked for, a folder for every pair, and which of them can be left as they are.

A pair's folder appears whole, by renaming, with ``status.json``, which says what it is the result of. Nothing else
decides what is done: no state of a scheduler, no counting of folders.
"""

import json
import os
import shutil
import socket
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cnnreg.batch.parts import Part
from cnnreg.batch.task import Task
from cnnreg.errors import OutputError, UsageError
from cnnreg.files import PARTIAL, claim, clean, locked, partial_prefix, refuse_inputs, write_text

RECORD, STATUS = "batch.json", "status.json"
STATE = ".batch"  # of the folder: locks and the state of parts
DONE, FAILED, MISSING = "done", "failed", "missing"
SCHEMA_VERSION = 1


@dataclass(frozen=True)
class BatchFolder:
    """``DIR`` of ``cnnreg batch``."""

    path: Path

    def begin(self, tasks: list[Task], *, table: Path, going_on: bool = False) -> None:
        """Take the folder for the pairs of the whole table, of which this process may do a part.

        Raises:
            OutputError: it cannot be written; an input lies where a result would go; or the folder belongs to another
                batch and ``going_on`` is off.
        """
        claim(self.path)
        refuse_inputs([self.path / RECORD], [table])
        inside = self.path.resolve()
        for task in tasks:
            place = inside / task.pair_id
            if taken := next((f for f in task.files.values() if place in f.resolve().parents), None):
                raise OutputError(f"{taken} is an input and lies where a result would go; give another folder with -o")
        record = {
            "schema_version": SCHEMA_VERSION,
            "table": str(table),
            "pairs": [
                {"pair_id": t.pair_id, "fixed": str(t.request.fixed), "moving": str(t.request.moving), **dict(t.kept)}
                for t in tasks
            ],
        }
        (self.path / STATE).mkdir(parents=True, exist_ok=True)
        with locked(self.path / STATE):
            earlier = read_json(self.path / RECORD)
            if earlier is None and (self.path / RECORD).exists():
                raise OutputError(f"{self.path / RECORD} is not that of a batch; move it away, or give another -o")
            if earlier and earlier.get("pairs") != record["pairs"] and not going_on:
                raise OutputError(
                    f"{self.path} holds a batch of another table; go on there with --resume, or give another -o"
                )
            write_text(json.dumps(record, indent=1) + "\n", self.path / RECORD)
        clean(self.path)

    def note_part(self, part: Part, total: int, state: str) -> None:
        """Keep what has become of a part: begun, or ended."""
        facts = {"part": part.number, "of": part.count, "rows": total, "state": state, "host": socket.gethostname()}
        facts["time"] = datetime.now(UTC).isoformat(timespec="seconds")
        name = f"part-{part.number}-of-{part.count}.json"
        write_text(json.dumps(facts) + "\n", self.path / STATE / name)

    def _notes(self) -> list[dict[str, Any]]:
        return [found for file in (self.path / STATE).glob("part-*.json") if (found := read_json(file))]

    def check_count(self, part: Part) -> None:
        """Make sure that the parts of a job array are those that the folder was begun with.

        Raises:
            UsageError: there are others, as where one task alone is submitted again: it would take its rows for all.
        """
        if others := {note["of"] for note in self._notes()} - {part.count}:
            count = max(others)
            raise UsageError(
                f"{self.path} was begun in {count} parts, but the job array has {part.count}; "
                f"say which it is with --part I/{count}"
            )

    def parts_of(self, pair_ids: Iterable[str]) -> list[str]:
        """What has become of the parts that some pairs belong to, in sentences; nothing of a batch in one part."""
        notes = self._notes()
        count = max((note["of"] for note in notes), default=1)
        if count == 1:
            return []
        places = {pair["pair_id"]: n for n, pair in enumerate(self.record()["pairs"])}
        wanted, told = {places[name] for name in pair_ids}, []
        for number in range(1, count + 1):
            part = Part(number, count)
            if not wanted & set(part.rows(len(places))):
                continue
            note = next((n for n in notes if (n["part"], n["of"]) == (number, count)), None)
            if note is None:
                told.append(f"{part.told(len(places))} never ran")
            elif note["state"] != "ended":
                told.append(f"{part.told(len(places))} began on {note['host']} at {note['time']} and has not ended")
        return told

    def record(self) -> dict[str, Any]:
        """What the batch was begun with.

        Raises:
            OutputError: the folder is not that of a batch.
        """
        found = read_json(self.path / RECORD)
        if found is None:
            raise OutputError(f"{self.path} is not the folder of a batch: it has no {RECORD} that can be read")
        return found

    def status(self, pair_id: str) -> dict[str, Any] | None:
        """What ``status.json`` of a pair says; None where there is none."""
        return read_json(self.path / pair_id / STATUS)

    def undone(self, pair_ids: Iterable[str]) -> dict[str, str]:
        """Why pairs that are not done are not."""
        found = {pair_id: self.status(pair_id) for pair_id in pair_ids}
        return {
            pair_id: (status.get("error") or "failed") if status else MISSING
            for pair_id, status in found.items()
            if not status or status.get("status") != DONE
        }

    def standing(self, task: Task, hashes: dict[str, str] | None) -> str:
        """What there is of a task: "" for nothing, "done" for its finished result, or why it is to be done again."""
        status = self.status(task.pair_id)
        if status is None:
            return ""
        if status.get("status") != DONE:
            return "failed before"
        if status.get("inputs") != hashes:
            return "the input files have changed"
        if status.get("options_sha256") != task.digest():
            return f"the {_difference(status['options'], task.options())} differ"
        folder = self.path / task.pair_id
        sizes = {
            name: (folder / name).stat().st_size if (folder / name).is_file() else None for name in status["files"]
        }
        return DONE if sizes == status["files"] else "files are missing or have changed"

    def refuse_foreign(self, tasks: Iterable[Task]) -> list[str]:
        """Names of the pairs that have results.

        Raises:
            OutputError: where a pair's folder would be lies something that no batch has written.
        """
        found = []
        for task in tasks:
            place = self.path / task.pair_id
            if place.exists() or place.is_symlink():
                if other := _foreign(place):
                    raise OutputError(
                        f"{other} is no result of cnnreg batch and lies where one would go; move it, or give another -o"
                    )
                found.append(task.pair_id)
        return found

    @contextmanager
    def staging(self) -> Iterator[Path]:
        """A temporary folder beside those of the pairs, gone at the end unless :meth:`publish` has renamed it."""
        try:
            folder = Path(tempfile.mkdtemp(prefix=partial_prefix(), dir=self.path))
            umask = os.umask(0)
            os.umask(umask)
            folder.chmod(0o777 & ~umask)
        except OSError as error:
            raise OutputError(f"cannot write to {self.path}: {error.strerror}") from None
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def publish(self, staging: Path, task: Task, status: dict[str, Any]) -> None:
        """Write the status, last, and let the folder take its name; what another run has finished meanwhile stays.

        Raises:
            OutputError: the disk is full, or the folder cannot be written.
        """
        place = self.path / task.pair_id
        try:
            status["files"] = {file.name: file.stat().st_size for file in sorted(staging.iterdir())}
            with (staging / STATUS).open("w", encoding="utf-8") as file:
                file.write(json.dumps(status, indent=1, allow_nan=False) + "\n")
                file.flush()
                os.fsync(file.fileno())
            with locked(self.path / STATE):
                if self.standing(task, status["inputs"]) == DONE and status.get("status") != DONE:
                    return
                if place.exists():
                    if other := _foreign(place):
                        raise OutputError(f"{other} is no result of cnnreg batch and lies where one would go")
                    old = Path(tempfile.mkdtemp(prefix=partial_prefix(), dir=self.path))
                    place.rename(old / "old")
                    staging.rename(place)
                    shutil.rmtree(old, ignore_errors=True)
                else:
                    staging.rename(place)
        except OSError as error:
            raise OutputError(f"cannot write the results to {place}: {error.strerror or error}") from None


def read_json(path: Path) -> dict[str, Any] | None:
    """An object from a file; None where there is none that can be read."""
    with suppress(OSError, ValueError, RecursionError):
        found = json.loads(path.read_text(encoding="utf-8"))
        return found if isinstance(found, dict) else None
    return None


def remove_leftovers(folder: Path) -> None:
    """Temporary folders of every machine: when all parts have ended, nobody writes to them."""
    for left in folder.glob(f"{PARTIAL}*"):
        shutil.rmtree(left, ignore_errors=True)


def _foreign(place: Path) -> Path | None:
    """Something in a pair's place that its status does not list."""
    if not place.is_dir() or place.is_symlink():
        return place
    status = read_json(place / STATUS)
    ours = {STATUS, *status.get("files", ())} if status else set()
    return next((path for path in sorted(place.iterdir()) if path.name not in ours), None)


def _difference(earlier: dict[str, Any], now: dict[str, Any]) -> str:
    """Names of the options that are not the same."""
    now = json.loads(json.dumps(now))
    names = sorted(name for name in now.keys() | earlier.keys() if now.get(name) != earlier.get(name))
    return ", ".join(names).replace("_", " ")
