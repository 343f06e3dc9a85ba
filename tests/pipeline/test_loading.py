"""What a person says about files that the files do not: spacing, intensities, physical landmarks, a field to begin."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from cnnreg.engine.initial import Initial
from cnnreg.geometry.affine import Affine, Displacement
from cnnreg.geometry.fields import compose
from cnnreg.geometry.resampling import move_points, regrid
from cnnreg.images.image import Grid, Image, read_field, read_image, write_field
from cnnreg.pipeline.forecast import PROBE, forecast
from tests.conftest import smooth_image, smooth_pair, write_itk, write_png

TURNED = (0.8, 0.6, -0.6, 0.8)


@pytest.fixture
def run(cli, tmp_path):
    """``run(fixed, moving, ...)`` registers with 12 steps and no model; the report."""

    def call(fixed, moving, *extra, name="out"):
        ended = cli("register", fixed, moving, "-o", tmp_path / name, "--model", "none", "-a", 12, "-q", *extra)
        assert ended.code == 0, ended.err
        return json.loads((tmp_path / name / "report.json").read_text())

    return call


@pytest.fixture
def refused(cli, tmp_path):
    """``refused(fixed, moving, ...)``: the one sentence that says why; nothing is written."""

    def call(fixed, moving, *extra):
        ended = cli("register", fixed, moving, "-o", tmp_path / "refused", "--model", "none", "-a", 5, *extra)
        assert ended.code in {1, 2}
        assert not (tmp_path / "refused").exists()
        return ended.err

    return call


# --- spacing


def test_spacing_of_formats_without_it(run, pair_files, tmp_path):
    """Lengths come in mm; results keep the geometry, so in a format that can."""
    plain = run(*pair_files, "--init", "none", name="plain")
    spaced = run(*pair_files, "--init", "none", "--spacing", "0.5,0.25", name="spaced")
    grid = read_image(tmp_path / "spaced" / "warped.mha").grid
    assert (grid.spacing, grid.size) == ((0.5, 0.25), (48, 61))
    fields = [read_field(tmp_path / name / "field.mha")[0] for name in ("plain", "spaced")]
    np.testing.assert_allclose(*fields, atol=1e-4)  # in pixels
    assert plain["metrics"]["adaptation"]["ncc"] == pytest.approx(spaced["metrics"]["adaptation"]["ncc"], abs=1e-5)


def test_spacing_of_each_image(run, tmp_path):
    """The moving image has pixels of half the size: they cover the same place."""
    fixed, moving = smooth_image((48, 60), scale=3), smooth_image((48, 60), scale=3).repeat(2, 0).repeat(2, 1)
    files = write_png(tmp_path / "f.png", fixed), write_png(tmp_path / "m.png", moving)
    report = run(*files, "--init", "none", "--spacing", "0.5", "--moving-spacing", "0.25")
    assert report["metrics"]["before"]["ncc"] > 0.95


def test_spacing_does_not_contradict_a_file(run, refused, tmp_path):
    """Where one file says its own, the other is told; where both do, that is refused."""
    fixed, moving = smooth_pair()
    said = [write_itk(tmp_path / f"{n}.mha", i, spacing=(0.7, 0.7)) for n, i in (("f", fixed), ("m", moving))]
    run(said[0], write_png(tmp_path / "m.png", moving), "--init", "none", "--spacing", "0.7")
    assert "say 0.7 x 0.7" in refused(*said, "--spacing", "0.5")
    run(*said, "--init", "none", "--spacing", "0.7", name="same")  # what they say themselves


@pytest.mark.parametrize("wrong", ["0", "-1", "a", "1,2,3", "nan", "1,0", ""])
def test_wrong_spacing(refused, pair_files, wrong):
    assert "--spacing must be X or X,Y" in refused(*pair_files, f"--spacing={wrong}")


# --- intensities


def test_a_window_says_what_counts(run, tmp_path):
    """A bright object beyond the window would otherwise leave the rest without contrast; the report tells."""
    fixed, moving = (300 * image for image in smooth_pair())
    fixed[5:9, 5:9] = 30000
    moving[30:34, 40:44] = 30000
    files = [write_itk(tmp_path / f"{n}.mha", i.astype(np.float32)) for n, i in (("f", fixed), ("m", moving))]
    report = run(*files, "--init", "none", "--window", "0,300", "--moving-window=-10,310")
    assert report["intensities"] == {"fixed": [0, 300], "moving": [-10, 310]}
    field = torch.from_numpy(read_field(tmp_path / "out" / "field.mha")[0])
    middle = field[:, 14:24, 14:34].mean((1, 2))
    assert middle.tolist() == pytest.approx([2, -3], abs=0.5)  # the known shift
    whole = run(*files, "--init", "none", "--percentiles", "0,100", name="whole")
    assert whole["intensities"]["fixed"][1] == 30000


def test_percentiles_are_recorded(run, pair_files):
    """Without a word, the preset's."""
    report = run(*pair_files, "--percentiles", "10,80")
    pixels = read_image(pair_files[0]).pixels
    assert report["intensities"]["fixed"] == pytest.approx(np.percentile(pixels, [10, 80]).tolist())
    assert (report["parameters"]["input"]["low"], report["parameters"]["input"]["high"]) == (10, 80)


