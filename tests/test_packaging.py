"""What a stranger does: run the demo, follow the README, install the wheel somewhere else."""

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from cnnreg.geometry import fields
from cnnreg.learning.modelplaces import available
from cnnreg.pairs.demo import make_demo, smooth_field

ROOT = Path(__file__).resolve().parents[1]


def test_the_demo_s_truth_is_true():
    """Its field lays the moving image, labels and points onto the fixed ones exactly, and does not fold."""
    pair = make_demo()
    assert fields.jacobian_determinant(pair.field).min() > 0.2
    assert 6 < pair.field.norm(dim=1).max() < 12
    from cnnreg.geometry.resampling import move_points, warp_image

    warped = warp_image(pair.moving, pair.field, pair.fixed.grid)
    assert np.array_equal(warped.pixels, pair.fixed.pixels)
    moved = move_points(pair.points_fixed, pair.field, pair.fixed.grid, pair.moving.grid)
    np.testing.assert_allclose(moved, pair.points_moving, atol=1e-4)
    assert 0.2 < (pair.seg_fixed.pixels > 0).mean() < 0.5


def test_a_smooth_field_is_zero_at_the_rim_and_has_the_length_asked_for():
    """And follows its seed."""
    field = smooth_field((60, 80), length=5, scale=30, seed=1)
    assert field.norm(dim=1).max().item() == pytest.approx(5)
    assert field[..., 0, :].abs().max() < 2
    assert not np.allclose(field, smooth_field((60, 80), length=5, scale=30, seed=2))


def test_the_demo_registers_its_pair(cli, tmp_path):
    """From a shipped model, fifty steps: landmark error below a quarter of what it was, overlap up, no folds."""
    ended = cli("demo", "-o", tmp_path / "d")
    assert ended.code == 0, ended.err
    report = json.loads((tmp_path / "d" / "result" / "report.json").read_text())
    before, after = report["metrics"]["before"], report["metrics"]["adaptation"]
    assert report["model"]["name"] in available()
    assert after["landmarks"]["tre_px"] < 0.25 * before["landmarks"]["tre_px"]
    assert after["overlap"]["dsc"] > before["overlap"]["dsc"] + 0.03
    assert after["folding_percent"] <= 0.1
    assert cli("demo", "-o", tmp_path / "d").code == 1
    assert cli("demo", "-o", tmp_path / "d", "--overwrite", "--adapt", "0").code == 0


def test_every_command_of_the_readme_runs(tmp_path, monkeypatch):
    """The ```sh blocks, in order, in an empty folder, as one shell script that stops at the first failure."""
    blocks = re.findall(r"^```sh\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 3
    assert shutil.which("cnnreg", path=str(Path(sys.executable).parent)), "install the package into this environment"
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "CNNREG_CACHE": str(tmp_path / "cache"),
    }
    work = tmp_path / "work"
    work.mkdir()
    script = "set -euo pipefail\n" + "\n".join(blocks)
    done = subprocess.run(["bash", "-c", script], cwd=work, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


@pytest.mark.parametrize("page", sorted(p.name for p in (ROOT / "docs").glob("*.md")))
def test_the_python_of_the_docs_runs(page, tmp_path, cli):
    """The ```python blocks of a page, in order, beside the result of a registration in result/."""
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / "docs" / page).read_text(), re.MULTILINE | re.DOTALL)
    if not blocks:
        return
    assert cli("demo", "-o", tmp_path, "--adapt", 0).code == 0
    done = subprocess.run([sys.executable, "-c", "\n".join(blocks)], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_notebook_runs(tmp_path):
    """Cell by cell, as Jupyter would; the photograph ends where it was."""
    import jupytext

    notebook = jupytext.read(ROOT / "docs" / "example.py")
    cells = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    assert len(cells) == 4
    check = "assert np.corrcoef(fixed[20:-20, 20:-20].ravel(), result.warped[20:-20, 20:-20].ravel())[0, 1] > 0.99"
    code = "\n".join(["import matplotlib; matplotlib.use('agg')", *cells, check])
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "registered.png").stat().st_size > 0


def test_the_parameter_page_is_up_to_date():
    """docs/parameters.md is what its script prints."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "docs" / "make_parameters.py")], capture_output=True, text=True, check=True
    )
    assert (ROOT / "docs" / "parameters.md").read_text() == done.stdout


@pytest.mark.slow
def test_a_wheel_works_outside_the_checkout(tmp_path):
    """Built, unpacked elsewhere, run from there: the shipped models are inside and load."""
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-q", "-w", tmp_path, ROOT],
        check=True,
    )
    wheel = next(tmp_path.glob("cnnreg-*.whl"))
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    code = (
        "import sys, cnnreg; assert 'site' in cnnreg.__file__, cnnreg.__file__;"
        "from cnnreg.cli.main import run; sys.exit(run(['models', 'verify']) or run(['presets', 'show', 'paper']))"
    )
    environment = os.environ | {"PYTHONPATH": str(site), "CNNREG_CACHE": str(tmp_path / "cache")}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for name in ("cardiac-cine-mr", "chest-xray"):
        assert f"{name}: good" in done.stdout
