"""``cnnreg register`` from files to files: what is written, that it is right, and that it is the same every time."""

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from PIL import Image as PILImage

from cnnreg.config import Config
from cnnreg.geometry.fields import pixel_grid, warp
from cnnreg.images.image import read_field, read_image
from cnnreg.learning.modelcards import load_model
from cnnreg.pipeline.loading import Request
from cnnreg.pipeline.registration import register
from cnnreg.pipeline.setup import Setup
from tests.conftest import smooth_image, smooth_pair, write_itk, write_png

FILES = {"warped.png", "field.mha", "report.json", "report.png"}


def run(cli, folder: Path, fixed: Path, moving: Path, model: object, *extra: object) -> dict:
    """Register, from where the files put the images unless told otherwise, and return the report."""
    init = [] if "--init" in extra else ["--init", "none"]
    ended = cli("register", fixed, moving, "-o", folder, "--model", model, "-q", *init, *extra)
    assert (ended.code, ended.err) == (0, "")
    return json.loads((folder / "report.json").read_text())


def test_what_is_written(cli, pair_files, tiny_model, tmp_path):
    """Four files, made with missing parent folders, that hold together; nothing else is left."""
    folder = tmp_path / "deep" / "er"
    report = run(cli, folder, *pair_files, tiny_model, "--adapt", 3)
    assert {p.name for p in folder.iterdir()} == FILES
    assert {Path(p).name for p in report["files"]} == FILES
    assert report["schema_version"] == 1
    assert report["parameters"]["adaptation"]["steps"] == 3
    assert list(report["metrics"]) == ["before", "prediction", "adaptation"]
    assert report["adaptation"]["target"] == "field"
    assert report["adaptation"]["start"] in {"identity", "coarse", "network"}
    assert [list(entry) for entry in report["adaptation"]["history"]] == [["total", "level"]] * 3
    assert report["device"]["used"] in {"cpu", "cuda"}
    assert report["model"]["sha256"] == load_model(tiny_model).card.sha256
    assert {"model", "read", "align", "predict", "adapt", "warp", "judge", "measure", "write"} == set(report["seconds"])
    import hashlib

    assert report["inputs"]["fixed"]["sha256"] == hashlib.sha256(pair_files[0].read_bytes()).hexdigest()
    with PILImage.open(folder / "report.png") as picture:
        assert picture.size[0] > 900
        assert len(picture.getcolors(10**6) or range(1000)) > 100


def test_the_field_on_disk_reproduces_the_warped_image(cli, pair_files, tiny_model, tmp_path):
    """SimpleITK, given field.mha as it is, makes warped.png, up to the rounding of 8 bits."""
    run(cli, tmp_path / "r", *pair_files, tiny_model, "--adapt", 20)
    moving = sitk.ReadImage(str(pair_files[1]))
    transform = sitk.DisplacementFieldTransform(sitk.ReadImage(str(tmp_path / "r" / "field.mha")))
    theirs = sitk.GetArrayFromImage(sitk.Resample(moving, sitk.ReadImage(str(pair_files[0])), transform)).astype(int)
    ours = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "r" / "warped.png"))).astype(int)
    inner = (slice(1, -1), slice(1, -1))
    assert np.abs(ours - theirs)[inner].max() <= 1
    assert np.abs(ours - sitk.GetArrayFromImage(moving).astype(int)).max() > 3  # it did move


def test_another_pair_in_between_changes_nothing(cli, pair_files, tiny_model, tmp_path):
    """A, B, A in one process: the files of the two A are the same bytes, with adaptation."""
    other = [write_png(tmp_path / f"o{i}.png", x) for i, x in enumerate(smooth_pair(seed=5))]
    for name, pair in (("a", pair_files), ("b", other), ("again", pair_files)):
        run(cli, tmp_path / name, *pair, tiny_model, "--adapt", 5)
    for file in ("warped.png", "field.mha", "report.png"):
        first, second, third = ((tmp_path / name / file).read_bytes() for name in ("a", "b", "again"))
        assert first == third
        assert first != second


def test_random_weights_follow_the_seed(cli, pair_files, tmp_path):
    """--model none: the same bytes with the same seed, others with another."""
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run(cli, tmp_path / name, *pair_files, "none", "--adapt", 2, "--seed", seed, "--preset", "paper")
    a, b, c = ((tmp_path / name / "field.mha").read_bytes() for name in "abc")
    assert a == b
    assert a != c