def test_percentiles_go_before_the_models(cli, pair_files, tiny_model, tmp_path):
    """A model's own are those it was trained with, but the user decides."""
    for name, extra in (("own", []), ("told", ["--percentiles", "5,95"])):
        assert cli("register", *pair_files, "-o", tmp_path / name, "-m", tiny_model, "-q", *extra).code == 0
    own, told = (json.loads((tmp_path / n / "report.json").read_text())["intensities"] for n in ("own", "told"))
    assert own["fixed"] == [0, 255]
    assert told["fixed"][0] > 0


@pytest.mark.parametrize(("option", "wrong"), [("--window", "5,5"), ("--window", "9,1"), ("--window", "7")])
def test_wrong_windows(refused, pair_files, option, wrong):
    assert f"{option} must be LOW,HIGH" in refused(*pair_files, option, wrong)


@pytest.mark.parametrize("wrong", ["50,101", "-1,50", "90,10"])
def test_wrong_percentiles(refused, pair_files, wrong):
    assert "--percentiles must be" in refused(*pair_files, f"--percentiles={wrong}")


# --- landmarks in physical units


def test_physical_landmarks(run, cli, tmp_path):
    """The same landmarks in pixels and in mm, on turned, offset grids: the same errors."""
    fixed, moving = smooth_pair()
    geometry = {"spacing": (0.5, 0.8), "origin": (10.0, -7.0), "direction": TURNED}
    files = [write_itk(tmp_path / f"{n}.mha", i, **geometry) for n, i in (("f", fixed), ("m", moving))]
    grid = read_image(files[0]).grid
    pixels = np.array([[10.0, 12.0], [30.0, 40.0], [22.0, 7.0]])  # row, column
    tables = {}
    for unit, convert in (("px", lambda p: p[:, ::-1]), ("mm", grid.to_physical)):
        for side, points in (("fixed", pixels), ("moving", pixels + np.array([2, -3]))):
            path = tmp_path / f"{side}_{unit}.csv"
            path.write_text("x,y\n" + "".join(f"{x},{y}\n" for x, y in convert(points)))
            tables[side, unit] = path
    np.testing.assert_allclose(grid.to_pixels(grid.to_physical(pixels)), pixels, atol=1e-9)

    def points(unit):
        extra = ["--physical"] if unit == "mm" else []
        return ["--points-fixed", tables["fixed", unit], "--points-moving", tables["moving", unit], *extra]

    px, mm = (run(*files, "--init", "none", *points(unit), name=unit)["metrics"] for unit in ("px", "mm"))
    assert px["before"]["landmarks"]["tre_px"] == pytest.approx(13**0.5, abs=1e-6)
    for stage in ("before", "adaptation"):
        assert mm[stage]["landmarks"] == pytest.approx(px[stage]["landmarks"], abs=1e-5)
    by_field = ["--field", tmp_path / "px" / "field.mha", "--json"]
    a, b = (json.loads(cli("evaluate", *by_field, *points(unit)).out)["metrics"] for unit in ("px", "mm"))
    assert b["after"]["landmarks"] == pytest.approx(a["after"]["landmarks"], abs=1e-5)
    ended = cli("evaluate", *points("mm"))
    assert ended.code != 0
    assert "--physical needs to know where pixels lie" in ended.err


