"""A Slurm of one node for tests: munged, slurmctld and slurmd, started here and ended by their process ids."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

PROGRAMS = ("munged", "mungekey", "slurmctld", "slurmd", "sbatch", "srun", "scancel", "scontrol", "squeue")
CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CryptoType=crypto/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
MaxArraySize=1001
MinJobAge=3600
KillWait=5
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN
PartitionName=short Nodes={host} Default=YES MaxTime=60 State=UP
"""


def missing() -> str:
    """Why it cannot be started here; empty where it can."""
    if os.geteuid() != 0:
        return "it must be started as root"
    absent = [name for name in PROGRAMS if not shutil.which(name)]
    return f"not installed: {', '.join(absent)} (make cluster installs slurm-wlm and munge)" if absent else ""


def wait_for(condition: Callable[[], object], what: str, *, seconds: float = 240) -> None:
    """Until it is true."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited {seconds:.0f} s for {what}"
        time.sleep(0.1)


@contextmanager
def slurm(folder: Path) -> Iterator[dict[str, str]]:
    """The environment in which Slurm's commands speak to the node."""
    host = socket.gethostname().partition(".")[0]
    (folder / "state").mkdir(parents=True)
    (folder / "spool").mkdir()
    environment = os.environ | {"SLURM_CONF": str(folder / "slurm.conf")}
    text = CONFIGURATION.format(host=host, folder=folder, ports=[_free_port(), _free_port()])
    (folder / "slurm.conf").write_text(text)
    processes = []
    try:
        processes.append(_munged(folder))
        wait_for((folder / "munge.socket").exists, "munged")
        for line in (["slurmctld", "-D"], ["slurmd", "-D", "-N", host]):
            processes.append(
                subprocess.Popen(line, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            )
        wait_for(lambda: "idle" in said(["sinfo", "-h", "-o", "%T"], environment), "the node to be idle")
        yield environment
    finally:
        subprocess.run(["scancel", "-u", "root"], env=environment, timeout=20, check=False)
        for process in reversed(processes):
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _munged(folder: Path) -> subprocess.Popen[bytes]:
    """With a key and a socket of its own."""
    subprocess.run(["mungekey", "-c", "-k", str(folder / "munge.key")], check=True)
    line = ["munged", "--foreground", "--force"]
    for name in ("socket", "key"):
        line.append(f"--{name}{'-file' if name == 'key' else ''}={folder}/munge.{name}")
    for name in ("pid", "log", "seed"):
        line.append(f"--{name}-file={folder}/munge.{name}")
    return subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def said(line: list[str], environment: dict[str, str]) -> str:
    """What a command prints; nothing where it fails."""
    return subprocess.run(line, env=environment, capture_output=True, text=True, check=False, timeout=60).stdout


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
