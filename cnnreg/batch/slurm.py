"""A batch as one job array of Slurm, submitted through submitit, and a job after it that writes the summary.

What has become of a pair is judged by the folder of the batch alone: without accounting, Slurm forgets its jobs.
"""

import math
import re
import shlex
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cnnreg.batch.cores import share_cores, usable_cores
from cnnreg.batch.folder import STATE, BatchFolder
from cnnreg.batch.local import Local
from cnnreg.batch.parts import Part
from cnnreg.batch.run import Plan, run
from cnnreg.batch.summary import summarise, write_summary_page
from cnnreg.errors import CnnregError, UsageError, unknown_name

START, PAIR = 4.0, 0.3  # seconds: from the start of a task to its first pair; of a small pair on one core, at least
OVERHEAD = 0.02  # share of a task's time that its start may take
MAX_ARRAY_SIZE = 1001  # Slurm's own default
TOLD_EARLY = 90  # seconds before its time is up that a task is told, to be queued again
KEYS = {"partition", "account", "qos", "time", "mem", "cpus", "gpus", "parts", "constraint"}


@dataclass(frozen=True)
class Resources:
    """What each task of the array asks for, in Slurm's own words."""

    options: tuple[tuple[str, str], ...] = ()
    cpus: int = 1
    gpus: int = 0
    parts: int | None = None  # instead of what :func:`count_parts` says

    @classmethod
    def parse(cls, text: str) -> "Resources":
        """``partition=short,time=02:00:00,mem=8G,cpus=4,gpus=1,parts=20``.

        Raises:
            UsageError: another key, or a number that is none.
        """
        pairs = [part.partition("=") for part in text.split(",") if part.strip()]
        found = {key.strip(): value.strip() for key, _, value in pairs}
        if unknown := [key for key in found if key not in KEYS]:
            raise UsageError(unknown_name("key of --slurm", unknown[0], KEYS))
        numbers = {key: found.pop(key) for key in ("cpus", "gpus", "parts") if key in found}
        if odd := [f"{key}={value}" for key, value in numbers.items() if not re.fullmatch(r"[1-9]\d*", value)]:
            raise UsageError(f"--slurm: {odd[0]} must be a whole number above 0")
        if empty := [key for key, value in found.items() if not value]:
            raise UsageError(f"--slurm: {empty[0]} must have a value, such as {empty[0]}=VALUE")
        return cls(tuple(found.items()), **{key: int(value) for key, value in numbers.items()})

    def sbatch(self) -> dict[str, str]:
        """Options of sbatch, without their dashes."""
        gpus = {"gres": f"gpu:{self.gpus}"} if self.gpus else {}
        return {**dict(self.options), "cpus-per-task": str(self.cpus), **gpus}