def test_physical_without_landmarks(refused, pair_files):
    assert "no effect without landmarks" in refused(*pair_files, "--physical")


def test_landmarks_pull_through_an_initial_alignment(run, tmp_path):
    """Noise tells nothing, so the points alone say where to go: through a known shift, with pixels of other sizes."""
    rng = np.random.default_rng(0)
    fixed, moving = rng.random((60, 70)), rng.random((80, 75))
    files = [
        write_itk(tmp_path / "f.mha", fixed.astype(np.float32), spacing=(1.0, 1.0)),
        write_itk(tmp_path / "m.mha", moving.astype(np.float32), spacing=(0.8, 0.9), origin=(-2.0, 3.0)),
    ]
    tables = []
    for name, points in (("f", [(20, 15), (50, 40), (35, 30)]), ("m", [(29, 14), (66, 47), (49, 33)])):
        tables.append(tmp_path / f"{name}.csv")
        tables[-1].write_text("x,y\n" + "".join(f"{x},{y}\n" for x, y in points))
    known = np.zeros((2, 60, 70), np.float32)
    known[0] += 2
    write_field(known, Grid((60, 70)), tmp_path / "known.mha")
    points = ["--points-fixed", tables[0], "--points-moving", tables[1]]
    for init in ("none", tmp_path / "known.mha"):
        errors = []
        for weight in (0, 10):
            extra = ["--landmark-weight", weight, "--adapt", 50, "--overwrite"]
            metrics = run(*files, "--init", init, *points, *extra)["metrics"]
            errors.append(metrics["adaptation"]["landmarks"]["tre_px"])
            assert metrics["adaptation"]["folding_percent"] == 0
        assert errors[1] < 0.5 < errors[0]


def test_landmarks_pull_on_a_reduced_size(run, tmp_path):
    """The field is moved on half the pixels; points are met in those of the image."""
    rng = np.random.default_rng(1)
    files = [write_png(tmp_path / f"{n}.png", rng.random((140, 128))) for n in "fm"]
    tables = []
    for name, points in (("f", [(40, 35), (90, 100), (70, 60)]), ("m", [(46, 31), (84, 108), (72, 66)])):
        tables.append(tmp_path / f"{name}.csv")
        tables[-1].write_text("x,y\n" + "".join(f"{x},{y}\n" for x, y in points))
    points = ["--points-fixed", tables[0], "--points-moving", tables[1], "--landmark-weight", 10]
    report = run(*files, "--init", "none", *points, "--adapt", 50, "--max-size", 70)
    assert report["metrics"]["adaptation"]["landmarks"]["tre_px"] < 0.5
    assert min(step["level"] for step in report["adaptation"]["history"]) == 2


def test_a_landmark_weight_without_effect(refused, pair_files, tmp_path):
    assert "no effect without landmarks" in refused(*pair_files, "--landmark-weight", 1)
    table = tmp_path / "p.csv"
    table.write_text("x,y\n3,4\n")
    points = ["--points-fixed", table, "--points-moving", table, "--landmark-weight", 1]
    assert "--landmark-weight pulls the field" in refused(*pair_files, *points, "--preset", "paper")


# --- a field to begin with


def test_a_known_field_is_the_start(run, tmp_path):
    """The wave that it lacks is found on top of it; no affine map is written, and the total is one field."""
    fixed, moving = smooth_image((60, 70), seed=3, scale=3), np.roll(smooth_image((60, 70), seed=3, scale=3), 14, 1)
    files = write_png(tmp_path / "f.png", fixed), write_png(tmp_path / "m.png", moving)
    known = np.zeros((2, 60, 70), np.float32)
    known[1] = 13  # of 14: too far for the images alone
    write_field(known, Grid((60, 70)), tmp_path / "known.mha")
    report = run(*files, "--init", tmp_path / "known.mha")
    field, _ = read_field(tmp_path / "out" / "field.mha")
    inner = field[:, 10:50, 10:45]
    assert inner.mean((1, 2)).tolist() == pytest.approx([0, 14], abs=0.2)
    assert report["alignment"]["how"] == "from the field known.mha"
    assert "alignment" in report["metrics"]
    assert not (tmp_path / "out" / "affine.tfm").exists()


