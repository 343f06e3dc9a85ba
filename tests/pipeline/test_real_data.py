"""The shipped models and every command on real images, where ../shared/data is there."""

import csv
import json
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

from cnnreg.config import preset
from cnnreg.pairs.dataset import PairFiles
from cnnreg.pipeline.loading import Request
from cnnreg.pipeline.registration import register
from cnnreg.pipeline.setup import Setup, open_session

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.data


@pytest.fixture
def tables(shared_data: Path, tmp_path: Path) -> Path:
    """The split that the shipped models were trained with."""
    script = ROOT / "benchmarks" / "train_models" / "make_tables.py"
    subprocess.run([sys.executable, script, shared_data, tmp_path / "tables"], check=True, capture_output=True)
    return tmp_path / "tables"


def rows(table: Path) -> list[dict[str, str]]:
    with table.open(newline="") as file:
        return list(csv.DictReader(file))


def test_patients_are_in_one_part_only(tables):
    """Training, validation and test share nobody, and together are everybody."""
    parts = [{row["patient"] for row in rows(tables / f"cardiac-cine-mr-{p}.csv")} for p in ("train", "val", "test")]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 30


def test_the_cardiac_model_on_patients_it_never_saw(tables):
    """The middle slice of each test patient: mean Dice at least 0.87, with hardly a fold."""
    patients = {}
    for row in rows(tables / "cardiac-cine-mr-test.csv"):
        patients.setdefault(row["patient"], []).append(row)
    setup = Setup(preset("default"), "cardiac-cine-mr")
    measures = []
    for group in patients.values():
        row = group[len(group) // 2]
        files = PairFiles(*(Path(row[name]) for name in ("fixed", "moving", "seg_fixed", "seg_moving")))
        measures.append(register(Request(files), open_session(setup)).measures["prediction"])
    assert statistics.mean(m["overlap"]["dsc"] for m in measures) >= 0.87
    assert statistics.mean(m["folding_percent"] for m in measures) <= 0.1


def test_no_start_hurts_and_nothing_folds(tables):
    """Every eighth validation pair with its own model, the other kind's and none: Dice alike, above 0.9, no fold."""
    results: dict[str, list[float]] = {}
    for model in ("cardiac-cine-mr", "chest-xray", "none"):
        setup = Setup(preset("default").override({"adaptation": {"steps": 50}}, source="test"), model)
        for row in rows(tables / "cardiac-cine-mr-val.csv")[::8]:
            files = PairFiles(*(Path(row[name]) for name in ("fixed", "moving", "seg_fixed", "seg_moving")))
            measures = register(Request(files), open_session(setup)).measures["adaptation"]
            assert measures["folding_percent"] == 0
            results.setdefault(model, []).append(measures["overlap"]["dsc"])
    means = [statistics.mean(values) for values in results.values()]
    assert min(means) > 0.9
    assert max(means) - min(means) < 0.01


def test_every_command_on_real_images(cli, tables, tmp_path):
    """register, evaluate, apply, adapt, and train on pairs and on mirror images."""
    row = rows(tables / "cardiac-cine-mr-test.csv")[4]
    pair, segs = (row["fixed"], row["moving"]), ("--seg-fixed", row["seg_fixed"], "--seg-moving", row["seg_moving"])
    out = tmp_path / "r"
    assert cli("register", *pair, *segs, "-o", out, "--adapt", 5).code == 0
    metrics = json.loads((out / "report.json").read_text())["metrics"]
    assert metrics["adaptation"]["overlap"]["dsc"] > metrics["before"]["overlap"]["dsc"]
    ended = cli("evaluate", *segs, "--field", out / "field.mha", "--json")
    evaluated = json.loads(ended.out)["metrics"]["after"]["overlap"]["dsc"]
    assert evaluated == pytest.approx(metrics["adaptation"]["overlap"]["dsc"], abs=1e-3)
    assert cli("apply", out / "field.mha", row["seg_moving"], "--label", "-o", out).code == 0
    assert cli("adapt", *pair, "--model", "chest-xray", "-n", 3, "-o", tmp_path / "tuned").code == 0
    recipes = ROOT / "benchmarks" / "train_models"
    val = tables / "cardiac-cine-mr-val.csv"
    small = tmp_path / "few.csv"
    small.write_text("\n".join(val.read_text().splitlines()[:5]) + "\n")
    command = ["train", small, "--val", small, "-p", recipes / "cardiac-cine-mr.toml", "--steps", 3]
    assert cli(*command, "-o", tmp_path / "mr").code == 0
    films = tmp_path / "films.csv"
    films.write_text("\n".join((tables / "chest-xray-val.csv").read_text().splitlines()[:4]) + "\n")
    command = ["train", films, "--val", films, "--mirror", "-p", recipes / "chest-xray.toml", "--steps", 2]
    assert cli(*command, "-o", tmp_path / "cxr").code == 0
    assert cli("models", "verify", tmp_path / "cxr", tmp_path / "mr").code == 0