def test_fifty_iterations_are_the_default(cli, pair_files, tiny_model, tmp_path):
    report = run(cli, tmp_path / "r", *pair_files, tiny_model)
    assert (report["adaptation"]["steps"], len(report["adaptation"]["history"])) == (50, 50)
    assert run(cli, tmp_path / "p", *pair_files, tiny_model, "--preset", "paper")["adaptation"]["steps"] == 0


def test_adapt_zero_is_the_plain_prediction(cli, pair_files, tiny_model, tmp_path):
    """--adapt 0 and the network called by hand: the same field to the bit."""
    report = run(cli, tmp_path / "zero", *pair_files, tiny_model, "--adapt", 0)
    assert list(report["metrics"]) == ["before", "prediction"]
    result = register(Request(*pair_files), Setup(Config(), str(tiny_model)))
    assert not result.initial.needed
    with torch.no_grad():
        expected = load_model(tiny_model).network(result.pair.fixed_input, result.pair.moving_input)
    assert torch.equal(result.field, expected)


def test_adapt_zero_overrides_a_parameter_file_that_has_steps(cli, pair_files, tiny_model, tmp_path):
    """0 is a number of steps, not the absence of one."""
    (tmp_path / "p.toml").write_text("[adaptation]\nsteps = 3\n")
    report = run(cli, tmp_path / "a", *pair_files, tiny_model, "-p", tmp_path / "p.toml")
    assert report["parameters"]["adaptation"]["steps"] == 3
    report = run(cli, tmp_path / "b", *pair_files, tiny_model, "-p", tmp_path / "p.toml", "--adapt", 0)
    assert report["parameters"]["adaptation"]["steps"] == 0


@pytest.mark.parametrize("size", [(16, 16), (17, 40), (97, 131), (300, 420)])
def test_any_size(cli, tiny_model, tmp_path, size):
    """From 16 pixels, odd, non-square, larger than the network's: the field has the fixed image's size."""
    pair = [write_png(tmp_path / f"{i}.png", x) for i, x in enumerate(smooth_pair(size))]
    run(cli, tmp_path / "r", *pair, tiny_model, "--adapt", 1)
    assert sitk.ReadImage(str(tmp_path / "r" / "field.mha")).GetSize() == size[::-1]
    assert read_image(tmp_path / "r" / "warped.png").pixels.shape == size


def test_large_images_get_the_deformation_of_small_ones(tiny_model):
    """Beyond max_size the network sees a smaller image; the field is the same deformation in larger pixels."""
    small = [torch.from_numpy(x)[None, None] for x in smooth_pair((128, 256))]
    large = [torch.nn.functional.interpolate(x, scale_factor=2, mode="nearest") for x in small]
    from cnnreg.geometry.fields import resize
    from cnnreg.geometry.resampling import shrink

    network = load_model(tiny_model).network
    shrunk = [shrink(x, 256) for x in large]
    assert shrunk[0].shape == small[0].shape
    with torch.no_grad():
        field, fine = network(*small), resize(network(*shrunk), (256, 512))
    assert fine.shape[2:] == (256, 512)
    assert (fine[:, :, ::2, ::2] / 2 - field).abs().max() < 0.1 * field.abs().max() + 0.05


def test_geometry_of_fixed_and_type_of_moving(cli, tiny_model, tmp_path):
    """A 16-bit MHA on one grid onto a float NIfTI on another: the fixed grid, the moving pixels."""
    direction = (np.cos(0.1), -np.sin(0.1), np.sin(0.1), np.cos(0.1))
    fixed = write_itk(
        tmp_path / "fixed.nii.gz", smooth_image((40, 50)), spacing=(1.5, 0.75), origin=(3, -4), direction=direction
    )
    pixels = (smooth_image((60, 44), seed=1) * 40000).astype(np.uint16)
    moving = write_itk(tmp_path / "moving.mha", pixels, spacing=(1.2, 1.1), origin=(-2, -6))
    run(cli, tmp_path / "r", fixed, moving, tiny_model)
    warped, reference = sitk.ReadImage(str(tmp_path / "r" / "warped.mha")), sitk.ReadImage(str(fixed))
    assert warped.GetPixelID() == sitk.sitkUInt16
    for get in ("GetSize", "GetSpacing", "GetOrigin", "GetDirection"):
        assert getattr(warped, get)() == pytest.approx(getattr(reference, get)(), abs=1e-5)
    transform = sitk.DisplacementFieldTransform(sitk.ReadImage(str(tmp_path / "r" / "field.mha")))
    theirs = sitk.GetArrayFromImage(sitk.Resample(sitk.ReadImage(str(moving)), reference, transform)).astype(float)
    difference = np.abs(sitk.GetArrayFromImage(warped) - theirs)[1:-1, 1:-1]
    assert np.quantile(difference, 0.99) <= 2
    assert (sitk.GetArrayFromImage(warped) == 0).any()  # what lies outside the moving image