def test_the_field_of_one_run_starts_the_next(run, pair_files, tmp_path):
    """In other conventions, too; what is done already need not be done again."""
    first = run(*pair_files, "--init", "none", name="first")
    again = run(*pair_files, "--init", tmp_path / "first" / "field.mha", name="again")
    assert again["metrics"]["alignment"]["ncc"] == pytest.approx(first["metrics"]["adaptation"]["ncc"], abs=1e-4)
    assert again["metrics"]["adaptation"]["ncc"] > first["metrics"]["adaptation"]["ncc"] - 0.01
    assert again["metrics"]["adaptation"]["folding_percent"] == 0


def test_fields_on_other_grids_and_their_undoing():
    """A field of linear displacement is the same on any grid; undo leads back through it."""
    own = Grid((40, 50), (2.0, 2.0), (-5.0, -5.0), unit="mm")
    grid = Grid((60, 80), (1.0, 0.5), (10.0, 3.0), TURNED, unit="mm")
    shift = torch.zeros(1, 2, *own.size) + torch.tensor([1.5, -0.5]).view(1, 2, 1, 1)  # pixels of ``own``
    moved = regrid(shift, own, grid)
    physical = grid.matrix @ moved[0].flip(0).mean((1, 2)).double().numpy()
    np.testing.assert_allclose(physical, [-1.0, 3.0], atol=1e-5)  # (x, y) in mm
    known = Displacement(torch.from_numpy(np.stack([smooth_image((40, 50)), smooth_image((40, 50), seed=1)]))[None])
    points = np.array([[12.0, 20.0], [30.5, 7.25]])
    back = known.undo(points)
    there = known.carry(torch.zeros(1, 2, 40, 50))
    again = move_points(back, there, Grid((40, 50)), Grid((40, 50)))
    np.testing.assert_allclose(again, points, atol=1e-3)
    field = torch.rand(1, 2, 40, 50)
    torch.testing.assert_close(known.carry(field), compose(known.field, field))
    affine = Affine(np.array([[1.1, 0.2], [-0.1, 0.9]]), np.array([3.0, -4.0]))
    np.testing.assert_allclose(affine(affine.undo(points)), points, atol=1e-9)


def test_a_file_that_is_neither(refused, pair_files, tmp_path):
    assert "there is no transform file" in refused(*pair_files, "--init", tmp_path / "missing.mha")
    assert "no displacement field" in refused(
        *pair_files, "--init", write_itk(tmp_path / "x.mha", smooth_image().astype(np.float32))
    )


# --- what it will take


def test_what_large_images_will_take_is_told(monkeypatch):
    """More pixels take more of both; a smaller --max-size less; small images are not worth a word."""
    monkeypatch.setattr("cnnreg.pipeline.forecast._probe", lambda _device: PROBE)  # not how quick this machine is now

    def of(height, width, *, steps=50, max_size=2048, channels=()):
        image = Image(np.broadcast_to(np.uint8(0), (height, width, *channels)), Grid((height, width)))
        return forecast(image, image, steps=steps, max_size=max_size, device="cpu")

    small, large, reduced = of(256, 300), of(4096, 4096), of(4096, 4096, max_size=1024)
    assert not small.notable
    assert large.notable
    assert (large.size, reduced.size) == ((2048, 2048), (1024, 1024))
    assert small.seconds < reduced.seconds < large.seconds
    assert small.memory < reduced.memory <= large.memory < of(4096, 4096, channels=(3,)).memory * 1.01
    assert 1.8 * 2**30 < large.memory < 3 * 2**30  # measured: 2.2
    assert "4096" not in str(large)
    assert "of memory; the finest resolution level has 2048 x 2048 pixels" in str(large)
    assert "more than the 1.0 GB that there are" in str(replace(large, available=2**30))


