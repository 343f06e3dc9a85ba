"""The same tasks on a Dask scheduler with two worker processes on loopback."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.batch.conftest import QUICK, results

pytest.importorskip("distributed", reason="NO DASK: pip install 'cnnreg[dask]', so this test did not run")


@pytest.fixture
def scheduler(tmp_path: Path) -> Iterator[str]:
    """Its address."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    folder = ["--local-directory", str(tmp_path / "dask")]
    line = [
        sys.executable,
        "-m",
        "distributed.cli.dask_scheduler",
        "--host",
        "127.0.0.1",
        "--port",
        "0",
        "--no-dashboard",
    ]
    processes = [subprocess.Popen(line, env=environment, stderr=subprocess.PIPE, text=True)]
    try:
        assert processes[0].stderr
        found = next(match for line in processes[0].stderr if (match := re.search(r"tcp://127\.0\.0\.1:\d+", line)))
        worker = [sys.executable, "-m", "distributed.cli.dask_worker", found[0], "--nthreads", "1", "--no-dashboard"]
        for _ in range(2):
            ended = subprocess.Popen([*worker, "--no-nanny", *folder], env=environment, stderr=subprocess.DEVNULL)
            processes.append(ended)
        yield found[0]
    finally:
        for process in reversed(processes):
            process.terminate()
            process.wait(60)
        if processes[0].stderr:
            processes[0].stderr.close()


@pytest.mark.filterwarnings("ignore")
def test_workers_of_dask_give_the_bytes_of_a_serial_run(scheduler: str, cli, table, tmp_path: Path):
    pairs = table(6)
    ended = cli("batch", pairs, "-o", tmp_path / "dask-out", *QUICK, "--dask", scheduler)
    assert ended.code == 0, ended.err
    assert "6 done, 0 were done before, 0 failed" in ended.out
    cli("batch", pairs, "-o", tmp_path / "serial", *QUICK, "--jobs", 1)
    assert results(tmp_path / "serial") == results(tmp_path / "dask-out")


@pytest.mark.filterwarnings("ignore")
def test_no_scheduler_is_one_sentence(cli, table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("cnnreg.batch.dask.PATIENCE", "1s")
    ended = cli("batch", table(1), "-o", tmp_path / "out", *QUICK, "--dask", "tcp://127.0.0.1:9")
    assert (ended.code, "no Dask scheduler answers at tcp://127.0.0.1:9" in ended.err) == (1, True), ended.err