def test_refinement_of_large_images_is_bounded(cli, tmp_path):
    """max_size = 128: the field of a smaller pair at full size, without folds; at the images' size it does nothing."""
    size = (300, 400)
    moving = torch.from_numpy(smooth_image(size, scale=6))[None, None]
    y, x = pixel_grid(moving)[0]
    truth = torch.stack([6 * torch.sin(x / 50), 5 * torch.cos(y / 40)])[None]
    pair = (
        write_png(tmp_path / "f.png", warp(moving, truth)[0, 0].numpy()),
        write_png(tmp_path / "m.png", moving[0, 0].numpy()),
    )
    reports, found = {}, {}
    for side in (128, 400, 2048):
        (tmp_path / "p.toml").write_text(f"[refinement]\nmax_size = {side}\n")
        folder = tmp_path / str(side)
        reports[side] = run(cli, folder, *pair, "none", "--adapt", 50, "-p", tmp_path / "p.toml")
        found[side] = torch.from_numpy(read_field(folder / "field.mha")[0])[None]
    report, inner = reports[128], (..., slice(16, -16), slice(16, -16))
    assert found[128].shape == truth.shape
    assert (found[128] - truth)[inner].norm(dim=1).mean() < 0.25 * truth[inner].norm(dim=1).mean()
    assert report["metrics"]["adaptation"]["ncc"] > report["metrics"]["before"]["ncc"]
    assert report["metrics"]["adaptation"]["folding_percent"] == 0
    assert min(entry["level"] for entry in report["adaptation"]["history"]) == 400 / 128
    assert torch.equal(found[400], found[2048])
    assert min(entry["level"] for entry in reports[2048]["adaptation"]["history"]) == 1


def test_colour_is_warped_by_one_field(cli, tiny_model, tmp_path):
    """An RGB image whose channels are multiples of one another stays so, and keeps three channels."""
    fixed, moving = smooth_pair()
    colour = np.stack([moving, moving * 0.5, moving * 0.25], axis=2)
    pair = write_png(tmp_path / "f.png", fixed), write_png(tmp_path / "m.png", colour)
    run(cli, tmp_path / "r", *pair, tiny_model, "--adapt", 10)
    warped = read_image(tmp_path / "r" / "warped.png").pixels.astype(float)
    assert warped.shape == (*fixed.shape, 3)
    assert np.abs(warped[..., 0] - 2 * warped[..., 1]).max() <= 2
    assert np.abs(warped[..., 0] - 4 * warped[..., 2]).max() <= 4


def test_the_inverse_leads_back(cli, tiny_model, tmp_path):
    """--inverse: from the fixed image to the moving one and back, in millimetres, by SimpleITK, on different grids."""
    geometry = {"spacing": (0.5, 0.8), "origin": (10.0, -5.0), "direction": (0.0, -1.0, 1.0, 0.0)}
    files = [write_itk(tmp_path / "f.mha", smooth_image((64, 80), scale=6), **geometry)]
    grid = sitk.Image(100, 60, sitk.sitkFloat32)
    for name, value in {**geometry, "spacing": (0.4, 0.85), "origin": (10.3, -5.1)}.items():
        getattr(grid, f"Set{name.capitalize()}")(value)
    shifted = sitk.Resample(sitk.ReadImage(str(files[0])), grid, sitk.TranslationTransform(2, (0.8, -0.6)))
    sitk.WriteImage(shifted, str(tmp_path / "m.mha"))
    files.append(tmp_path / "m.mha")
    report = run(cli, tmp_path / "r", *files, tiny_model, "--adapt", 20, "--inverse")
    there, back = (
        sitk.DisplacementFieldTransform(sitk.ReadImage(str(tmp_path / "r" / name), sitk.sitkVectorFloat64))
        for name in ("field.mha", "inverse.mha")
    )
    image, other = (sitk.ReadImage(str(file)) for file in files)
    lengths, gaps = [], []
    for x in range(15, 60, 5):
        for y in range(12, 50, 5):
            point = image.TransformIndexToPhysicalPoint((x, y))
            moved = there.TransformPoint(point)
            if all(
                0 <= i <= n - 1
                for i, n in zip(other.TransformPhysicalPointToIndex(moved), other.GetSize(), strict=True)
            ):
                lengths.append(np.linalg.norm(np.subtract(moved, point)))
                gaps.append(np.linalg.norm(np.subtract(back.TransformPoint(moved), point)))
    assert len(gaps) > 20
    assert max(lengths) > 0.5
    assert max(gaps) < 0.05
    assert report["inverse"]["residual_mean_px"] < 0.01
    assert 0 < report["inverse"]["covered_percent"] <= 100
    run(cli, tmp_path / "r", *files, tiny_model, "--overwrite")
    assert not (tmp_path / "r" / "inverse.mha").exists()


