"""What goes wrong on shared machines: full disks, two at a time, killed workers, read-only caches, growing memory."""

import errno
import gc
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from cnnreg.batch import worker
from cnnreg.batch.folder import STATE, BatchFolder
from cnnreg.batch.local import KILLED, Local
from cnnreg.batch.worker import Outcome, Work
from cnnreg.cli.batch import read_tasks
from cnnreg.files import holding
from tests.batch.conftest import QUICK, read_summary
from tests.conftest import save_tiny_model, tree


def test_a_second_batch_in_the_folder_is_refused(cli: Callable, table: Callable, tmp_path: Path):
    """While the first is at work; afterwards it may go on."""
    pairs, out = table(2), tmp_path / "out"
    assert cli("batch", pairs, "-o", out, *QUICK, "--jobs", 1, "--outputs", "field").code == 0
    before = {name: data for name, data in tree(out).items() if name.startswith("p")}
    code = (
        "import sys; from pathlib import Path; from cnnreg.files import holding\n"
        "with holding(Path(sys.argv[1])) as free: print(free, flush=True); sys.stdin.read()"
    )
    line = [sys.executable, "-c", code, str(out / STATE / "part-1-of-1.lock")]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout
        assert other.stdout.readline() == "True\n"
        ended = cli("batch", pairs, "-o", out, *QUICK, "--jobs", 1, "--outputs", "field", "--overwrite")
        assert (ended.code, "another cnnreg batch is at work on" in ended.err) == (1, True)
        other.communicate()
    assert {name: data for name, data in tree(out).items() if name.startswith("p")} == before
    with holding(out / STATE / "part-1-of-1.lock") as free:
        assert free
    assert cli("batch", pairs, "-o", out, *QUICK, "--jobs", 1, "--outputs", "field", "--resume").code == 0


def test_a_full_disk_stops_the_batch(cli: Callable, table: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """In the middle: one sentence, nothing half-written, and going on later ends well."""
    pairs, out = table(4), tmp_path / "out"
    write = worker.write_registration

    def full(*arguments, **rest):
        if len(list(out.glob("p*/status.json"))) >= 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(*arguments, **rest)

    monkeypatch.setattr(worker, "write_registration", full)
    ended = cli("batch", pairs, "-o", out, *QUICK, "--jobs", 1)
    assert (ended.code, "No space left on device" in ended.err) == (1, True)
    assert sorted(path.name for path in out.iterdir() if path.is_dir()) == [".batch", "p0", "p1"]
    monkeypatch.undo()
    ended = cli("batch", pairs, "-o", out, *QUICK, "--jobs", 1, "--resume")
    assert (ended.code, "2 done, 2 were done before" in ended.out) == (0, True)


def test_a_read_only_model_cache(cli: Callable, table: Callable, tmp_path: Path, cache: Path):
    """Models are only read from it; as root nothing is read-only, so what counts is that nothing changes there."""
    cache.mkdir(parents=True)
    save_tiny_model(cache / "tiny")
    for path in (*cache.rglob("*"), cache, cache.parent):
        path.chmod(path.stat().st_mode & ~0o222)
    before = tree(cache.parent)
    ended = cli("batch", table(3), "-o", tmp_path / "out", *QUICK[2:], "--model", "tiny", "--jobs", 2)
    for path in (cache.parent, cache, *cache.rglob("*")):
        path.chmod(path.stat().st_mode | 0o200)
    assert ended.code == 0, ended.err
    assert tree(cache.parent) == before


def suicide(work: Work) -> Outcome:
    """Ends its process as a lack of memory does, at one of the pairs."""
    if work.task.pair_id == "p1":
        os.kill(os.getpid(), signal.SIGKILL)
    return worker.register_task(work)


@pytest.mark.filterwarnings("ignore:unclosed")
def test_a_worker_that_is_killed_costs_its_pair_alone(table: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("cnnreg.batch.local.register_task", suicide)
    given = {"model": "none", "adapt": 2, "init": "none", "threads": 1}
    tasks = read_tasks(table(4), given, outputs="field")
    folder = BatchFolder(tmp_path / "out")
    folder.begin(tasks, table=tmp_path / "pairs.csv")
    works = [Work(task, folder.path, ("test",), task.hashes()) for task in tasks]
    ended = {outcome.pair_id: outcome for outcome in Local(2).run(works)}
    assert {name: outcome.status for name, outcome in ended.items()} == {
        "p0": "done",
        "p1": "failed",
        "p2": "done",
        "p3": "done",
    }
    assert json.loads((folder.path / "p1/status.json").read_text())["error"] == KILLED


def test_an_interrupted_pair_leaves_its_earlier_result(
    cli: Callable, table: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Also with ``--overwrite``: the old folder goes when the new one is whole."""
    pairs, out = table(1), tmp_path / "out"
    assert cli("batch", pairs, "-o", out, *QUICK, "--jobs", 1, "--outputs", "field").code == 0
    before = tree(out / "p0")

    def interrupted(*_arguments, **_rest):
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(worker, "write_registration", interrupted)
    ended = cli("batch", pairs, "-o", out, *QUICK, "--jobs", 1, "--outputs", "field", "--overwrite")
    assert (ended.code, "go on with --resume" in ended.err) == (130, True)
    assert tree(out / "p0") == before
    assert not list(out.glob(".partial-*"))
    shutil.rmtree(out)


def test_nothing_of_a_pair_is_kept(cli: Callable, table: Callable, tmp_path: Path):
    """As many tensors live after thirty pairs as after ten: memory does not grow with their number."""

    def living() -> int:
        gc.collect()
        return sum(issubclass(type(each), torch.Tensor) for each in gc.get_objects())

    pairs, out = table(30), tmp_path / "out"
    line = ("--model", "none", "--adapt", 1, "--init", "none", "--threads", 1, "--jobs", 1, "--outputs", "field", "-q")
    assert cli("batch", pairs, "-o", out, *line, "--part", "1/3").code == 0
    before = living()
    assert cli("batch", pairs, "-o", out, *line, "--resume").code == 0
    assert len(read_summary(out)) == 30
    assert living() <= before
