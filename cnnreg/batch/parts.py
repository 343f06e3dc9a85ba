"""Shares of a table's rows: which part of how many a process has, by its options or by the job array it runs in."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from cnnreg.errors import UsageError


@dataclass(frozen=True)
class Part:
    """Part ``number``, from 1 on, of ``count``: rows that follow each other, by a rule that needs no others."""

    number: int = 1
    count: int = 1

    def rows(self, total: int) -> range:
        """Indices, from 0 on, of the rows of this part."""
        return range((self.number - 1) * total // self.count, self.number * total // self.count)

    def told(self, total: int) -> str:
        """``part 3 of 5: rows 2401-3600 of 6000``."""
        rows = self.rows(total)
        which = f"rows {rows.start + 1}-{rows.stop}" if rows else "no rows"
        return f"part {self.number} of {self.count}: {which} of {total}"


WHOLE = Part()

# Index, first, last and step of a job array's tasks, by the scheduler's variables.
_ARRAYS = {
    "Slurm": ("SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_MIN", "SLURM_ARRAY_TASK_MAX", "SLURM_ARRAY_TASK_STEP"),
    "SGE": ("SGE_TASK_ID", "SGE_TASK_FIRST", "SGE_TASK_LAST", "SGE_TASK_STEPSIZE"),
    "LSF": ("LSB_JOBINDEX", "", "LSB_JOBINDEX_END", "LSB_JOBINDEX_STEP"),  # which begin with 1
    "PBS": ("PBS_ARRAY_INDEX", "", "", ""),
    "Torque": ("PBS_ARRAYID", "", "", ""),
}


def parse_part(text: str) -> Part:
    """``I/N``.

    Raises:
        UsageError: it is not that, or I is not from 1 to N.
    """
    found = re.fullmatch(r"(\d+)/(\d+)", text.strip())
    if not found or not 1 <= int(found[1]) <= int(found[2]):
        raise UsageError(f"--part must be I/N, part I of N with I from 1 to N, such as 3/5; got {text!r}")
    return Part(int(found[1]), int(found[2]))


def part_of_array(environment: Mapping[str, str]) -> Part | None:
    """The part that a job array's own variables say; None outside of one.

    Raises:
        UsageError: the scheduler does not tell how many tasks there are, or its array has gaps.
    """
    for scheduler, (index, first, last, step) in _ARRAYS.items():
        if not environment.get(index, "").isdigit() or (scheduler == "LSF" and environment[index] == "0"):
            continue
        numbers = {name: int(environment.get(name) or missing) for name, missing in ((first, 1), (step, 1))}
        task = int(environment[index])
        if not environment.get(last, "").isdigit():
            raise UsageError(f"{scheduler} does not tell how many tasks its array has: give --part ${index}/N")
        start, stride, tasks = numbers[first], numbers[step], int(environment.get("SLURM_ARRAY_TASK_COUNT") or 0)
        count, place = (int(environment[last]) - start) // stride + 1, (task - start) // stride + 1
        if scheduler == "Slurm" and tasks not in {0, count}:
            raise UsageError(
                f"the job array has gaps ({tasks} tasks from {start} to {environment[last]}), so that parts of the "
                f"table would never run: give --part I/N"
            )
        return Part(place, count)
    return None