@pytest.mark.parametrize(("name", "steps"), [("fast", 12), ("accurate", 200)])
def test_presets_bring_their_number_of_steps(cli, pair_files, tiny_model, tmp_path, name, steps):
    """And --adapt still decides."""
    report = run(cli, tmp_path / "a", *pair_files, tiny_model, "--preset", name)
    assert (report["adaptation"]["steps"], len(report["adaptation"]["history"])) == (steps, steps)
    assert run(cli, tmp_path / "b", *pair_files, tiny_model, "--preset", name, "--adapt", 3)["adaptation"]["steps"] == 3


def test_without_a_model_the_identity_is_the_start(cli, pair_files, tmp_path):
    """--model none: no prediction is reported, and the pair is registered."""
    report = run(cli, tmp_path / "r", *pair_files, "none", "--adapt", 30)
    assert list(report["metrics"]) == ["before", "adaptation"]
    assert report["adaptation"]["start"] in {"identity", "coarse"}
    assert report["metrics"]["adaptation"]["ncc"] > 0.97 > report["metrics"]["before"]["ncc"]
    assert report["metrics"]["adaptation"]["folding_percent"] == 0


def test_labels_and_landmarks_before_and_after(cli, tiny_model, tmp_path):
    """A shift by (2, -3): adaptation raises the Dice and lowers the landmark error that the report shows."""
    fixed, moving = smooth_pair()
    pair = write_png(tmp_path / "f.png", fixed), write_png(tmp_path / "m.png", moving)
    segs = write_png(tmp_path / "sf.png", (fixed > 0.6) * 1.0), write_png(tmp_path / "sm.png", (moving > 0.6) / 255)
    (tmp_path / "pf.csv").write_text("x,y\n20,20\n40,25\n")
    (tmp_path / "pm.csv").write_text("x,y\n17,22\n37,27\n")
    command = ["--seg-fixed", segs[0], "--seg-moving", segs[1]]
    command += ["--points-fixed", tmp_path / "pf.csv", "--points-moving", tmp_path / "pm.csv"]
    report = run(cli, tmp_path / "r", *pair, tiny_model, "--adapt", 20, *command)
    before, after = report["metrics"]["before"], report["metrics"]["adaptation"]
    assert before["landmarks"]["tre_px"] == pytest.approx(np.hypot(2, 3))
    assert after["landmarks"]["tre_px"] < 1
    assert after["overlap"]["dsc"] > before["overlap"]["dsc"] + 0.05
    assert after["ncc"] > 0.98 > before["ncc"]


def test_results_are_not_overwritten_unless_asked(cli, pair_files, tiny_model, tmp_path):
    """A second run stops before any work; --overwrite replaces ours and leaves others' files alone."""
    run(cli, tmp_path / "r", *pair_files, tiny_model)
    (tmp_path / "r" / "notes.txt").write_text("mine")
    before = (tmp_path / "r" / "report.json").read_bytes()
    ended = cli("register", *pair_files, "-o", tmp_path / "r", "--model", tiny_model)
    assert ended.code == 1
    assert "--overwrite" in ended.err
    assert (tmp_path / "r" / "report.json").read_bytes() == before
    run(cli, tmp_path / "r", *pair_files, tiny_model, "--overwrite", "--adapt", 1)
    assert (tmp_path / "r" / "notes.txt").read_text() == "mine"
    assert (tmp_path / "r" / "report.json").read_bytes() != before


def test_the_table_and_the_json_tell_the_same(cli, pair_files, tiny_model, tmp_path):
    """--json prints the report alone on standard output; the table shows the same numbers."""
    ended = cli("register", *pair_files, "-o", tmp_path / "a", "--model", tiny_model, "--json")
    printed = json.loads(ended.out)
    assert printed == json.loads((tmp_path / "a" / "report.json").read_text())
    ended = cli("register", *pair_files, "-o", tmp_path / "b", "--model", tiny_model)
    assert f"{printed['metrics']['prediction']['ncc']:.4f}" in ended.out
    wrote = next(line for line in ended.out.splitlines() if line.startswith("wrote report.png, "))
    assert set(FILES) <= set(wrote.removeprefix("wrote ").partition(" to ")[0].split(", "))
    assert wrote.endswith(f" to {tmp_path / 'b'}")


