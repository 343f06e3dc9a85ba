"""Shares of rows, job arrays of several schedulers, cores, and what is asked of Slurm."""

import os
from itertools import chain
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnnreg.batch.cores import share_cores, usable_cores
from cnnreg.batch.parts import Part, parse_part, part_of_array
from cnnreg.batch.slurm import Resources, _minutes, count_parts
from cnnreg.errors import UsageError


@given(st.integers(0, 5000), st.integers(1, 300))
def test_parts_are_all_rows_once(total: int, count: int):
    """In order, and of sizes that differ by one at most."""
    parts = [Part(number, count).rows(total) for number in range(1, count + 1)]
    assert list(chain(*parts)) == list(range(total))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_a_part_is_told():
    assert Part(3, 5).told(6000) == "part 3 of 5: rows 2401-3600 of 6000"


@pytest.mark.parametrize("text", ["0/3", "4/3", "3", "a/b", "1/0", "-1/3", "1.5/3"])
def test_parts_that_are_none(text: str):
    with pytest.raises(UsageError, match="--part must be I/N"):
        parse_part(text)


SLURM = ("SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_MIN", "SLURM_ARRAY_TASK_MAX", "SLURM_ARRAY_TASK_STEP")


@pytest.mark.parametrize(
    ("variables", "part"),
    [
        (dict(zip(SLURM, ("3", "1", "5", "1"), strict=True)), Part(3, 5)),
        (dict(zip(SLURM, ("0", "0", "4", "1"), strict=True)), Part(1, 5)),
        (dict(zip(SLURM, ("20", "10", "50", "10"), strict=True)) | {"SLURM_ARRAY_TASK_COUNT": "5"}, Part(2, 5)),
        ({"SGE_TASK_ID": "2", "SGE_TASK_FIRST": "1", "SGE_TASK_LAST": "3", "SGE_TASK_STEPSIZE": "1"}, Part(2, 3)),
        ({"SGE_TASK_ID": "undefined"}, None),
        ({"LSB_JOBINDEX": "4", "LSB_JOBINDEX_END": "4"}, Part(4, 4)),
        ({"LSB_JOBINDEX": "0"}, None),
        ({}, None),
    ],
)
def test_parts_of_job_arrays(variables: dict[str, str], part: Part | None):
    """Whatever number the array begins with."""
    assert part_of_array(variables) == part


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        (dict(zip(SLURM, ("7", "1", "9", "1"), strict=True)) | {"SLURM_ARRAY_TASK_COUNT": "3"}, "has gaps"),
        ({"PBS_ARRAY_INDEX": "2"}, r"give --part \$PBS_ARRAY_INDEX/N"),
        ({"PBS_ARRAYID": "2"}, r"give --part \$PBS_ARRAYID/N"),
    ],
)
def test_arrays_of_which_rows_would_never_run(variables: dict[str, str], said: str):
    with pytest.raises(UsageError, match=said):
        part_of_array(variables)


@pytest.mark.parametrize(
    ("jobs", "threads", "cores", "single", "expected"),
    [
        (None, None, 8, False, (8, 1)),
        (3, None, 8, False, (3, 2)),
        (None, 2, 8, False, (4, 2)),
        (None, None, 8, True, (1, 8)),
        (16, None, 8, False, (16, 1)),
        (None, 16, 8, False, (1, 16)),
    ],
)
def test_processes_and_threads(jobs, threads, cores, single, expected):
    """Together no more than the cores, unless more are asked for."""
    assert share_cores(jobs, threads, cores, single=single) == expected


def test_cores_of_this_process(tmp_path: Path):
    """The least of affinity, quota and what Slurm has given."""
    assert usable_cores({}, tmp_path)[0] == len(os.sched_getaffinity(0))
    (tmp_path / "cpu.max").write_text("50000 100000")
    assert usable_cores({}, tmp_path) == (1, "cgroup quota")
    (tmp_path / "cpu.max").write_text("max 100000")
    assert usable_cores({"SLURM_CPUS_PER_TASK": "1"}, tmp_path)[0] == 1
    (tmp_path / "cpu.max").unlink()
    (tmp_path / "cpu").mkdir()
    for name, value in (("quota", "100000"), ("period", "100000")):
        (tmp_path / f"cpu/cpu.cfs_{name}_us").write_text(value)
    assert usable_cores({}, tmp_path)[0] == 1


def test_resources_of_slurm():
    asked = Resources.parse("partition=long, time=1-02:30:00,cpus=4,gpus=1,mem=8G")
    assert asked.sbatch() == {
        "partition": "long",
        "time": "1-02:30:00",
        "mem": "8G",
        "cpus-per-task": "4",
        "gres": "gpu:1",
    }
    for text, said in (("cpu=4", "did you mean 'cpus'"), ("cpus=0", "above 0"), ("time=", "must have a value")):
        with pytest.raises(UsageError, match=said):
            Resources.parse(text)


@pytest.mark.parametrize(
    ("text", "minutes"), [("90", 90), ("02:00:00", 120), ("1-12", 2160), ("5:30", 6), ("1-0:1", 1441)]
)
def test_time_limits(text: str, minutes: int):
    assert _minutes(text) == minutes


def test_1500_rows_where_an_array_may_have_1000_tasks():
    """However many parts are asked for, every row belongs to one, and a start is a small share of a task."""
    parts = count_parts(1500, Resources(parts=1500), largest=1000)
    assert parts == 1000
    assert sum(len(Part(n, parts).rows(1500)) for n in range(1, parts + 1)) == 1500
    assert count_parts(1500, Resources(), largest=1000) == 2
    assert count_parts(10, Resources(), largest=1000) == 1
    assert count_parts(10**6, Resources(), largest=1000) == 1000
