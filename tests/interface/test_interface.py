"""The Python interface: what goes in comes out, and it does what the command does."""

import json
import subprocess
import sys

import numpy as np
import pytest
import SimpleITK as sitk
import torch

import cnnreg
from cnnreg.errors import CnnregError, ImageError
from cnnreg.images.image import read_field as field_on_disk
from tests.conftest import smooth_pair

ONE = {"model": "none", "adapt": 5, "threads": 1}


@pytest.fixture(scope="module")
def arrays():
    """Two 8-bit images, not square."""
    fixed, moving = smooth_pair((40, 56))
    return tuple((image * 255).astype(np.uint8) for image in (fixed, moving))


@pytest.fixture
def registered(arrays):
    return cnnreg.register(*arrays, **ONE)


def test_the_package_is_there_at_once():
    """Nothing heavy before something is called; what it offers is listed."""
    code = (
        "import sys, cnnreg; assert set(cnnreg.__all__) <= set(dir(cnnreg));"
        "print({'torch', 'SimpleITK', 'numpy', 'scipy', 'skimage', 'PIL'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("set()\n", "")
    with pytest.raises(AttributeError, match="no attribute 'regster'"):
        cnnreg.regster  # noqa: B018


def test_every_name_is_there():
    assert all(callable(getattr(cnnreg, name)) for name in cnnreg.__all__ if name != "transforms")
    assert callable(cnnreg.transforms.invert)


def test_files_and_arrays_give_the_same(arrays, registered, tmp_path, cli):
    """And so does the command, to the last bit."""
    paths = [tmp_path / "f.png", tmp_path / "m.png"]
    for path, array in zip(paths, arrays, strict=True):
        sitk.WriteImage(sitk.GetImageFromArray(array), str(path))
    from_files = cnnreg.register(*paths, **ONE)
    assert np.array_equal(from_files.warped, registered.warped)
    assert np.array_equal(from_files.field_yx, registered.field_yx)
    assert cli("register", *paths, "-o", tmp_path / "r", "--model", "none", "--adapt", 5, "--threads", 1).code == 0
    assert np.array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "r" / "warped.png"))), from_files.warped)
    assert np.allclose(field_on_disk(tmp_path / "r" / "field.mha")[0], from_files.field_yx, atol=1e-6)
    from_files.save(tmp_path / "p")
    assert {p.name for p in (tmp_path / "p").iterdir()} == {p.name for p in (tmp_path / "r").iterdir()}
    reports = [json.loads((tmp_path / folder / "report.json").read_text()) for folder in ("p", "r")]
    assert reports[0]["metrics"] == reports[1]["metrics"] == from_files.measures


def test_fields_on_disk_are_used_as_the_commands_use_them(arrays, registered, tmp_path, cli):
    """To the byte; and what has no effect is refused here, too."""
    registered.save(tmp_path / "r")
    field, image = tmp_path / "r" / "field.mha", tmp_path / "m.png"
    sitk.WriteImage(sitk.GetImageFromArray(arrays[1]), str(image))
    for folder in ("cli", "py"):
        (tmp_path / folder).mkdir()
    for name, words, call in (
        ("apply", ["apply", field, image, "-o"], lambda out: cnnreg.apply(field, [image], out=out)),
        ("i.mha", ["transform", "invert", field, "-o"], lambda out: cnnreg.transforms.invert(field, out)),
        ("c.mha", ["transform", "compose", field, field, "-o"], lambda o: cnnreg.transforms.compose([field, field], o)),
        ("j.mha", ["transform", "jacobian", field, "-o"], lambda out: cnnreg.transforms.jacobian(field, out)),
        ("f.npy", ["transform", "convert", field, "-o"], lambda out: cnnreg.transforms.convert(field, out)),
    ):
        assert cli(*words, tmp_path / "cli" / name).code == 0
        call(tmp_path / "py" / name)
    written = [sorted(p.relative_to(tmp_path / f) for p in (tmp_path / f).rglob("*.*")) for f in ("cli", "py")]
    assert written[0] == written[1]
    assert len(written[0]) == 5
    assert all((tmp_path / "cli" / p).read_bytes() == (tmp_path / "py" / p).read_bytes() for p in written[0])
    assert cnnreg.transforms.describe(field)["size"] == "56 x 40 pixels"
    with pytest.raises(CnnregError, match="--physical has no effect without points"):
        cnnreg.apply(field, [image], out=tmp_path, physical=True)