def test_a_parameter_file_cannot_contradict_the_model(cli, pair_files, tiny_model, tmp_path):
    """[network] belongs to the model's card: another one in the file is an error, not silently ignored."""
    (tmp_path / "p.toml").write_text("[network]\npooling = 3\n")
    ended = cli("register", *pair_files, "-o", tmp_path / "r", "--model", tiny_model, "-p", tmp_path / "p.toml")
    assert ended.code == 1
    assert "[network]" in ended.err


def test_adapted_models_are_kept_and_used(cli, pair_files, tiny_model, tmp_path):
    """adapt writes a model; registering with it equals registering with steps on the weights; --pairs takes a table."""
    (tmp_path / "weights.toml").write_text('[adaptation]\ntarget = "weights"\n[alignment]\ninit = "none"\n')
    ended = cli(
        "adapt",
        *pair_files,
        "--model",
        tiny_model,
        "--steps",
        8,
        "-p",
        tmp_path / "weights.toml",
        "-o",
        tmp_path / "tuned",
    )
    assert ended.code == 0
    assert "cost" in ended.out
    run(cli, tmp_path / "a", *pair_files, tmp_path / "tuned", "--adapt", 0)
    run(cli, tmp_path / "b", *pair_files, tiny_model, "--adapt", 8, "-p", tmp_path / "weights.toml")
    assert (tmp_path / "a" / "field.mha").read_bytes() == (tmp_path / "b" / "field.mha").read_bytes()
    (tmp_path / "pairs.csv").write_text(f"fixed,moving\n{pair_files[0]},{pair_files[1]}\nmoving.png,fixed.png\n")
    command = ["adapt", "--pairs", tmp_path / "pairs.csv", "--model", tiny_model, "-n", 2, "-o", tmp_path / "both"]
    assert cli(*command).code == 0
    card = load_model(tmp_path / "both").card
    assert card.training["pairs"] == 2
    assert card.training["base"] == "tiny"
    assert cli(*command).code == 1  # exists already
    assert cli(*command, "--overwrite").code == 0


@pytest.mark.gpu
def test_cuda_gives_the_field_of_the_cpu(cli, pair_files, tiny_model, tmp_path):
    """Within a hundredth of a pixel."""
    for device in ("cpu", "cuda"):
        run(cli, tmp_path / device, *pair_files, tiny_model, "--adapt", 5, "--device", device)
    fields = [sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / d / "field.mha"))) for d in ("cpu", "cuda")]
    assert np.abs(fields[0] - fields[1]).max() < 0.01


@pytest.mark.parametrize("kind", ["float32", "float64"])
def test_field_type(kind, cli, pair_files, tiny_model, tmp_path):
    """Both types hold the same field and its inverse, read by SimpleITK, float64 by default, compressed."""
    asked = [] if kind == "float64" else ["--field-type", kind]
    run(cli, tmp_path / "default", *pair_files, tiny_model, "--inverse", "--adapt", 2)
    run(cli, tmp_path / "asked", *pair_files, tiny_model, "--inverse", "--adapt", 2, *asked)
    for name in ("field.mha", "inverse.mha"):
        usual, image = (sitk.ReadImage(str(tmp_path / folder / name)) for folder in ("default", "asked"))
        assert image.GetPixelIDTypeAsString() == f"vector of {kind.replace('float', '')}-bit float"
        values = sitk.GetArrayFromImage(image)
        assert (values != 0).any()
        np.testing.assert_allclose(values, sitk.GetArrayFromImage(usual), rtol=1e-6, atol=1e-7)
        assert b"CompressedData = True" in (tmp_path / "asked" / name).read_bytes()


def test_no_picture(cli, pair_files, tiny_model, tmp_path):
    """All but the picture is written, and the report does not claim one; an earlier one does not stay beside it."""
    run(cli, tmp_path / "out", *pair_files, tiny_model)
    report = run(cli, tmp_path / "out", *pair_files, tiny_model, "--no-picture", "--overwrite")
    assert {p.name for p in (tmp_path / "out").iterdir()} == FILES - {"report.png"}
    assert {Path(p).name for p in report["files"]} == FILES - {"report.png"}


def test_unknown_field_type(cli, pair_files, tiny_model, tmp_path):
    """It is refused before anything is written, and what would be right is said."""
    ended = cli("register", *pair_files, "-m", tiny_model, "-o", tmp_path / "out", "--field-type", "half")
    assert ended.code == 2
    assert "'float32', 'float64'" in ended.err
    assert not (tmp_path / "out").exists()