def test_the_forecast_goes_to_standard_error(cli, pair_files, tmp_path, monkeypatch):
    monkeypatch.setattr("cnnreg.pipeline.forecast.LARGE", 0)
    arguments = ["register", *pair_files, "--model", "none", "-a", 2, "--init", "none"]
    ended = cli(*arguments, "-o", tmp_path / "a")
    assert ended.err.startswith("note: this registration takes about")
    assert "this registration takes" not in ended.out
    assert cli(*arguments, "-o", tmp_path / "b", "--quiet").err == ""


# --- padding


@pytest.fixture
def framed(tmp_path):
    """A textured image and the same moved by (6, -9), each in a white frame of its own; and plain."""
    image = smooth_image((150, 170), scale=2.5, seed=4)
    moved = np.roll(image, (6, -9), (0, 1))

    def write(name, values, width):
        return write_png(tmp_path / f"{name}.png", np.pad(values, width, constant_values=1) if width else values)

    return {
        width: (write(f"f{width}", image[20:-20, 20:-20], width), write(f"m{width}", moved[20:-20, 20:-20], width))
        for width in (0, 25)
    }


def test_a_frame_does_not_count(run, framed, tmp_path):
    """Two frames at one place say that nothing moved; what is in them says how far."""
    report = run(*framed[25], "-a", 50, name="auto")
    assert all(15 < share < 70 for share in report["padding_percent"].values())
    field, _ = read_field(tmp_path / "auto" / "field.mha")
    assert field[:, 60:100, 70:110].mean((1, 2)).tolist() == pytest.approx([6, -9], abs=0.5)
    kept = run(*framed[25], "-a", 50, "--padding", "keep", name="kept")
    assert kept["padding_percent"] == {"fixed": 0, "moving": 0}


def test_images_without_a_frame_are_whole(run, framed):
    report = run(*framed[0], "--init", "none")
    assert report["padding_percent"] == {"fixed": 0, "moving": 0}


def test_a_mask_by_hand_goes_before(run, framed, tmp_path):
    """And padding is mentioned on the terminal only where it was found by itself."""
    mask = np.zeros((160, 180))
    mask[40:120, 40:140] = 1
    file = write_png(tmp_path / "mask.png", mask)
    report = run(*framed[25], "--fixed-mask", file, "--moving-mask", file)
    assert report["padding_percent"] == {"fixed": 0, "moving": 0}


def test_padding_is_told(cli, framed, refused, tmp_path):
    ended = cli("register", *framed[25], "-o", tmp_path / "t", "--model", "none", "-a", 5)
    assert "note: padding was found and masked" in ended.out
    assert "padding" in refused(*framed[25], "--padding", "maybe")


def test_found_padding_does_not_keep_images_apart(run, tmp_path):
    """The contents lie beside each other, but the images overlap: then all of them counts."""
    fixed, moving = np.ones((120, 200)), np.ones((120, 200))
    fixed[20:100, 10:90] = smooth_image((80, 80), scale=2)
    moving[20:100, 110:190] = smooth_image((80, 80), scale=2, seed=9)
    files = write_png(tmp_path / "f.png", fixed), write_png(tmp_path / "m.png", moving)
    assert run(*files, "--init", "none")["padding_percent"] == {"fixed": 0, "moving": 0}


def test_masks_by_hand_that_do_not_meet_fail_at_once(refused, pair_files, tmp_path, monkeypatch):
    """There is no padding to give up, so nothing is searched a second time."""
    searched = []
    monkeypatch.setattr(
        "cnnreg.pipeline.loading.find_initial",
        lambda _fixed, _moving, given, *, method, **_: searched.append(method) or Initial(given, given, "as it is"),
    )
    masks = []
    for columns in (slice(0, 20), slice(40, 61)):
        mask = np.zeros((48, 61))
        mask[:, columns] = 1
        masks.append(write_png(tmp_path / f"mask{columns.start}.png", mask))
    assert "no pixel in common" in refused(*pair_files, "--fixed-mask", masks[0], "--moving-mask", masks[1])
    assert len(searched) == 1
