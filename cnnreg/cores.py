"""How many CPU cores there are for this process, and how many are worth it."""

import math
import os
from pathlib import Path

SMALL = 384**2  # pixels: up to here a second thread gains nothing, since each step is over before it has begun
GROUPS = Path("/sys/fs/cgroup")


def worthwhile(pixels: int | None, *, most: int) -> int:
    """Threads for images of so many pixels, None for many; ``most`` is what torch has chosen, or its user.

    One where more do not pay, else as many cores as there are. Whoever has set ``OMP_NUM_THREADS`` has chosen.
    """
    if os.environ.get("OMP_NUM_THREADS"):
        return most
    return 1 if pixels is not None and pixels <= SMALL else max(1, min(most, available()))


def available() -> int:
    """Cores that this process may use: by its affinity, its control group, and the Slurm job that it runs in."""
    known = hasattr(os, "sched_getaffinity")  # not on macOS and Windows
    counts = [len(os.sched_getaffinity(0)) if known else os.cpu_count() or 1]
    allotted = os.environ.get("SLURM_CPUS_PER_TASK", "")
    if allotted.isdigit():
        counts.append(int(allotted))
    if quota := _quota():
        counts.append(math.ceil(quota))
    return max(1, min(counts))


def _quota() -> float | None:
    """Cores' worth of time that the control group grants, of version 2 or 1; None if it sets no limit."""
    for folder in (GROUPS / _own_group(), GROUPS, GROUPS / "cpu"):
        try:
            if (folder / "cpu.max").is_file():
                time, period = (folder / "cpu.max").read_text().split()
            else:
                time, period = ((folder / f"cpu.cfs_{name}_us").read_text().strip() for name in ("quota", "period"))
            if time != "max" and int(time) > 0:
                return int(time) / int(period)
        except (OSError, ValueError):  # not there, not ours to read, or of another kind
            continue
    return None


def _own_group() -> str:
    """The path of this process's group below :data:`GROUPS`, of version 2."""
    try:
        lines = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line[3:].lstrip("/") for line in lines if line.startswith("0::")), "")