def test_what_comes_back_is_of_the_type_that_went_in(arrays, registered):
    assert (registered.warped.dtype, registered.warped.shape) == (np.uint8, arrays[0].shape)
    tensors = [torch.from_numpy(a)[None] for a in arrays]
    warped = cnnreg.register(*tensors, **ONE).warped
    assert (warped.dtype, warped.shape) == (torch.uint8, (1, 40, 56))
    assert np.array_equal(warped[0].numpy(), registered.warped)
    images = [sitk.GetImageFromArray(a) for a in arrays]
    for image in images:
        image.SetSpacing((0.7, 0.7))
    result = cnnreg.register(*images, **ONE)
    assert np.array_equal(sitk.GetArrayFromImage(result.warped), registered.warped)
    assert result.warped.GetSpacing() == (0.7, 0.7)
    assert np.allclose(result.field.array, 0.7 * registered.field_yx[::-1].transpose(1, 2, 0), atol=1e-5)


def test_simpleitk_resamples_with_the_transform(arrays, registered):
    """To the grey level, away from where the moving image ends."""
    fixed, moving = (sitk.GetImageFromArray(a) for a in arrays)
    theirs = sitk.GetArrayFromImage(sitk.Resample(moving, fixed, registered.to_sitk())).astype(int)
    assert np.abs(theirs - registered.warped)[6:-6, 6:-6].max() <= 1


def test_apply_takes_images_labels_and_points(arrays, registered):
    moving = arrays[1]
    assert np.array_equal(registered.apply(moving), registered.warped)
    labels = (moving > 128).astype(np.int16) * 7
    assert set(np.unique(registered.apply(labels, labels=True))) <= {0, 7}
    points = np.array([[20.0, 11.0], [33.0, 25.0]])  # x, y
    moved = registered.apply_points(points)
    shift = registered.field_yx[:, [11, 25], [20, 33]].T[:, ::-1]
    assert np.allclose(moved, points + shift, atol=1e-5)
    assert np.allclose(registered.inverse().apply_points(moved), points, atol=0.02)


def test_a_field_on_disk_is_the_field(registered, arrays, tmp_path):
    registered.field.save(tmp_path / "f.mha")
    field = cnnreg.read_field(tmp_path / "f.mha")
    assert np.allclose(field.yx, registered.field_yx, atol=1e-6)
    assert np.array_equal(cnnreg.warp(arrays[1], tmp_path / "f.mha"), registered.warped)
    assert np.asarray(field).shape == (40, 56, 2)


def test_the_initial_transform_is_told_in_physical_points(arrays, tmp_path):
    """The identity where the images were left; else what the file said."""
    assert np.array_equal(cnnreg.register(*arrays, init="none", **ONE).affine, np.eye(3))
    shift = sitk.TranslationTransform(2, (3.0, -1.0))
    sitk.WriteTransform(shift, str(tmp_path / "shift.tfm"))
    affine = cnnreg.register(*arrays, init=tmp_path / "shift.tfm", **ONE).affine
    assert np.allclose(affine, [[1, 0, 3], [0, 1, -1], [0, 0, 1]])


