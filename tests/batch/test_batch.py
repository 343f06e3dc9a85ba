"""Whole batches on one machine: results, going on, failures, interruptions, memory."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.batch.conftest import QUICK, read_summary, results, spoil, write_table
from tests.conftest import tree


def test_a_batch_is_what_register_writes_for_each_pair(cli: Callable, table: Callable, tmp_path: Path):
    """The same bytes, the pair's own folder in the report, and a row in the summary."""
    ended = cli("batch", table(2), "-o", tmp_path / "out", *QUICK, "--jobs", 1)
    assert ended.code == 0, ended.err
    assert sorted(p.name for p in (tmp_path / "out/p1").iterdir()) == [
        "field.mha",
        "preview.json",
        "report.json",
        "report.png",
        "status.json",
        "warped.png",
    ]
    cli("register", tmp_path / "images/f1.png", tmp_path / "images/m1.png", *QUICK, "-o", tmp_path / "single")
    for name in ("field.mha", "warped.png"):
        assert (tmp_path / "out/p1" / name).read_bytes() == (tmp_path / "single" / name).read_bytes()
    report = json.loads((tmp_path / "out/p1/report.json").read_text())
    assert report["files"][0] == str(tmp_path / "out/p1/warped.png")
    row = read_summary(tmp_path / "out")["p1"]
    assert row["status"] == "done"
    assert float(row["ncc_after"]) == report["metrics"]["adaptation"]["ncc"] > float(row["ncc_before"])
    assert "p1/field.mha" in (tmp_path / "out/report.html").read_text()
    assert row["fixed_sha256"] == report["inputs"]["fixed"]["sha256"]


def test_resume_registers_only_what_is_not_done(cli: Callable, table: Callable, tmp_path: Path):
    """And what has other inputs, other options, or lost files, which is said."""
    pairs, out = table(4), tmp_path / "out"
    assert cli("batch", pairs, "-o", out, *QUICK, "--jobs", 1, "--outputs", "warped,field").code == 0
    again = cli("batch", pairs, "-o", out, *QUICK, "--outputs", "warped,field")
    assert (again.code, "has results of 4 of these pairs" in again.err) == (1, True)
    before = tree(out)
    shutil.rmtree(out / "p0")
    shutil.copy(tmp_path / "images/f3.png", tmp_path / "images/f1.png")
    (out / "p2/field.mha").unlink()
    ended = cli("batch", pairs, "-o", out, *QUICK, "--jobs", 1, "--outputs", "warped,field", "--resume")
    assert ended.code == 0, ended.err
    assert "3 done, 1 were done before, 0 failed" in ended.out
    assert "1 pair done again: the input files have changed" in ended.out
    assert "1 pair done again: files are missing or have changed" in ended.out
    after = tree(out)
    assert before["p3/status.json"] == after["p3/status.json"]
    assert before["p1/field.mha"] != after["p1/field.mha"]
    ended = cli("batch", pairs, "-o", out, *QUICK, "--seed", 1, "--outputs", "warped,field", "--resume", "--jobs", 1)
    assert "4 pairs done again: the seed differ" in ended.out


def test_a_pair_that_fails_is_recorded_and_the_others_go_on(cli: Callable, table: Callable, tmp_path: Path):
    pairs, out = table(3), tmp_path / "out"
    spoil(tmp_path / "images/m1.png")
    ended = cli("batch", pairs, "-o", out, *QUICK, "--jobs", 1, "--outputs", "field")
    assert ended.code == 1
    assert "1 of 3 pairs are not done: p1 (" in ended.err
    assert "m1.png" in ended.err
    assert [row["status"] for row in read_summary(out).values()] == ["done", "failed", "done"]
    assert sorted(path.name for path in (out / "p1").iterdir()) == ["report.png", "status.json"]
    assert "m1.png" in json.loads((out / "p1/status.json").read_text())["error"]
    shutil.copy(tmp_path / "images/m0.png", tmp_path / "images/m1.png")
    mended = cli("batch", pairs, "-o", out, *QUICK, "--jobs", 1, "--outputs", "field", "--resume")
    assert (mended.code, "1 done, 2 were done before" in mended.out) == (0, True)


