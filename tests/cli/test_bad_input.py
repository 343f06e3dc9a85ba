"""Bad input ends in one sentence on standard error, the right exit code, and nothing created, changed or lost."""

import json
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image as PILImage
from safetensors.torch import load_file, save_file

from cnnreg.cli.main import run
from cnnreg.files import sha256
from cnnreg.learning import modelcards
from tests.conftest import save_tiny_model, smooth_image, smooth_pair, tree, write_dicom, write_itk, write_png

SMALL_NETWORK = "[network]\npooling = 1\nchannels = [4, 8]\n[training]\nsize = 0\nbatch_size = 1\nsteps = 1\n"


def make_images(box: Path) -> None:
    """Good images, and every kind of bad one."""
    fixed, moving = smooth_pair()
    write_png(box / "fixed.png", fixed)
    write_png(box / "moving.png", moving)
    write_png(box / "small.png", smooth_image((15, 61)))
    write_png(box / "constant.png", np.full((48, 61), 0.5))
    (box / "empty.png").touch()
    (box / "text.png").write_text("This is no image.\n" * 40)
    (box / "noise.bin").write_bytes(np.random.default_rng(0).bytes(4000))
    for name, value in (("nan", np.nan), ("inf", -np.inf)):
        pixels = smooth_image()
        pixels[7, 11] = value
        write_itk(box / f"{name}.mha", pixels)
        tifffile.imwrite(box / f"{name}.tif", pixels)
    write_itk(box / "only_nan.mha", np.full((48, 61), np.nan, np.float32))
    for suffix in ("mha", "nii.gz"):
        write_itk(box / f"volume.{suffix}", np.stack([fixed, moving, fixed, moving, fixed]))
    write_itk(box / "movie.nii.gz", np.random.default_rng(0).random((3, 1, 48, 61)).astype(np.float32))
    write_itk(box / "complex.nii", fixed.astype(np.complex64))
    tifffile.imwrite(box / "pages.tif", np.stack([fixed, moving, fixed]), photometric="minisblack")
    write_itk(box / "here.mha", fixed, spacing=(0.5, 0.5), origin=(0.0, 0.0))
    write_itk(box / "there.mha", moving, spacing=(0.5, 0.5), origin=(500.0, 0.0))
    write_dicom(box / "whole.dcm", np.rint(fixed * 4000).astype(np.uint16))
    write_itk(box / "whole.mha", fixed)
    write_itk(box / "whole.nii", fixed)
    write_itk(box / "whole.nii.gz", fixed)
    write_itk(box / "whole.nrrd", fixed)
    tifffile.imwrite(box / "whole.tif", fixed)
    for suffix in ("png", "jpg", "bmp"):
        PILImage.fromarray(np.rint(fixed * 255).astype(np.uint8)).save(box / f"whole.{suffix}")
    for whole in box.glob("whole.*"):
        content = whole.read_bytes()
        whole.with_name(whole.name.replace("whole", "cut")).write_bytes(content[: len(content) * 3 // 4])


def make_label_maps(box: Path) -> None:
    mask = (smooth_image(seed=3) > 0.5).astype(np.uint8)
    PILImage.fromarray(mask).save(box / "mask.png")
    PILImage.fromarray(np.ascontiguousarray(mask[:, :-1])).save(box / "narrow.png")
    PILImage.fromarray(mask * 255).save(box / "mask.jpg", quality=40)
    write_itk(box / "soft.mha", smooth_image(seed=3))


def make_tables(box: Path) -> None:
    tables = {
        "pairs": "fixed,moving\nfixed.png,moving.png\n",
        "columns": "image,target\nfixed.png,moving.png\n",
        "semicolons": "fixed;moving\nfixed.png;moving.png\n",
        "lost": "fixed,moving\nfixed.png,moving.png\nfixed.png,lost.png\n",
        "lost_seg": "fixed,moving,seg_fixed,seg_moving\nfixed.png,moving.png,mask.png,lost.png\n",
        "blank": "fixed,moving\nfixed.png,\n",
        "short": "fixed,moving\nfixed.png\n",
        "header": "fixed,moving\n",
        "nothing": "",
        "one_seg": "fixed,moving,seg_fixed\nfixed.png,moving.png,mask.png\n",
        "singles": "image\nfixed.png\n",
        "blank_single": "image,seg\n,mask.png\n",
        "sizes": "fixed,moving\nfixed.png,moving.png\nsquare.png,square.png\n",
        "bad_image": "fixed,moving\nfixed.png,moving.png\nfixed.png,empty.png\n",
        "points": "x,y\n10,12\n30.5,20\n",
        "three_points": "x,y\n10,12\n30.5,20\n1,2\n",
        "word": "x,y\n10,twelve\n",
        "nan": "x,y\n10,nan\n",
        "long_row": "x,y\n10,12,14\n",
        "rows_columns": "row,column\n10,12\n",
    }
    for name, text in tables.items():
        (box / f"{name}.csv").write_text(text)
    (box / "latin.csv").write_bytes("fixed,moving\nfixéd.png,moving.png\n".encode("latin-1"))
    write_png(box / "square.png", smooth_image((40, 40)))


def make_parameters(box: Path) -> None:
    files = {
        "small": SMALL_NETWORK,
        "other": SMALL_NETWORK + "learning_rate = 0.5\n",
        "network": "[network]\nchannels = [4, 8, 16]\n",
        "section": "[trainig]\nsteps = 3\n",
        "key": "[training]\nlearnin_rate = 3\n",
        "value": '[loss]\nsimilarity = "nccc"\n',
        "type": '[training]\nsteps = "many"\n',
        "fraction": "[training]\nsteps = 2.5\n",
        "infinite": "[training]\nsteps = inf\n",
        "not_a_number": "[training]\nsteps = nan\n",
        "infinite_rate": "[training]\nlearning_rate = inf\n",
        "negative": "[loss]\ntv = -1.0\n",
        "truth": "[training]\nsteps = true\n",
        "list": '[network]\nchannels = "wide"\n',
        "empty_list": "[network]\nchannels = []\n",
        "flat": "training = 3\n",
        "base": 'base = "papr"\n',
        "syntax": "[training\nsteps = 3\n",
        "diverge": '[adaptation]\ntarget = "weights"\nlearning_rate = 1e30\n',
    }
    for name, text in files.items():
        (box / f"{name}.toml").write_text(text)


def make_models(box: Path) -> None:
    """A good model by path and one by name, and every kind of damaged one."""
    good = save_tiny_model(box / "model", name="model")
    save_tiny_model(box / "cache" / "models" / "tiny")

    def spoil(name: str) -> tuple[Path, Path]:
        shutil.copytree(good, box / name)
        return box / name / modelcards.CARD, box / name / modelcards.WEIGHTS

    def edit_card(card: Path, **changes: object) -> None:
        card.write_text(json.dumps(json.loads(card.read_text()) | changes))

    _, weights = spoil("cut")
    weights.write_bytes(weights.read_bytes()[:-100])
    _, weights = spoil("altered")
    content = bytearray(weights.read_bytes())
    content[-5] ^= 1
    weights.write_bytes(content)
    spoil("weightless")[1].unlink()
    spoil("cardless")[0].unlink()
    spoil("scribble")[0].write_text("This is no JSON.")
    card, _ = spoil("binary")
    card.write_bytes(b"\xff\xfe\x00\x01")
    edit_card(spoil("future")[0], format=99)
    edit_card(spoil("numeric")[0], sha256=5)
    edit_card(spoil("knobs")[0], network={"pooling": 1, "channels": [4, 8], "depth": 3})
    edit_card(spoil("misfit")[0], network={"pooling": 1, "channels": [4, 16]})
    card, _ = spoil("short_card")
    edit_card(card)
    card.write_text(json.dumps({k: v for k, v in json.loads(card.read_text()).items() if k != "sha256"}))
    card, weights = spoil("pickle")
    torch.save({"a": torch.zeros(3)}, weights)
    edit_card(card, sha256=sha256(weights))
    card, weights = spoil("infinite")
    state = load_file(weights)
    state["head.weight"][0, 0, 0, 0] = torch.inf
    save_file(state, weights)
    edit_card(card, sha256=sha256(weights))


def make_outputs(box: Path) -> None:
    """Results that are already there, and a file where a folder should be."""
    (box / "file").write_text("in the way")
    for name in ("done/field.mha", "done/report.json", "half/warped.tif", "done/moving_warped.png"):
        (box / name).parent.mkdir(exist_ok=True)
        (box / name).write_text("precious")
    write_itk(box / "field.mha", np.zeros((48, 61, 2)), vector=True)
    field = np.zeros((48, 61, 2))
    field[3, 4, 1] = np.nan
    write_itk(box / "nan_field.mha", field, vector=True)
    write_itk(box / "wide_field.mha", np.zeros((48, 90, 2)), vector=True)
    shutil.copytree(box / "model", box / "a" / "model")
    (box / "b").mkdir()
    shutil.copy(box / "moving.png", box / "b" / "moving.png")


def make_checkpoints(box: Path) -> None:
    """A trained model with its checkpoint, one whose checkpoint is cut, and one whose checkpoint is something else."""
    trained = [str(box / "pairs.csv"), "-o", str(box / "trained"), "-p", str(box / "small.toml"), "--device", "cpu"]
    assert run(["train", *trained, "--quiet"]) == 0
    shutil.copytree(box / "trained", box / "cut_trained")
    checkpoint = box / "cut_trained" / "checkpoint.pt"
    checkpoint.write_bytes(checkpoint.read_bytes()[:-300])
    (box / "done" / "report.json").write_text('{"files": ["done/field.mha", "done/report.json"]}')
    (box / "odd_trained").mkdir()
    torch.save([1, 2, 3], box / "odd_trained" / "checkpoint.pt")


@pytest.fixture(scope="session")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with everything that the cases below name, made once."""
    box = tmp_path_factory.mktemp("zoo")
    for make in (make_images, make_label_maps, make_tables, make_parameters, make_models, make_outputs):
        make(box)
    make_checkpoints(box)
    return box


REGISTER = "register fixed.png moving.png -o out -m model "
TRAIN = "train pairs.csv -o out -p small.toml "

IMAGES = {
    "missing": ("register fixed.png missing.png -o out -m model", 1, "cannot read missing.png: No such file"),
    "missing fixed": ("register missing.png moving.png -o out -m model", 1, "cannot read missing.png"),
    "folder": ("register fixed.png done -o out -m model", 1, "done is a folder"),
    "name too long": (f"register fixed.png {'x' * 300}.png -o out -m model", 1, "File name too long"),
    "name that is not UTF-8": ("register fixed.png R\udcf6ntgen.png -o out -m model", 2, "is not UTF-8"),
    "empty": ("register fixed.png empty.png -o out -m model", 1, "empty.png is empty"),
    "text": ("register fixed.png text.png -o out -m model", 1, "text.png is not an image"),
    "noise": ("register fixed.png noise.bin -o out -m model", 1, "noise.bin is not an image"),
    **{
        f"truncated {suffix}": (f"register fixed.png cut.{suffix} -o out -m model", 1, f"cut.{suffix} begins like")
        for suffix in ("png", "jpg", "bmp", "tif", "nii", "nii.gz", "mha", "nrrd", "dcm")
    },
    "truncated fixed": ("register cut.jpg moving.png -o out -m model", 1, "damaged or truncated"),
    "constant": ("register fixed.png constant.png -o out -m model", 1, "constant.png is constant"),
    "constant fixed": ("register constant.png moving.png -o out -m model", 1, "constant.png is constant"),
    "NaN": ("adapt fixed.png only_nan.mha -o out -m model", 1, "only_nan.mha holds NaN or infinity"),
    "infinity, evaluated": ("evaluate --fixed fixed.png --moving inf.mha", 1, "inf.mha holds NaN or infinity"),
    "infinity": ("register inf.mha moving.png -o out -m model", 1, "inf.mha holds NaN or infinity"),
    "infinity in TIFF": ("register inf.tif moving.png -o out -m model", 1, "inf.tif holds NaN or infinity"),
    "tiny": ("register fixed.png small.png -o out -m model", 1, "61x15 pixels; at least 16x16"),
    "volume": ("register fixed.png volume.mha -o out -m model", 1, "--slice 0..4"),
    "volume, NIfTI": ("register fixed.png volume.nii.gz -o out -m model", 1, "stack of 5 images"),
    "4D": ("register fixed.png movie.nii.gz -o out -m model", 1, "2D image was expected"),
    "multi-page TIFF": ("register fixed.png pages.tif -o out -m model", 1, "--slice 0..2"),
    "complex": ("register fixed.png complex.nii -o out -m model", 1, "complex numbers"),
    "slice out of range": ("register pages.tif pages.tif -o out -m model --slice 3", 1, "slices 0 to 2"),
    "slice of a 2D image": (REGISTER + "--slice 1", 1, "leave --slice out"),
    "unknown similarity": (REGISTER + "--similarity mnd", 2, "'mind'"),
    "unknown initial alignment": (REGISTER + "--init afine", 2, "did you mean 'affine'"),
    "no such transform": (REGISTER + "--init none.tfm", 1, "there is no transform file none.tfm"),
    "slice below 0": (REGISTER + "--slice -1", 2, "--slice"),
    "no overlap": ("register here.mha there.mha -o out -m model --init none", 1, "do not overlap in physical space"),
}

LABELS_AND_POINTS = {
    "mask of another size": (REGISTER + "--seg-fixed mask.png --seg-moving narrow.png", 1, "narrow.png is 60x48"),
    "float mask": (REGISTER + "--seg-fixed soft.mha --seg-moving mask.png", 1, "not whole numbers"),
    "JPEG mask": (REGISTER + "--seg-fixed mask.jpg --seg-moving mask.png", 1, "mask.jpg is a JPEG"),
    "missing mask": (REGISTER + "--seg-fixed mask.png --seg-moving lost.png", 1, "cannot read lost.png"),
    "only one mask": (REGISTER + "--seg-fixed mask.png", 2, "--seg-fixed and --seg-moving go together"),
    "only one file of points": (REGISTER + "--points-moving points.csv", 2, "--points-fixed and --points-moving"),
    "points of unequal number": (
        REGISTER + "--points-fixed points.csv --points-moving three_points.csv",
        1,
        "points.csv has 2 points and three_points.csv has 3",
    ),
    "points without x and y": (
        REGISTER + "--points-fixed rows_columns.csv --points-moving points.csv",
        1,
        "rows_columns.csv lacks the column x, y",
    ),
    "points that are words": (REGISTER + "--points-fixed word.csv --points-moving word.csv", 1, "must hold numbers"),
    "points that are NaN": (REGISTER + "--points-fixed nan.csv --points-moving nan.csv", 1, "finite numbers"),
    "points, row too long": (
        REGISTER + "--points-fixed long_row.csv --points-moving long_row.csv",
        1,
        "long_row.csv, line 2",
    ),
}

TABLES = {
    "wrong columns": ("train columns.csv -o out -p small.toml", 1, "lacks the column fixed, moving"),
    "semicolons": ("train semicolons.csv -o out -p small.toml", 1, "its columns are fixed;moving"),
    "wrong columns, --mirror": ("train pairs.csv --mirror -o out -p small.toml", 1, "lacks the column image"),
    "wrong columns, --pairs": ("adapt --pairs singles.csv -o out -m model --steps 1", 1, "lacks the column fixed"),
    "missing table": ("train lost_table.csv -o out -p small.toml", 1, "cannot read the table lost_table.csv"),
    "table is a folder": ("train done -o out -p small.toml", 1, "cannot read the table done"),
    "table is an image": ("train fixed.png -o out -p small.toml", 1, "fixed.png is not a CSV file"),
    "table is not UTF-8": ("train latin.csv -o out -p small.toml", 1, "latin.csv is not a CSV file"),
    "header only": ("train header.csv -o out -p small.toml", 1, "header.csv has no rows"),
    "empty table": ("train nothing.csv -o out -p small.toml", 1, "lacks the column"),
    "table names a missing image": ("train lost.csv -o out -p small.toml", 1, "lost.csv, line 3: there is no file"),
    "table names a missing mask": ("train lost_seg.csv -o out -p small.toml", 1, "lost_seg.csv, line 2: there is no"),
    "blank cell": ("train blank.csv -o out -p small.toml", 1, "blank.csv, line 2"),
    "short row": ("adapt --pairs short.csv -o out -m model --steps 1", 1, "short.csv, line 2"),
    "blank cell, --mirror": ("train blank_single.csv --mirror -o out -p small.toml", 1, "blank_single.csv, line 2"),
    "table names a bad image": ("train bad_image.csv -o out -p small.toml", 1, "empty.png is empty"),
    "images of several sizes": ("train sizes.csv -o out -p small.toml", 1, "set training.size"),
    "bad validation table": (TRAIN + "--val lost.csv", 1, "lost.csv, line 3"),
}

OUTPUTS = {
    "a stranger among results": (
        "register fixed.png moving.png -o half -m model --overwrite",
        1,
        "half/warped.tif lies where a result would go, but no report",
    ),
    "results exist": ("register fixed.png moving.png -o done -m model", 1, "done/field.mha exists; give --overwrite"),
    "a warped image exists": (
        "register fixed.png moving.png -o half -m model",
        1,
        "half/warped.tif lies where a result",
    ),
    "output is a file": ("register fixed.png moving.png -o file -m model", 1, "file is a file"),
    "output below a file": ("register fixed.png moving.png -o file/a/b -m model", 1, "file is a file"),
    "output name too long": (f"register fixed.png moving.png -o {'x' * 300} -m model", 1, "File name too long"),
    "output below a file, adapt": ("adapt fixed.png moving.png -o file/a -m model --steps 1", 1, "file is a file"),
    "output below a file, train": ("train pairs.csv -o file/a -p small.toml", 1, "file is a file"),
    "output below a file, apply": ("apply field.mha moving.png -o file/a", 1, "cannot write"),
    "model exists, adapt": ("adapt fixed.png moving.png -o model -m model --steps 1", 1, "already holds a model"),
    "model exists, train": ("train pairs.csv -o trained -p small.toml", 1, "trained already holds card.json"),
    "checkpoint exists, train": ("train pairs.csv -o odd_trained -p small.toml", 1, "already holds checkpoint.pt"),
    "warped image exists, apply": ("apply field.mha moving.png -o done", 1, "done/moving_warped.png exists"),
    "two results of one name": ("apply field.mha moving.png b/moving.png -o out", 2, "two of the images"),
    "CSV to append to is an image": ("evaluate --field field.mha --csv fixed.png", 1, "not a CSV file"),
    "CSV to append to is a folder": ("evaluate --field field.mha --csv done", 1, "cannot add a row to done"),
    "CSV to append to is ragged": ("evaluate --field field.mha --csv long_row.csv", 1, "long_row.csv"),
    "CSV to append to below a file": ("evaluate --field field.mha --csv file/a.csv", 1, "cannot write file/a.csv"),
}

MODELS = {
    "unknown model": ("register fixed.png moving.png -o out -m tinny", 2, "did you mean 'tiny'?"),
    "model path without a model": ("register fixed.png moving.png -o out -m ./done", 1, "not a model folder"),
    "model is a file": ("register fixed.png moving.png -o out -m fixed.png", 1, "not a model folder"),
    "weights truncated": ("register fixed.png moving.png -o out -m ./cut", 1, "truncated or altered"),
    "weights altered": ("register fixed.png moving.png -o out -m ./altered", 1, "truncated or altered"),
    "weights missing": ("register fixed.png moving.png -o out -m ./weightless", 1, "cannot read weights.safetensors"),
    "card missing": ("register fixed.png moving.png -o out -m ./cardless", 1, "it has no card.json"),
    "card is no JSON": ("register fixed.png moving.png -o out -m ./scribble", 1, "scribble/card.json is not a valid"),
    "card is binary": ("register fixed.png moving.png -o out -m ./binary", 1, "cannot read the model card"),
    "card of a later version": ("register fixed.png moving.png -o out -m ./future", 1, "card format 99"),
    "card without hash": ("register fixed.png moving.png -o out -m ./short_card", 1, "short_card/card.json is not"),
    "card whose hash is a number": ("register fixed.png moving.png -o out -m ./numeric", 1, "numeric/card.json"),
    "card with unknown keys": ("register fixed.png moving.png -o out -m ./knobs", 1, "depth"),
    "card that does not fit": ("register fixed.png moving.png -o out -m ./misfit", 1, "does not fit the weights"),
    "weights of another kind": ("register fixed.png moving.png -o out -m ./pickle", 1, "not a safetensors file"),
    "infinite weights": ("register fixed.png moving.png -o out -m ./infinite", 1, "not finite"),
    "adapt a damaged model": ("adapt fixed.png moving.png -o out -m ./cut --steps 1", 1, "truncated or altered"),
    "train from a damaged model": ("train pairs.csv -o out -m ./cut", 1, "truncated or altered"),
    "info of an unknown model": ("models info tinny", 2, "did you mean 'tiny'?"),
    "info of a damaged model": ("models info ./altered", 1, "truncated or altered"),
    "verify an unknown model": ("models verify tinny", 2, "did you mean 'tiny'?"),
    "path of an unknown model": ("models path tinny", 2, "did you mean 'tiny'?"),
    "pull an unknown model": ("models pull modell --source .", 2, "did you mean 'model'?"),
    "pull an unknown shipped model": ("models pull nonesuch", 2, "unknown model 'nonesuch'"),
    "pull from a missing folder": ("models pull tiny --source lost", 2, "lost"),
    "pull from no address": ("models pull tiny --source ftp://127.0.0.1", 2, "http(s)"),
    "pull damaged weights": ("models pull cut --source .", 1, "truncated or altered"),
    "pull without weights": ("models pull weightless --source .", 1, "weights.safetensors"),
    "pull with --offline": ("models pull x --source http://127.0.0.1:9 --offline", 1, "offline"),
    "pull from nobody": ("models pull x --source http://127.0.0.1:9", 1, "cannot download http://127.0.0.1:9/x/"),
    "pull from a bad address": ("models pull x --source http://[bad", 1, "cannot download"),
    "pull out of the cache": ("models pull ../x --source http://127.0.0.1:9", 2, "a model's name has"),
    "pull out of a folder": ("models pull ../model --source a", 2, "unknown model '../model'"),
    "add a damaged model": ("models add altered", 1, "truncated or altered"),
    "add without weights": ("models add weightless --name new", 1, "cannot read weights.safetensors"),
    "add no model": ("models add done", 1, "cannot read the model card"),
    "add out of the cache": ("models add model --name ../x", 2, "a model's name has"),
    "add a name that is taken": ("models add model --name tiny", 2, "give another --name"),
    "add under the name none": ("models add model --name none", 2, "stands for random weights"),
}

NO_CUDA = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
DEVICES = {
    "no CUDA": (REGISTER + "--device cuda", 1, "use --device cpu", NO_CUDA),
    "no CUDA, adapt": ("adapt fixed.png moving.png -o out -m model --steps 1 --device cuda", 1, "no CUDA", NO_CUDA),
    "no CUDA, train": (TRAIN + "--device cuda", 1, "no CUDA", NO_CUDA),
    "no such CUDA device": (REGISTER + "--device cuda:99", 1, "cuda:99 was asked for"),
    "unknown device": (REGISTER + "--device gpu", 2, "--device must be auto, cpu, cuda or cuda:i, got 'gpu'"),
    "unknown device, train": (TRAIN + "--device cuda:", 2, "got 'cuda:'"),
    "no threads": (REGISTER + "--threads 0", 2, "--threads"),
    "seed below 0": (REGISTER + "--seed -1", 2, "--seed"),
    "seed too large": (REGISTER + "--seed 99999999999999999999", 2, "--seed"),
}

PARAMETERS = {
    "adapt below 0": (REGISTER + "--adapt -1", 2, "--adapt"),
    "adapt is a word": (REGISTER + "--adapt x", 2, "--adapt"),
    "adapt is a fraction": (REGISTER + "--adapt 1.5", 2, "--adapt"),
    "no steps": ("adapt fixed.png moving.png -o out -m model --steps 0", 2, "--steps"),
    "random weights alone": ("register fixed.png moving.png -o out -m none --preset paper", 2, "give --adapt N"),
    "random weights with --adapt 0": ("register fixed.png moving.png -o out -m none --adapt 0", 2, "give --adapt N"),
    "unknown option": (REGISTER + "--adpat 5", 2, "--adapt"),
    "unknown command": ("regster fixed.png moving.png", 2, "Did you mean 'register'?"),
    "unknown subcommand": ("models lst", 2, "list"),
    "one image": ("register fixed.png -o out", 2, "MOVING"),
    "three images": ("register fixed.png moving.png fixed.png -o out", 2, "fixed.png"),
    "unknown preset": (REGISTER + "--preset papr", 2, "did you mean 'paper'?"),
    "unknown preset, show": ("presets show papr", 2, "did you mean 'paper'?"),
    "preset and file": (REGISTER + "--preset paper -p small.toml", 2, "exclude each other"),
    "missing parameters": (REGISTER + "-p lost.toml", 1, "cannot read the parameter file lost.toml"),
    "unknown section": (REGISTER + "-p section.toml", 1, "did you mean 'training'?"),
    "unknown key": (REGISTER + "-p key.toml", 1, "did you mean 'learning_rate'?"),
    "unknown value": (REGISTER + "-p value.toml", 1, "did you mean 'ncc'?"),
    "wrong type": (REGISTER + "-p type.toml", 1, "type.toml: training.steps must be a whole number"),
    "fraction": (REGISTER + "-p fraction.toml", 1, "training.steps must be a whole number"),
    "infinite number of steps": (REGISTER + "-p infinite.toml", 1, "training.steps must be a whole number"),
    "steps not a number": (REGISTER + "-p not_a_number.toml", 1, "training.steps must be a whole number"),
    "infinite learning rate": (REGISTER + "-p infinite_rate.toml", 1, "training.learning_rate must be a number"),
    "negative weight": (REGISTER + "-p negative.toml", 1, "loss.tv must be a number of at least 0"),
    "truth for a number": (REGISTER + "-p truth.toml", 1, "training.steps must be a whole number"),
    "text for a list": (REGISTER + "-p list.toml", 1, "network.channels must be a list"),
    "empty list": (REGISTER + "-p empty_list.toml", 1, "network.channels must be a list"),
    "value for a section": (REGISTER + "-p flat.toml", 1, "training must be a section"),
    "unknown base": (REGISTER + "-p base.toml", 2, "did you mean 'paper'?"),
    "no TOML": (REGISTER + "-p syntax.toml", 1, "syntax.toml is not a TOML parameter file"),
    "parameters are an image": (REGISTER + "-p fixed.png", 1, "fixed.png is not a TOML parameter file"),
    "network of another model": (REGISTER + "-p network.toml", 1, "[network] of the parameter file"),
    "divergence": (REGISTER + "-p diverge.toml --adapt 20", 1, "lower adaptation.learning_rate"),
    "quiet and JSON": (REGISTER + "--quiet --json", 2, "exclude each other"),
}

COMMANDS = {
    "nothing to measure": ("evaluate", 2, "nothing to measure"),
    "one image to measure": ("evaluate --fixed fixed.png", 2, "nothing to measure"),
    "one mask to measure": ("evaluate --seg-fixed mask.png", 2, "give both or neither"),
    "one file of points to measure": ("evaluate --points-fixed points.csv", 2, "give both or neither"),
    "warped without fixed": ("evaluate --warped fixed.png --field field.mha", 2, "give --fixed too"),
    "field and one image": ("evaluate --field field.mha --moving moving.png", 2, "no effect"),
    "field of another size": (
        "evaluate --field wide_field.mha --fixed fixed.png --moving moving.png",
        1,
        "wide_field.mha is on 90x48 pixels, the fixed image on 61x48",
    ),
    "warped of another size": ("evaluate --fixed fixed.png --warped square.png", 1, "square.png is 40x40"),
    "masks of two sizes": ("evaluate --seg-fixed mask.png --seg-moving narrow.png", 1, "different sizes"),
    "measure a float mask": ("evaluate --seg-fixed mask.png --seg-moving soft.mha", 1, "not whole numbers"),
    "measure a truncated image": ("evaluate --fixed fixed.png --moving cut.jpg", 1, "damaged or truncated"),
    "measure what is no field": ("evaluate --field here.mha", 1, "here.mha is no displacement field"),
    "measure nothing with --slice": (
        "evaluate --points-fixed points.csv --points-moving points.csv --slice 1",
        2,
        "--slice",
    ),
    "apply without images": ("apply field.mha", 2, "nothing to warp"),
    "apply what is no field": ("apply fixed.png moving.png -o out", 1, "fixed.png is no displacement field"),
    "apply a missing field": ("apply lost.mha moving.png -o out", 1, "cannot read lost.mha"),
    "apply a field with NaN": ("apply nan_field.mha moving.png -o out", 1, "NaN or infinite displacements"),
    "apply to a missing image": ("apply field.mha moving.png lost.png -o out", 1, "cannot read lost.png"),
    "apply --label without images": ("apply field.mha --points points.csv --label -o out", 2, "--label has no effect"),
    "apply --slice without images": (
        "apply field.mha --points points.csv --slice 0 -o out",
        2,
        "--slice has no effect",
    ),
    "apply to wrong points": ("apply field.mha --points rows_columns.csv -o out", 1, "lacks the column x, y"),
    "apply to ragged points": ("apply field.mha --points long_row.csv -o out", 1, "long_row.csv, line 2"),
    "apply --like of another size": (
        "apply field.mha moving.png --like square.png -o out",
        1,
        "the moving image 40x40",
    ),
    "apply far away": ("apply field.mha there.mha -o out", 1, "do not overlap"),
    "adapt without output": ("adapt fixed.png moving.png -m model --steps 1", 2, "-o"),
    "adapt nothing": ("adapt -o out -m model --steps 1", 2, "FIXED and MOVING, or --pairs"),
    "adapt a pair and a table": ("adapt fixed.png moving.png --pairs pairs.csv -o out --steps 1", 2, "or --pairs"),
    "adapt one image": ("adapt fixed.png -o out -m model --steps 1", 2, "FIXED and MOVING"),
    "adapt without steps": ("adapt fixed.png moving.png -o out -m model --preset paper", 2, "--iterations N"),
    "train without output": ("train pairs.csv", 2, "--out"),
    "steps and epochs": (TRAIN + "--steps 1 --epochs 1", 2, "exclude each other"),
    "resume and overwrite": (TRAIN + "--resume --overwrite", 2, "exclude each other"),
    "resume nothing": (TRAIN + "--resume", 1, "out/checkpoint.pt does not exist"),
    "resume with other parameters": (
        "train pairs.csv -o trained -p other.toml --resume",
        1,
        "other parameters (training.learning_rate)",
    ),
    "resume a truncated checkpoint": (
        "train pairs.csv -o cut_trained -p small.toml --resume",
        1,
        "cut_trained/checkpoint.pt is damaged",
    ),
    "resume no checkpoint": (
        "train pairs.csv -o odd_trained -p small.toml --resume",
        1,
        "odd_trained/checkpoint.pt is damaged",
    ),
}

CASES = IMAGES | LABELS_AND_POINTS | TABLES | OUTPUTS | MODELS | DEVICES | PARAMETERS | COMMANDS


@pytest.mark.parametrize(
    ("command", "code", "fragment"),
    [pytest.param(*case[:3], id=name, marks=case[3:]) for name, case in CASES.items()],
)
def test_bad_input_ends_in_one_sentence(
    command: str,
    code: int,
    fragment: str,
    *,
    zoo: Path,
    tmp_path: Path,
    cli: Callable[..., object],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One line on stderr that tells what is wrong, nothing on stdout, the exit code, and every file as it was."""
    box = shutil.copytree(zoo, tmp_path / "box")
    monkeypatch.chdir(box)
    monkeypatch.setenv("CNNREG_CACHE", str(box / "cache"))
    before = tree(tmp_path)
    ended = cli(*shlex.split(command))
    assert fragment in ended.err
    assert ended.err.startswith("error: ")
    assert ended.err.endswith("\n")
    assert ended.err.count("\n") == 1
    assert ended.out == ""
    assert ended.code == code
    assert tree(tmp_path) == before


def test_the_cases_are_bad_for_their_own_reason(
    zoo: Path, tmp_path: Path, cli: Callable[..., object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commands that the cases spoil work when they are not spoiled."""
    box = shutil.copytree(zoo, tmp_path / "box")
    monkeypatch.chdir(box)
    monkeypatch.setenv("CNNREG_CACHE", str(box / "cache"))
    masks_and_points = "--seg-fixed mask.png --seg-moving mask.png --points-fixed points.csv --points-moving points.csv"
    for command in (
        f"register fixed.png moving.png -o done -m model --overwrite {masks_and_points}",
        "register pages.tif pages.tif -o out -m tiny --slice 2",
        "adapt fixed.png moving.png -o adapted -m model --steps 1",
        "apply field.mha moving.png -o applied --points points.csv",
        "evaluate --field field.mha --csv scores.csv",
        "train pairs.csv -o trained -p small.toml --resume --quiet",
        "models add model --name new",
        "models pull model --source .",
    ):
        ended = cli(*shlex.split(command))
        assert (command, ended.code, ended.err) == (command, 0, "")


@pytest.mark.parametrize("command", [(), ("models",), ("presets",)], ids=["cnnreg", "models", "presets"])
def test_a_command_alone_shows_its_help(command: tuple[str, ...], cli: Callable[..., object]) -> None:
    """Nothing was asked for, so the exit code is 2, but the help is no error message."""
    ended = cli(*command)
    assert (ended.code, ended.err) == (2, "")
    assert "Usage" in ended.out


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "tif", "nii", "nii.gz", "mha", "nrrd", "dcm"])
def test_a_file_cut_anywhere_is_an_error(suffix: str, zoo: Path, tmp_path: Path, cli: Callable[..., object]) -> None:
    """A download that stopped is noticed wherever it stopped, at one per cent and at the last byte but a few."""
    content = (zoo / f"whole.{suffix}").read_bytes()
    for kept in (1, len(content) // 100, len(content) // 10, len(content) // 2, len(content) - 20):
        file = tmp_path / f"cut.{suffix}"
        file.write_bytes(content[:kept])
        ended = cli("evaluate", "--fixed", zoo / "fixed.png", "--moving", file)
        assert (kept, ended.code) == (kept, 1)
        assert ended.err.count("\n") == 1
        assert str(file) in ended.err