def test_masks_labels_and_landmarks_in_memory(arrays):
    """They are measured and reported as if they were files."""
    segs = [a > 128 for a in arrays]
    points = np.array([[20.0, 11.0], [33.0, 25.0], [10.0, 30.0]])
    result = cnnreg.register(
        *arrays, seg_fixed=segs[0], seg_moving=segs[1], points=(points, points), fixed_mask=np.ones((40, 56)), **ONE
    )
    assert result.measures["before"]["landmarks"]["tre_px"] == 0
    assert 0 < result.measures["adaptation"]["overlap"]["dsc"] <= 1


def test_no_pair_changes_the_next(arrays, tiny_model):
    """A, B, A: the second A is the first, with weights adapted in between."""
    registrar = cnnreg.Registrar(model=str(tiny_model), preset="paper", adapt=3, threads=1)
    first, _, again = (registrar.register(*pair) for pair in (arrays, arrays[::-1], arrays))
    assert np.array_equal(first.field_yx, again.field_yx)


def test_given_images_stay_as_they_are(arrays):
    copies = [a.copy() for a in arrays]
    cnnreg.register(*copies, **ONE)
    assert all(np.array_equal(a, b) for a, b in zip(arrays, copies, strict=True))


def test_a_result_shows_itself(registered):
    assert repr(registered).startswith("<Registration of 56 x 40 pixels: NCC ")
    assert registered._repr_png_().startswith(b"\x89PNG")
    assert "data:image/png;base64," in registered._repr_html_()
    assert repr(registered.field).startswith("<Field of 56 x 40 pixels")


@pytest.mark.parametrize(
    ("image", "sentence"),
    [
        (np.zeros(5), r"must be \(H, W\) or \(H, W, channels\), got an array of shape \(5,\)"),
        (np.zeros((40, 56), complex), "whole or floating-point numbers, got an array of complex128"),
        ([[1, 2]], "a path, an array, a tensor or a SimpleITK image, got list"),
        (np.zeros((4, 4)), "the moving image is 4x4 pixels|moving image is 4x4 pixels"),
    ],
)
def test_what_is_no_image_is_refused(arrays, image, sentence):
    with pytest.raises(ImageError, match=sentence):
        cnnreg.register(arrays[0], image, **ONE)


def test_unknown_names_are_errors(arrays):
    for choice in ({"model": "hart"}, {"preset": "papr"}, {"similarity": "lnc"}, {"init": "rigd"}):
        with pytest.raises(CnnregError, match=r"did you mean|nearest|unknown|no model"):
            cnnreg.register(*arrays, **{**ONE, **choice})
    with pytest.raises(CnnregError, match="without a model nothing is predicted"):
        cnnreg.Registrar(model="none", adapt=0)


def test_the_plainest_call_iterates_as_the_command_line_does(cli, pair_files, tmp_path):
    """Fifty iterations unless a preset or the user says otherwise; 0 is the prediction; paper keeps its meaning."""
    plain = ["--threads", 1, "--init", "none", "--no-picture", "-q"]
    for options, keywords, steps in (
        ([], {}, 50),
        (["--preset", "fast"], {"preset": "fast"}, 12),
        (["--preset", "paper"], {"preset": "paper"}, 0),
        (["--adapt", 0], {"adapt": 0}, 0),
    ):
        folder = tmp_path / "-".join(map(str, ["out", *options]))
        assert cli("register", *pair_files, *options, *plain, "-o", folder).code == 0
        told = json.loads((folder / "report.json").read_text())["adaptation"]
        assert told["steps"] == steps
        assert len(told.get("history", [])) == steps
        found = cnnreg.register(*pair_files, **keywords, threads=1, init="none")
        assert found.result.setup.config.adaptation.steps == steps
        assert ("adaptation" in found.measures) is (steps > 0)