def test_fail_fast(cli: Callable, table: Callable, tmp_path: Path):
    pairs, out = table(3), tmp_path / "out"
    spoil(tmp_path / "images/m0.png")
    ended = cli("batch", pairs, "-o", out, *QUICK, "--jobs", 1, "--fail-fast")
    assert (ended.code, "3 of 3 pairs are not done" in ended.err) == (1, True)
    assert [row["status"] for row in read_summary(out).values()] == ["failed", "missing", "missing"]


def test_parts_are_a_serial_run_byte_for_byte(cli: Callable, table: Callable, tmp_path: Path):
    """Fields, warped images and measures; whoever runs when."""
    pairs = table(5)
    assert cli("batch", pairs, "-o", tmp_path / "serial", *QUICK, "--jobs", 1).code == 0
    for number, rows in ((3, "4-5"), (1, "1-1"), (2, "2-3")):
        ended = cli("batch", pairs, "-o", tmp_path / "parts", *QUICK, "--jobs", 1, "--part", f"{number}/3")
        assert ended.code == 0, ended.err
        assert f"part {number} of 3: rows {rows} of 5" in ended.out
    assert cli("batch", "--collect", tmp_path / "parts").code == 0
    assert results(tmp_path / "serial") == results(tmp_path / "parts")
    summaries = [read_summary(tmp_path / name) for name in ("serial", "parts")]
    for one, other in zip(*(summary.values() for summary in summaries), strict=True):
        same = [name for name in one if not name.endswith("seconds") and name != "began"]
        assert {name: one[name] for name in same} == {name: other[name] for name in same}


def test_the_collector_names_parts_that_never_ran_or_died(cli: Callable, table: Callable, tmp_path: Path):
    pairs, out = table(5), tmp_path / "out"
    cli("batch", pairs, "-o", out, *QUICK, "--jobs", 1, "--part", "2/5")
    note = out / ".batch/part-3-of-5.json"
    note.write_text(json.dumps({"part": 3, "of": 5, "state": "begun", "host": "node7", "time": "T"}))
    ended = cli("batch", "--collect", out)
    assert ended.code == 1
    assert "4 of 5 pairs are not done: p0 (missing)" in ended.err
    assert "part 1 of 5: rows 1-1 of 5 never ran" in ended.err
    assert "part 3 of 5: rows 3-3 of 5 began on node7 at T and has not ended" in ended.err
    assert "part 2" not in ended.err