def count_parts(pairs: int, resources: Resources, *, largest: int) -> int:
    """Tasks of the array: as many as leave a start less than 2 % of a task, and as an array may have."""
    most = min(largest, pairs)
    if resources.parts:
        return min(resources.parts, most)
    pairs_of_task = math.ceil(START / OVERHEAD / PAIR) * resources.cpus
    return max(1, min(pairs // pairs_of_task, most))


def max_array_size() -> int:
    """How many tasks an array of this cluster may have; Slurm's default where it does not say."""
    try:
        told = subprocess.run(["scontrol", "show", "config"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return MAX_ARRAY_SIZE
    found = re.search(r"^MaxArraySize\s*=\s*(\d+)", told, re.MULTILINE)
    return int(found[1]) if found else MAX_ARRAY_SIZE


def run_part(plan: Plan) -> None:
    """What a task of the array does: its rows, on the cores that it has been given.

    Raises:
        CnnregError: not all of them are done, so that the task is seen to have failed.
    """
    jobs, threads = share_cores(None, plan.threads, usable_cores()[0], single=_has_gpu(plan))
    run(replace(plan, threads=threads), Local(min(jobs, max(len(plan.tasks), 1))))
    if undone := plan.folder.undone(task.pair_id for task in plan.tasks):
        raise CnnregError(f"{len(undone)} of {len(plan.tasks)} pairs of this part are not done: {next(iter(undone))}")


def _has_gpu(plan: Plan) -> bool:
    from cnnreg.devices import resolve_device

    return bool(plan.tasks) and resolve_device(plan.tasks[0].setup.device) != "cpu"


class PartRunner:
    """:func:`run_part` for submitit, which asks for what is left when the time is up or the task is preempted."""

    def __call__(self, plan: Plan) -> None:
        """Do the part."""
        run_part(plan)

    def checkpoint(self, plan: Plan) -> Any:
        """The same part again: what is done is skipped there."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, plan)


def collect(folder: BatchFolder) -> None:
    """What the job after the array does.

    Raises:
        CnnregError: pairs are not done.
    """
    undone = summarise(folder)
    write_summary_page(folder)
    if undone:
        raise CnnregError(f"{len(undone)} pairs are not done: {', '.join(list(undone)[:10])}; see {folder.path}")


def submit(plans: Sequence[Plan], resources: Resources) -> tuple[str, str]:
    """Submit the array and its collector; returns their job ids.

    Raises:
        CnnregError: submitit or sbatch are not there, or Slurm refuses.
    """
    try:
        import submitit
    except ImportError:
        raise CnnregError('--slurm needs submitit: pip install "cnnreg[slurm]"; or see --slurm-script') from None
    folder = plans[0].folder
    logs = folder.path.absolute() / STATE / "slurm"
    logs.mkdir(parents=True, exist_ok=True)  # without it tasks would fail without a word
    more: dict[str, Any] = {"requeue": True, **resources.sbatch()}
    try:
        array = submitit.SlurmExecutor(folder=logs, max_num_timeout=1000)
        shared = {"job_name": "cnnreg", "signal_delay_s": TOLD_EARLY}
        time = more.pop("time", None)
        array.update_parameters(
            **shared,
            time=_minutes(time) if time else None,  # the partition's own
            srun_args=[f"--cpus-per-task={resources.cpus}"],  # which srun does not take over from sbatch since 22.05
            additional_parameters=more,
        )
        jobs = array.map_array(PartRunner(), plans)
        array_id = jobs[0].job_id.partition("_")[0]
        after = submitit.SlurmExecutor(folder=logs)
        late: dict[str, Any] = {key: more[key] for key in ("partition", "account", "qos") if key in more}
        late["dependency"] = f"afterany:{array_id}"  # afterok would wait for ever after a failure
        after.update_parameters(**shared, time=None, additional_parameters=late)
        return array_id, after.submit(collect, folder).job_id
    except (submitit.core.utils.FailedJobError, RuntimeError, OSError) as error:
        raise CnnregError(f"Slurm did not take the job: {' '.join(str(error).split())}") from None


def _minutes(time: str) -> int:
    """Slurm's ways to write a time limit: MM, MM:SS, HH:MM:SS, D-HH, D-HH:MM, D-HH:MM:SS."""
    days, dash, rest = time.rpartition("-")
    try:
        numbers = [int(number) for number in rest.split(":")]
        if dash:
            hours, minutes, seconds = (*numbers, 0, 0)[:3]
        elif len(numbers) == 3:
            hours, minutes, seconds = numbers
        else:
            hours, (minutes, seconds) = 0, (*numbers, 0)[:2]
        return max(1, math.ceil(int(days or 0) * 1440 + hours * 60 + minutes + seconds / 60))
    except ValueError:
        raise UsageError(f"--slurm: time must be such as 90, 02:00:00 or 1-12:00:00, got {time!r}") from None


def script(command: Sequence[str], folder: Path, parts: int, resources: Resources) -> str:
    """The sbatch file that does the same by the command line; ``command`` without what concerns Slurm."""
    logs = folder.absolute() / STATE / "slurm"
    wanted = {"job-name": "cnnreg", "array": f"1-{parts}", **resources.sbatch(), "output": f"{logs}/%A_%a.log"}
    lines = [f"#SBATCH --{name}={shlex.quote(value)}" for name, value in wanted.items()]
    own, where = shlex.join(command), shlex.quote(str(folder))
    return "\n".join(
        [
            "#!/bin/bash",
            f"# mkdir -p {shlex.quote(str(logs))}    (without it, tasks fail without a word)",
            "# id=$(sbatch --parsable THIS_FILE)",
            f"# sbatch --dependency=afterany:$id --wrap={shlex.quote(f'cnnreg batch --collect {where}')}",
            *lines,
            "#SBATCH --requeue",
            "#SBATCH --open-mode=append",
            f"exec {own} --resume --part $SLURM_ARRAY_TASK_ID/{parts}",
        ]
    )


def plans_of(plan: Plan, parts: int) -> list[Plan]:
    """A plan for each task of the array."""
    total = len(plan.tasks)
    shares = [Part(number, parts) for number in range(1, parts + 1)]
    return [replace(plan, part=part, tasks=tuple(plan.tasks[n] for n in part.rows(total))) for part in shares]