def test_evaluate_takes_what_is_in_memory(arrays, registered, tmp_path):
    """And measures it as it does the files."""
    paths = {name: tmp_path / f"{name}.png" for name in ("fixed", "moving")}
    for path, array in zip(paths.values(), arrays, strict=True):
        sitk.WriteImage(sitk.GetImageFromArray(array), str(path))
    registered.field.save(tmp_path / "field.mha")
    points = np.array([[20.0, 10.0], [30.0, 25.0]])
    fixed, moving = arrays
    in_memory = cnnreg.evaluate(
        fixed=fixed, moving=moving, field=registered.field, seg_fixed=fixed > 100, seg_moving=moving > 100,
        points_fixed=points, points_moving=registered.apply_points(points),
    )  # fmt: skip
    on_disk = cnnreg.evaluate(**paths, field=tmp_path / "field.mha")
    assert in_memory["before"]["ncc"] == on_disk["before"]["ncc"]
    assert in_memory["after"]["ncc"] == pytest.approx(on_disk["after"]["ncc"], abs=1e-5)
    assert in_memory["after"]["landmarks"]["tre_px"] == pytest.approx(0, abs=1e-3)
    assert in_memory["after"]["overlap"]["dsc"] > in_memory["before"]["overlap"]["dsc"]
    assert cnnreg.evaluate(fixed=fixed, warped=registered.warped)["after"]["ncc"] > on_disk["before"]["ncc"]


def test_adapt_keeps_a_model_of_arrays(arrays, tiny_model, tmp_path):
    adapted = cnnreg.adapt([arrays], tmp_path / "model", model=str(tiny_model), steps=2, threads=1)
    assert adapted.pairs == 1
    assert cnnreg.register(*arrays, model=str(tmp_path / "model"), adapt=0, threads=1).measures["prediction"]


def test_options_of_the_command_are_options_here(arrays, cli, tmp_path):
    """Each changes the parameters, or the pair, as the command line's does."""
    fixed, moving = arrays
    registrar = cnnreg.Registrar(
        **ONE, padding="off", mirror=False, max_size=64, percentiles=(2, 98), landmark_weight=0.5, similarity="cc"
    )
    points = np.array([[20.0, 10.0], [30.0, 25.0]])
    paths = [tmp_path / "f.png", tmp_path / "m.png"]
    for path, array in zip(paths, arrays, strict=True):
        sitk.WriteImage(sitk.GetImageFromArray(array), str(path))
    np.savetxt(tmp_path / "p.csv", points, delimiter=",", header="x,y", comments="")
    command = ["register", *paths, "-o", tmp_path / "r", "--model", "none", "--adapt", 5, "--threads", 1]
    command += ["--padding", "off", "--no-mirror", "--max-size", 64, "--percentiles", "2,98", "--landmark-weight", 0.5]
    command += ["--metric", "cc", "--window", "10,200", "--points-fixed", tmp_path / "p.csv"]
    assert cli(*command, "--points-moving", tmp_path / "p.csv").code == 0
    result = registrar.register(fixed, moving, window=(10, 200), points=(points, points))
    report = json.loads((tmp_path / "r" / "report.json").read_text())
    assert result.result.setup.config.as_dict() == report["parameters"]
    assert np.allclose(field_on_disk(tmp_path / "r" / "field.mha")[0], result.field_yx, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"label_threshold": 3}, "no effect without label maps"),
        ({"physical": True}, "no effect without landmarks"),
        ({"landmark_weight": 1}, "no effect without points"),
        ({"seg_fixed": np.ones((40, 56), int)}, "go together"),
        ({"init": "rigdi"}, "did you mean 'rigid'"),
        ({"percentiles": (98, 2)}, "percentiles"),
    ],
)
def test_what_has_no_effect_is_refused(arrays, options, sentence):
    with pytest.raises(CnnregError, match=sentence):
        cnnreg.register(*arrays, **ONE, **options)


def test_slices_of_a_stack(arrays, tmp_path):
    sitk.WriteImage(sitk.GetImageFromArray(np.stack(arrays)), str(tmp_path / "stack.mha"))
    stack = tmp_path / "stack.mha"
    found = cnnreg.register(stack, stack, slice_index=0, moving_slice=1, **ONE)
    assert np.array_equal(found.result.pair.moving.pixels, arrays[1])
