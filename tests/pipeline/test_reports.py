"""Real reports of every command against the JSON Schema that is shipped, and the page that is made from it."""

import importlib.resources
import json
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from tests.conftest import SIZE, smooth_image, write_itk, write_png

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = json.loads(importlib.resources.files("cnnreg.pipeline").joinpath("report.schema.json").read_text())


def check(report: dict, kind: str) -> dict:
    """The report is of this kind, and of no other."""
    for name in ("registration", "subtraction", "strain", "evaluation"):
        part = {"$ref": f"#/$defs/{name}", "$defs": SCHEMA["$defs"]}
        assert jsonschema.Draft202012Validator(part).is_valid(report) == (name == kind), name
    jsonschema.Draft202012Validator(SCHEMA, format_checker=jsonschema.FormatChecker()).validate(report)
    return report


def test_the_schema_is_one():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.fixture
def labels(tmp_path):
    """Two label maps of the size of ``pair_files``, with two labels each."""
    files = []
    for name, shift in (("seg_fixed", 0), ("seg_moving", 3)):
        values = np.zeros(SIZE, np.uint8)
        values[8 + shift : 24 + shift, 12:30] = 1
        values[32:42, 12:30] = 2
        files.append(write_itk(tmp_path / f"{name}.png", values))
    return files


@pytest.fixture
def points(tmp_path):
    files = []
    for name, shift in (("points_fixed", 0), ("points_moving", 2)):
        files.append(tmp_path / f"{name}.csv")
        files[-1].write_text(f"x,y\n10,{12 + shift}\n30,{40 + shift}\n")
    return files


@pytest.mark.parametrize("case", ["plain", "all", "searched", "weights", "prediction"])
def test_reports_of_registrations(cli, pair_files, tiny_model, labels, points, tmp_path, case):
    """With and without a model, iterations, initial transform, inverse, labels and landmarks."""
    with_labels = ["--seg-fixed", labels[0], "--seg-moving", labels[1]]
    with_points = ["--points-fixed", points[0], "--points-moving", points[1]]
    options = {
        "plain": ["--model", "none", "--adapt", 2, "--init", "none"],
        "all": ["--model", tiny_model, "--adapt", 2, "--init", "none", "--inverse", *with_labels, *with_points],
        "searched": ["--model", "none", "--adapt", 2, "--init", "rigid"],
        "weights": ["--model", tiny_model, "--adapt", 2, "--init", "none", "--preset", "paper"],
        "prediction": ["--model", tiny_model, "--adapt", 0, "--init", "none"],
    }[case]
    folder = tmp_path / "out"
    ended = cli("register", *pair_files, "-o", folder, "--no-picture", "--json", *options)
    assert ended.code == 0, ended.err
    report = check(json.loads((folder / "report.json").read_text()), "registration")
    assert json.loads(ended.out) == report
    assert ("file" in report["alignment"]) == (case == "searched")
    assert abs((datetime.now().astimezone() - datetime.fromisoformat(report["date"])).total_seconds()) < 86400
    assert report["working_directory"] == str(Path.cwd())
    assert report["host"]


def test_reports_of_csub_strain_and_evaluate(cli, pair_files, tmp_path, labels):
    film = write_png(tmp_path / "film.png", smooth_image((64, 72), seed=4))
    assert cli("csub", film, "-o", tmp_path / "csub", "--model", "none", "--adapt", 2, "-q").code == 0
    check(json.loads((tmp_path / "csub" / "report.json").read_text()), "subtraction")
    field = np.zeros((*SIZE, 2), np.float64)
    field[..., 0] = 0.1 * np.arange(SIZE[1])
    write_itk(tmp_path / "field.mha", field, vector=True)
    for options in ([], ["--label", 1], ["--wall", 4]):
        arguments = ["--seg", labels[0], "-o", tmp_path / "strain", "--overwrite", *options]
        assert cli("strain", tmp_path / "field.mha", *arguments).code == 0
        check(json.loads((tmp_path / "strain" / "strain.json").read_text()), "strain")
    files = ["--fixed", pair_files[0], "--moving", pair_files[1], "--seg-fixed", labels[0], "--seg-moving", labels[1]]
    for further in ([], ["--field", tmp_path / "field.mha"]):
        ended = cli("evaluate", *files, *further, "--json")
        assert ended.code == 0, ended.err
        check(json.loads(ended.out), "evaluation")


def test_the_page_of_reports_is_up_to_date():
    """docs/report.md is what its script prints."""
    done = subprocess.run(
        [sys.executable, ROOT / "docs" / "make_report.py"], capture_output=True, text=True, check=True
    )
    assert (ROOT / "docs" / "report.md").read_text() == done.stdout
