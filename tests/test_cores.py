"""How many threads a run takes, by its images and by what the system allots."""

import os
from dataclasses import replace

import numpy as np
import pytest
import torch

from cnnreg import cores
from cnnreg.interface.registrar import Registrar

from .conftest import smooth_image


@pytest.fixture(autouse=True)
def machine(monkeypatch, tmp_path):
    """Of eight cores and no limits; returns the folder of its control groups."""
    for name in ("OMP_NUM_THREADS", "SLURM_CPUS_PER_TASK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(8)), raising=False)
    monkeypatch.setattr(cores, "GROUPS", tmp_path)
    monkeypatch.setattr(cores, "_own_group", lambda: "user/mine")
    return tmp_path


def test_small_images_take_one_thread_and_large_ones_all_cores():
    assert cores.worthwhile(256**2, most=8) == 1
    assert cores.worthwhile(2048**2, most=8) == 8
    assert cores.worthwhile(None, most=8) == 8


def test_torch_or_its_user_may_have_chosen_fewer():
    assert cores.worthwhile(2048**2, most=2) == 2


def test_omp_num_threads_is_the_users_choice(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert [cores.worthwhile(n, most=3) for n in (100, 2048**2)] == [3, 3]


@pytest.mark.parametrize(
    ("file", "text", "expected"),
    [
        ("cpu.max", "300000 100000\n", 3),
        ("cpu.max", "150000 100000\n", 2),
        ("cpu.max", "5000 100000\n", 1),
        ("cpu.max", "max 100000\n", 8),
        ("cpu.max", "of another kind\n", 8),
        ("user/mine/cpu.max", "400000 100000\n", 4),
        ("cpu/cpu.cfs_quota_us", "200000\n", 2),
        ("cpu/cpu.cfs_quota_us", "-1\n", 8),
    ],
)
def test_a_limit_of_the_control_group_counts(machine, file, text, expected):
    (machine / file).parent.mkdir(parents=True, exist_ok=True)
    (machine / file).write_text(text)
    (machine / "cpu").mkdir(exist_ok=True)
    (machine / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    assert cores.worthwhile(None, most=8) == expected


def test_slurm_and_affinity_count(monkeypatch):
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "5")
    assert cores.available() == 5
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {4}, raising=False)
    assert cores.available() == 1


def test_a_registration_says_its_threads_and_leaves_torchs_as_they_were():
    small, large = (np.tile(smooth_image((48, 64), seed=3), (n, n)) for n in (1, 9))
    torch.set_num_threads(2)
    registrar = Registrar(model="none", adapt=1, init="none")
    assert registrar.register(small, small).result.threads == 1
    assert registrar.register(large, large).result.threads == 2
    asked = Registrar.of(replace(registrar._setup, threads=2))
    assert asked.register(small, small).result.threads == 2
    assert torch.get_num_threads() == 2
