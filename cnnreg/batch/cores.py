"""How many processors this process may use, which on a shared machine are fewer than there are."""

import math
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")


def usable_cores(environment: Mapping[str, str] = os.environ, cgroup: Path = CGROUP) -> tuple[int, str]:
    """The number of cores, and what limits it: the affinity, the cgroup's quota, or Slurm's ``--cpus-per-task``."""
    limits = {"processors of this machine": os.cpu_count() or 1}
    if hasattr(os, "sched_getaffinity"):
        limits["CPU affinity"] = len(os.sched_getaffinity(0))
    if quota := _quota(cgroup):
        limits["cgroup quota"] = quota
    if environment.get("SLURM_CPUS_PER_TASK", "").isdigit():
        limits["SLURM_CPUS_PER_TASK"] = int(environment["SLURM_CPUS_PER_TASK"])
    name = min(limits, key=lambda limit: limits[limit])
    return max(limits[name], 1), name


def _quota(cgroup: Path) -> int | None:
    """Cores' worth of time that the process' cgroup has, rounded up; None where there is no limit."""
    with suppress(OSError, ValueError):
        quota, period = (cgroup / "cpu.max").read_text().split()
        return None if quota == "max" else math.ceil(int(quota) / int(period))
    with suppress(OSError, ValueError):
        quota, period = ((cgroup / "cpu" / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        return None if int(quota) < 0 else math.ceil(int(quota) / int(period))
    return None


def share_cores(jobs: int | None, threads: int | None, cores: int, *, single: bool = False) -> tuple[int, int]:
    """Processes and threads of each, such that their product is at most ``cores`` unless both are asked for.

    Without any wish a process for every core, since many pairs at a time use them better than one; ``single``: one
    process, as a GPU wants.
    """
    if jobs is None:
        jobs = 1 if single else max(cores // (threads or 1), 1)
    return jobs, threads or max(cores // jobs, 1)
