"""Batches on a real Slurm of one node: arrays, the collector, cancelled, requeued and failed tasks.

``make cluster`` installs what this needs and runs it.
"""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cnnreg.batch.parts import Part
from tests.batch.conftest import QUICK, read_summary, results, spoil
from tests.batch.slurmnode import missing, said, slurm, wait_for

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(bool(missing()), reason=f"NO SLURM: {missing()}, so this test did not run"),
]
SLOW = ("--model", "none", "--adapt", 150, "--init", "none", "--threads", 1, "--outputs", "warped,field")


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of a running Slurm."""
    with slurm(tmp_path_factory.mktemp("slurm")) as environment:
        yield environment | {"OMP_NUM_THREADS": "1"}


def batch(node: dict[str, str], *arguments: object) -> subprocess.CompletedProcess[str]:
    """``cnnreg batch`` where Slurm is."""
    line = [sys.executable, "-m", "cnnreg", "batch", *map(str, arguments)]
    return subprocess.run(line, env=node, capture_output=True, text=True, check=False)


def submitted(node: dict[str, str], *arguments: object) -> tuple[str, str]:
    """Ids of the array and of its collector."""
    ended = batch(node, *arguments)
    assert ended.returncode == 0, ended.stderr
    found = re.search(r"submitted job array (\d+) of .*, and job (\d+)", ended.stdout)
    assert found, ended.stdout
    return found[1], found[2]


def state(node: dict[str, str], job: str) -> str:
    """What Slurm says of a job that it remembers."""
    return " ".join(re.findall(r"JobState=(\S+)", said(["scontrol", "show", "job", job], node)))


def over(node: dict[str, str], job: str) -> bool:
    words = state(node, job).split()
    return bool(words) and not {"PENDING", "RUNNING", "COMPLETING", "CONFIGURING"} & set(words)


def logs(out: Path) -> str:
    return "\n".join(path.read_text()[-3000:] for path in sorted((out / ".batch/slurm").glob("*.err")))


def test_an_array_of_three_is_a_serial_run(node, table, tmp_path: Path, cli):
    """Byte for byte, and the job after it writes summary and page."""
    pairs, out = table(5), tmp_path / "out"
    _, collector = submitted(node, pairs, "-o", out, *QUICK, "--slurm", "parts=3,time=10")
    wait_for(lambda: over(node, collector), "the collector")
    assert state(node, collector) == "COMPLETED", logs(out)
    assert {row["status"] for row in read_summary(out).values()} == {"done"}
    assert (out / "report.html").exists()
    assert len(list((out / ".batch").glob("part-*-of-3.json"))) == 3
    cli("batch", pairs, "-o", tmp_path / "serial", *QUICK, "--jobs", 1)
    assert results(tmp_path / "serial") == results(out)


def test_a_failed_row_fails_its_task_and_the_collector(node, table, tmp_path: Path):
    pairs, out = table(4), tmp_path / "out"
    spoil(tmp_path / "images/m1.png")
    array, collector = submitted(node, pairs, "-o", out, *QUICK, "--slurm", "parts=2")
    wait_for(lambda: over(node, collector), "the collector")
    assert sorted(state(node, array).split()) == ["COMPLETED", "FAILED"]
    assert state(node, collector) == "FAILED"
    assert [row["status"] for row in read_summary(out).values()] == ["done", "failed", "done", "done"]


def done(out: Path) -> set[str]:
    return {path.parent.name for path in out.glob("p*/status.json")}


def test_a_cancelled_task_is_finished_by_resume(node, table, tmp_path: Path):
    """Exactly the rest: what was done stays as it was."""
    pairs, out = table(16), tmp_path / "out"
    array, collector = submitted(node, pairs, "-o", out, *SLOW, "--slurm", "parts=2,cpus=1")
    wait_for(lambda: done(out) & {f"p{n}" for n in range(8, 15)}, "a pair of the second task")
    subprocess.run(["scancel", f"{array}_1"], env=node, check=True)
    wait_for(lambda: over(node, collector), "the collector")
    assert state(node, collector) == "FAILED"
    before = {name: (out / name / "status.json").stat().st_mtime_ns for name in done(out)}
    assert set(before) >= {f"p{n}" for n in range(8)}
    assert len(before) < 16
    assert not list(out.glob(".partial-*"))
    ended = batch(node, pairs, "-o", out, *SLOW, "--resume", "--jobs", 1)
    assert ended.returncode == 0, ended.stderr
    assert f"{16 - len(before)} done, {len(before)} were done before" in ended.stdout
    assert {name: (out / name / "status.json").stat().st_mtime_ns for name in before} == before


def test_1500_rows_are_an_array_that_the_cluster_takes(node, table, tmp_path: Path):
    """As many tasks as MaxArraySize allows, and every row in one of them; the node is kept from running them."""
    host = said(["sinfo", "-h", "-o", "%n"], node).strip()
    subprocess.run(["scontrol", "update", f"nodename={host}", "state=drain", "reason=test"], env=node, check=True)
    try:
        array, collector = submitted(node, table(1500), "-o", tmp_path / "out", *QUICK, "--slurm", "parts=1500")
        told = said(["squeue", "-h", "-r", "-j", array, "-o", "%i"], node).split()
        assert len(told) == len(set(told)) == 1000
        rows = [row for number in range(1, 1001) for row in Part(number, 1000).rows(1500)]
        assert rows == list(range(1500))
        assert f"afterany:{array}" in said(["scontrol", "show", "job", collector], node)
    finally:
        subprocess.run(["scancel", "--user=root"], env=node, check=True)
        subprocess.run(["scontrol", "update", f"nodename={host}", "state=resume"], env=node, check=True)


@pytest.mark.slow
def test_a_part_that_is_told_to_stop_queues_itself_again_and_goes_on(node, table, tmp_path: Path):
    """By the signal that Slurm sends before the time is up, or when another job takes the place."""
    pairs, out = table(16), tmp_path / "out"
    array, collector = submitted(node, pairs, "-o", out, *SLOW, "--slurm", "parts=1,time=30")
    wait_for(lambda: done(out), "a pair")
    subprocess.run(["scancel", "--signal=USR2", array], env=node, check=True)
    wait_for(lambda: "PENDING" in state(node, array), "the requeue")
    before = {name: (out / name / "status.json").stat().st_mtime_ns for name in done(out)}
    assert 0 < len(before) < 16
    wait_for(lambda: over(node, collector), "the collector", seconds=400)
    assert state(node, collector) == "COMPLETED", logs(out)
    assert {name: (out / name / "status.json").stat().st_mtime_ns for name in before} == before


@pytest.mark.slow
def test_a_requeued_part_goes_on(node, table, tmp_path: Path):
    """In its middle; Slurm lets a requeued job wait for about two minutes, unless its delay is lifted."""
    pairs, out = table(16), tmp_path / "out"
    array, collector = submitted(node, pairs, "-o", out, *SLOW, "--slurm", "parts=1")
    wait_for(lambda: done(out), "a pair")
    subprocess.run(["scontrol", "requeue", array], env=node, check=True)
    wait_for(lambda: "PENDING" in state(node, array), "the requeue")
    before = {name: (out / name / "status.json").stat().st_mtime_ns for name in done(out)}
    assert 0 < len(before) < 16
    wait_for(lambda: over(node, collector), "the collector", seconds=400)
    assert state(node, collector) == "COMPLETED", logs(out)
    assert {name: (out / name / "status.json").stat().st_mtime_ns for name in before} == before


def test_the_printed_script_does_the_same(node, table, tmp_path: Path):
    """As a site without submission from Python uses it."""
    pairs, out = table(3), tmp_path / "out put"
    printed = batch(node, pairs, "-o", out, *QUICK, "--slurm", "parts=2,time=10", "--slurm-script")
    assert printed.returncode == 0, printed.stderr
    script = tmp_path / "job.sh"
    words = printed.stdout.replace("exec ", f"exec {sys.executable} -m ", 1) if "exec cnnreg" in printed.stdout else ""
    assert words, printed.stdout
    script.write_text(words)
    (out / ".batch/slurm").mkdir(parents=True)
    job = said(["sbatch", "--parsable", str(script)], node).strip()
    wait_for(lambda: over(node, job), "the array")
    assert state(node, job).split() == ["COMPLETED", "COMPLETED"], next((out / ".batch/slurm").iterdir()).read_text()
    assert batch(node, "--collect", out).returncode == 0
    assert json.loads((out / "p2/status.json").read_text())["status"] == "done"
