"""The benchmark of GPUs runs where there is none: on small images, or to one sentence."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

GPU = Path(__file__).resolve().parents[1] / "benchmarks" / "gpu.py"
SIZES = {"size": 48, "large": 64, "batch": 2, "steps": 4, "long": 3, "repeats": 1}
SMALL = [f"--{name}={value}" for name, value in SIZES.items()]


def test_the_benchmark_of_gpus_measures_every_task(tmp_path):
    """Each has its times, and twice the pairs read and write twice as much."""
    command = [sys.executable, GPU, "--device", "cpu", *SMALL, "--out", tmp_path / "gpu.json"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "gpu.json").read_text())["rows"]
    assert len(rows) == 6
    assert all(row["cold"] > 0 and row["warm"] > 0 for row in rows)
    one, two = rows[1]["traffic"], rows[2]["traffic"]
    assert 1.7 * one < two < 2.1 * one


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_gpu_it_says_so():
    done = subprocess.run([sys.executable, GPU], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("there is no CUDA device here")
    assert done.stderr.count("\n") == 1
