"""How much memory there is for this process: that of the machine, or of the job where a cluster limits it."""

import os
from pathlib import Path

UNKNOWN = 2**63  # more than anything needs
CGROUPS = Path("/sys/fs/cgroup")
OWN = Path("/proc/self/cgroup")


def available() -> int:
    """Bytes."""
    try:
        machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        machine = UNKNOWN
    return min(machine, job_limit())


def job_limit(own: Path = OWN, cgroups: Path = CGROUPS) -> int:
    """The least of the limits of the control groups, of version 2 or 1, that this process is in."""
    try:
        entries = [line.split(":", 2)[1:] for line in own.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError):
        return UNKNOWN
    limits = [UNKNOWN]
    for controllers, path in entries:
        if controllers in {"", "memory"}:
            root, name = (cgroups / "memory", "memory.limit_in_bytes") if controllers else (cgroups, "memory.max")
            parts = Path(path.lstrip("/")).parts
            limits += [_limit(root.joinpath(*parts[:depth], name)) for depth in range(len(parts) + 1)]
    return min(limits)


def _limit(file: Path) -> int:
    try:
        return int(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # none there, or "max"
        return UNKNOWN