def test_a_task_of_an_array_alone_does_not_take_its_rows_for_all(
    cli: Callable, table: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """``sbatch --array=2`` of a script whose array was 1-3."""
    pairs, out = table(3), tmp_path / "out"
    for name in ("ID", "MIN", "STEP", "COUNT"):
        monkeypatch.setenv(f"SLURM_ARRAY_TASK_{name}", "1")
    monkeypatch.setenv("SLURM_ARRAY_TASK_MAX", "3")
    monkeypatch.setenv("SLURM_ARRAY_TASK_COUNT", "3")
    ended = cli("batch", pairs, "-o", out, *QUICK, "--jobs", 1, "--outputs", "field")
    assert (ended.code, "part 1 of 3: rows 1-1 of 3" in ended.out) == (0, True), ended.err
    monkeypatch.setenv("SLURM_ARRAY_TASK_MAX", "1")
    monkeypatch.setenv("SLURM_ARRAY_TASK_COUNT", "1")
    ended = cli("batch", pairs, "-o", out, *QUICK, "--jobs", 1, "--resume")
    assert (ended.code, "was begun in 3 parts, but the job array has 1" in ended.err) == (2, True)


@pytest.mark.parametrize("name", ["out/p1/notes.txt", "out/p1"])
def test_nothing_of_others_is_replaced(cli: Callable, table: Callable, tmp_path: Path, name: str):
    pairs = table(2)
    (tmp_path / name).parent.mkdir(parents=True)
    (tmp_path / name).write_text("mine")
    ended = cli("batch", pairs, "-o", tmp_path / "out", *QUICK, "--overwrite")
    assert (ended.code, "is no result of cnnreg batch" in ended.err) == (1, True)
    assert (tmp_path / name).read_text() == "mine"


def test_no_input_lies_where_results_go(cli: Callable, table: Callable, tmp_path: Path):
    table(1)
    inside = tmp_path / "out/p0"
    inside.mkdir(parents=True)
    shutil.copy(tmp_path / "images/f0.png", inside / "warped.png")
    pairs = write_table(
        tmp_path / "t.csv", [{"pair_id": "p0", "fixed": inside / "warped.png", "moving": "images/m0.png"}]
    )
    ended = cli("batch", pairs, "-o", tmp_path / "out", *QUICK, "--overwrite")
    assert (ended.code, "is an input" in ended.err) == (1, True)


def test_the_folder_of_another_table(cli: Callable, table: Callable, tmp_path: Path):
    cli("batch", table(2), "-o", tmp_path / "out", *QUICK, "--jobs", 1, "--outputs", "field")
    ended = cli("batch", table(3, "other.csv"), "-o", tmp_path / "out", *QUICK, "--jobs", 1)
    assert (ended.code, "holds a batch of another table" in ended.err) == (1, True)


def test_paths_with_spaces_umlauts_and_line_breaks(cli: Callable, table: Callable, tmp_path: Path):
    table(1)
    (tmp_path / "a b ü").mkdir()
    shutil.copy(tmp_path / "images/f0.png", tmp_path / "a b ü/fix\nnö.png")
    text = '\ufefffixed;moving;adapt\r\n"a b ü/fix\nnö.png";images/m0.png;1\r\n'
    (tmp_path / "t.csv").write_text(text, encoding="utf-8", newline="")
    ended = cli("batch", tmp_path / "t.csv", "-o", tmp_path / "oh ö", *QUICK, "--outputs", "report")
    assert ended.code == 1  # a line break cannot be in the name of a folder, and that name was made of the images'
    assert "control character" in ended.err
    (tmp_path / "t.csv").write_text(text.replace("fixed;", "pair_id;fixed;").replace('\n"a', '\nein ß;"a'), newline="")
    ended = cli("batch", tmp_path / "t.csv", "-o", tmp_path / "oh ö", *QUICK, "--outputs", "report")
    assert ended.code == 0, ended.err
    assert (tmp_path / "oh ö/ein ß/report.json").exists()


def start(*arguments: object, **environment: str) -> subprocess.Popen:
    """A batch in a process of its own."""
    line = [sys.executable, "-m", "cnnreg", "batch", *map(str, arguments)]
    env = os.environ | {"OMP_NUM_THREADS": "1"} | environment
    return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)


def wait_for(condition: Callable[[], object], process: subprocess.Popen) -> None:
    """Until it is true, while the process lives."""
    end = time.monotonic() + 900  # of a machine with much else to do
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, "it never came"
        time.sleep(0.02)


def finished(out: Path) -> set[str]:
    return {path.parent.name for path in out.glob("*/status.json") if not path.parent.name.startswith(".")}


def is_whole(out: Path) -> bool:
    """No pair's folder is without its status or one of its files."""
    places = [path for path in out.iterdir() if path.is_dir() and not path.name.startswith(".")]
    return all(
        set(json.loads((p / "status.json").read_text())["files"]) < {f.name for f in p.iterdir()} for p in places
    )


LONG = ("--model", "none", "--adapt", 60, "--init", "none", "--threads", 1, "--outputs", "warped,field")


@pytest.mark.parametrize(
    ("number", "code", "jobs"), [(signal.SIGTERM, 130, 1), (signal.SIGINT, 130, 2), (signal.SIGKILL, -9, 2)]
)
def test_stopped_in_the_middle(table: Callable, tmp_path: Path, number: int, code: int, jobs: int, cli: Callable):
    """Nothing half-written, and going on ends like an undisturbed run."""
    pairs, out = table(15), tmp_path / "out"
    process = start(pairs, "-o", out, *LONG, "--jobs", jobs)
    wait_for(lambda: finished(out), process)
    process.send_signal(number)
    _, told = process.communicate()
    assert process.returncode == code
    assert code < 0 or "go on with --resume" in told
    done = finished(out)
    assert 0 < len(done) < 15
    assert is_whole(out)
    if code == 130:
        assert not list(out.glob(".partial-*"))
    ended = cli("batch", pairs, "-o", out, *LONG, "--resume", "--jobs", 1)
    assert ended.code == 0, ended.err
    assert not list(out.glob(".partial-*"))
    assert len(finished(out)) == 15
    for one, other in ((n, n % 5) for n in range(5, 15)):  # equal pairs, before and after
        assert (out / f"p{one}/field.mha").read_bytes() == (out / f"p{other}/field.mha").read_bytes()
