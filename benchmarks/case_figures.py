"""What is looked at in each case of ``cases.py``: the commands, the figure that comes out, and whether it is right."""

import contextlib
import csv
import io
import json
import shutil
import subprocess
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from cnnreg.cli.main import run
from cnnreg.images.image import read_image

Figure = tuple[str, bool]  # what is shown, and whether it is right
See = Callable[["Bench"], Figure]
POINTS = ("--points-fixed", "pf.csv", "--points-moving", "pm.csv")
ALONE = ("--model", "none", "--adapt", "50")


@dataclass
class Ran:
    """One command: how it ended, what it said, and what it wrote."""

    code: int
    said: str
    folder: Path
    report: dict[str, Any] = field(default_factory=dict)

    @property
    def fell(self) -> bool:
        return "Traceback" in self.said

    @property
    def sentence(self) -> str:
        lines = [line for line in self.said.splitlines() if line.startswith(("error:", "note:"))]
        return "Traceback" if self.fell else (lines or [f"exit {self.code}, no word"])[0][:110]

    @property
    def last(self) -> dict[str, Any]:
        return list(self.report["metrics"].values())[-1]


@dataclass(frozen=True)
class Bench:
    """A copy of a case, in which commands run."""

    folder: Path

    def run(self, *words: str) -> Ran:
        said = io.StringIO()
        with contextlib.chdir(self.folder), contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            try:
                code = run(list(words))
            except Exception:
                code = 1
                said.write(traceback.format_exc())
        return Ran(code, said.getvalue(), self.folder)

    def register(self, fixed: str, moving: str, *words: str, out: str = "out", under: str = ".") -> Ran:
        here = Bench(self.folder / under)
        ran = here.run("register", fixed, moving, *words, "--threads", "1", "-o", out)
        report = here.folder / out / "report.json"
        return Ran(ran.code, ran.said, here.folder, json.loads(report.read_text()) if report.is_file() else {})

    def measured(self, *words: str) -> tuple[Ran, dict[str, Any]]:
        ran = self.run("evaluate", *words, "--json")
        if ran.code:
            return ran, {}
        return ran, list(json.loads(ran.said[ran.said.index("{") : ran.said.rindex("}") + 1])["metrics"].values())[-1]


def tre(ran: Ran, below: float) -> Figure:
    """Mean distance of landmarks, its largest, and folding."""
    if not ran.report:
        return ran.sentence, False
    marks = ran.last["landmarks"]
    text = f"{marks['tre_px']:.2f} (max {marks['tre_max_px']:.1f}), folds {ran.last['folding_percent']:.2g} %"
    return text, marks["tre_px"] < below


def marked(below: float, *words: str, fixed: str = "f.png", moving: str = "m.png", under: str = ".") -> See:
    """A pair with landmarks, which are to end within so many pixels."""
    return lambda bench: tre(bench.register(fixed, moving, *POINTS, *ALONE, *words, under=under), below)


def odd(k: int, exchanged: bool, bench: Bench) -> Figure:
    """Pixels k times as long as wide."""
    names, points = [f"f_an{k}.nrrd", "m.nrrd"], [f"pf_an{k}.csv", "pm.csv"]
    if exchanged:
        names, points = names[::-1], points[::-1]
    ran = bench.register(*names, "--points-fixed", points[0], "--points-moving", points[1], *ALONE)
    return tre(ran, 1.0)


def masked(bench: Bench, *words: str) -> Figure:
    ran = bench.register("bl.nii.gz", "fu.nii.gz", "--adapt", "50", *words)
    how = ran.report["alignment"]["how"] if ran.report else ran.sentence
    return how, "19." in how and "1.00" in how.replace("-1.00", "")


def sections(bench: Bench) -> Figure:
    ran = bench.register("s01.png", "s02.png", *ALONE)
    last = ran.last
    text = f"{ran.report['alignment']['how'][:60]}; NCC {last['ncc']:.2f}, SD log J {last['sd_log_jacobian']:.2f}"
    return text, last["ncc"] > 0.8


def oblique(bench: Bench) -> Figure:
    """What is written lies where the fixed image lies, and the converted field is the same field."""
    ran = bench.register("f_oblique.nii.gz", "m_oblique.nii.gz", *ALONE)
    bench.run("transform", "convert", "out/field.mha", "-o", "out/x.nii.gz")
    _, there = bench.measured("--fixed", "f_oblique.nii.gz", "--moving", "m_oblique.nii.gz", "--field", "out/x.nii.gz")
    fixed, warped = (read_image(bench.folder / name).grid for name in ("f_oblique.nii.gz", "out/warped.nii.gz"))
    same = np.allclose(fixed.matrix, warped.matrix, atol=1e-4) and np.allclose(fixed.origin, warped.origin, atol=1e-3)
    ncc, length = there.get("ncc", 0.0), there.get("displacement_mean_px", float("nan"))
    text = (
        f"grid {'the same' if same else 'another'}; NCC {ran.last['ncc']:.3f}, by x.nii.gz {ncc:.3f}, {length:.1f} px"
    )
    return text, same and abs(ran.last["ncc"] - ncc) < 0.002


def strained(bench: Bench) -> Figure:
    bench.run("strain", "uni_obl.mha", "--seg", "seg_obl.nii.gz", "--segments", "4", "-o", "st")
    total = list(csv.DictReader((bench.folder / "st/strain.csv").open()))[-1]
    found = [float(total[name]) for name in ("radial", "circumferential", "shear")]
    return "{:.3f}, {:.3f}, {:+.3f}".format(*found), bool(np.allclose(found, [0.11, 0.11, 0], atol=0.002))


def readable(bench: Bench, *patterns: str, refused: tuple[str, ...] = ()) -> Figure:
    """How many files are read; those that cannot be must be refused with a reason."""
    files = sorted(file.name for pattern in patterns for file in bench.folder.glob(pattern))
    failed = {name: ran for name in files if (ran := bench.run("evaluate", "--fixed", name, "--moving", name)).code}
    text = f"{len(files) - len(failed)} of {len(files)} read"
    lost = [name for name in failed if name not in refused]
    reasons = "; ".join(f"{name}: {ran.sentence}" for name, ran in failed.items() if name in refused or len(lost) < 3)
    return f"{text}; {reasons}" if reasons else text, not lost and all("damaged" not in r.said for r in failed.values())


def two_faced(bench: Bench) -> Figure:
    bench.register("mr2.dcm", "mr2.dcm", "--adapt", "5")
    spacing = sitk.ReadImage(str(bench.folder / "out/field.mha")).GetSpacing()[0]
    return f"spacing {spacing:.3f} mm", abs(spacing - 0.195) < 0.001


def pyramid(bench: Bench) -> Figure:
    ran = bench.register("f.png", "tiled_pyramid.tif", "--slice", "0", "--adapt", "5")
    return ("registered" if ran.report else ran.sentence), bool(ran.report)


def landmark_files(bench: Bench) -> Figure:
    """All are read but the one whose column x stands there twice; some hold other points than pm.csv."""
    images = ("--fixed", "f.png", "--moving", "m.png")
    partners = dict.fromkeys(("semicolon.csv", "tab.csv", "space.csv", "latin1.csv", "napari.csv"), "pm.csv")
    partners |= {name: name for name in ("anhir.csv", "anhir.pts", "bigwarp.csv")}
    runs = [bench.run("evaluate", *images, "--points-fixed", a, "--points-moving", b) for a, b in partners.items()]
    twice = bench.run("evaluate", *images, "--points-fixed", "twice.csv", "--points-moving", "pm.csv")
    read = sum(not ran.code for ran in runs)
    return f"{read} of {len(runs)} read; twice: {twice.sentence}", read == len(runs) and twice.code == 1


def refused(bench: Bench, *words: str) -> Figure:
    """An error of one sentence."""
    ran = bench.run(*words)
    return ran.sentence, ran.code in {1, 2} and not ran.fell and "error:" in ran.said


def overwrites(bench: Bench) -> Figure:
    out = bench.folder / "out"
    out.mkdir()
    shutil.copy(bench.folder / "f.png", out / "warped.png")
    shutil.copy(bench.folder / "m.png", out)
    (out / "warped.notes.txt").write_text("mine")
    bench.run("register", "out/warped.png", "out/m.png", "--adapt", "3", "-o", "out", "--overwrite")
    kept = (out / "warped.png").read_bytes() == (bench.folder / "f.png").read_bytes()
    notes = (out / "warped.notes.txt").is_file()
    return f"input {'stays' if kept else 'gone'}, notes {'stay' if notes else 'gone'}", kept and notes


def full_disk(bench: Bench) -> Figure:
    """Needs the right to mount."""
    tiny = bench.folder / "tiny"
    tiny.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", tiny], check=False).returncode:
        return "not tried: no right to mount", False
    try:
        runs = [
            bench.run("adapt", "fs.png", "ms.png", "--steps", "3", "-o", "tiny/mod"),
            bench.run("train", "p.csv", "--steps", "3", "-o", "tiny/tr"),
            bench.run("register", "fs.png", "ms.png", "--adapt", "3", "-o", "tiny/o"),
        ]
    finally:
        subprocess.run(["umount", tiny], check=True)
    text = f"{sum(ran.fell for ran in runs)} tracebacks, exit {', '.join(str(ran.code) for ran in runs)}"
    return text, all(ran.code == 1 and not ran.fell for ran in runs)


def mirror(bench: Bench) -> Figure:
    ran = bench.register("f.jpg", "m.jpg", *ALONE)
    vectors = sitk.GetArrayFromImage(sitk.ReadImage(str(bench.folder / "out/field.mha")))
    columns = np.arange(vectors.shape[1])
    off = np.hypot(columns + vectors[..., 0] - columns[::-1], vectors[..., 1]).mean()
    return f"{off:.2f} px off; {ran.report['alignment']['how'][:60]}", bool(off < 1)


def labels(bench: Bench, fixed: str, moving: str, dsc: float | None = None, *, says: str = "") -> Figure:
    """Overlap of two label maps, or a word about them."""
    ran, found = bench.measured("--seg-fixed", fixed, "--seg-moving", moving)
    overlap = found.get("overlap", {})
    names = list(overlap.get("labels", {}))
    if dsc is not None:
        return f"DSC {overlap.get('dsc')}, {len(names)} labels", overlap.get("dsc") == dsc
    return (f"labels {', '.join(names)}" if says in names else ran.sentence), says in ran.said


def grounds(bench: Bench, fixed: str, moving: str) -> Figure:
    """White around the labels is none."""
    _, found = bench.measured("--seg-fixed", fixed, "--seg-moving", moving)
    names = list(found.get("overlap", {}).get("labels", {}))
    return f"labels {', '.join(names)}", bool(names) and "16777215" not in names


def small_things(bench: Bench) -> Figure:
    model = Path(__file__).parents[1] / "models/cardiac-cine-mr"
    deep = bench.folder / "deep"
    deep.mkdir()
    (deep / "card.json").write_text("[" * 200_000)
    shutil.copy(model / "weights.safetensors", deep)
    (bench.folder / "brk").symlink_to("/nonexistent/dir")
    for name in ("f.png", "m.png"):
        shutil.copy(bench.folder.parent / "17-overwrite-deletes" / name, bench.folder)
    runs = [
        bench.run("models", "add", str(model), "--name", "n" * 300),
        bench.run("models", "info", "./deep"),
        bench.run("register", "f.png", "m.png", "--adapt", "3", "-o", "brk"),
    ]
    return f"{sum(ran.fell for ran in runs)} tracebacks", all(ran.code == 1 and not ran.fell for ran in runs)


def nan_ground(bench: Bench) -> Figure:
    ran = bench.register("f_nan.tif", "m_f32.tif", "--adapt", "5")
    return ("registered" if ran.report else ran.sentence), bool(ran.report)


def outside(bench: Bench) -> Figure:
    return refused(
        bench, "register", "f.png", "m.png", "--points-fixed", "outside.csv", "--points-moving", "pm.csv", "-o", "out"
    )


MASKS = ("--fixed-mask", "bl_mask.nii.gz", "--moving-mask", "fu_mask.nii.gz")
ROUND = ("--fixed-mask", "circ90.png", "--moving-mask", "circ90.png")
RIGID = ("--init", "rigid")
NOISY = {"fixed": "f.tif", "moving": "m.tif"}
BIG = "9223372036854775813"
CASES: list[tuple[str, str, str, See]] = [  # folder, variant, what is right, how to see it
    ("01-circular-field-of-view", "", "TRE below 1", marked(1.0)),
    ("01-circular-field-of-view", "--init rigid", "TRE below 1", marked(1.0, *RIGID)),
    ("01-circular-field-of-view", "smaller motion", "TRE below 1", marked(1.0, under="0")),
    ("01-circular-field-of-view", "larger motion", "TRE below 1", marked(1.0, under="2")),
    ("03-small-masks", "both masks", "19.1 degrees, x 1.005", lambda b: masked(b, *MASKS)),
    ("03-small-masks", "fixed mask", "19.1 degrees, x 1.005", lambda b: masked(b, *MASKS[:2])),
    ("03-small-masks", "no masks", "19.1 degrees, x 1.005", masked),
    ("03-small-masks", "4 % of the image", "TRE below 2.1", marked(2.1, *ROUND)),
    ("05-low-signal", "", "TRE below 0.5", marked(0.5, **NOISY)),
    ("05-low-signal", "--init rigid", "TRE below 0.5", marked(0.5, *RIGID, **NOISY)),
    ("06-repeated-texture", "", "TRE below 1", marked(1.0)),
    ("06-repeated-texture", "gravel", "TRE below 1", marked(1.0, under="gravel")),
    ("07-strip-100x5000", "", "TRE below 1", marked(1.0)),
    ("08-bleached-timelapse", "", "TRE 2.0", marked(2.05)),
    ("09-oblique-slice", "files", "same grid; NCC 0.984, 13.5 px", oblique),
    ("09-oblique-slice", "strain", "0.110, 0.110, 0", strained),
    ("10-dicom-with-tiff-preamble", "", "all read", lambda b: readable(b, "*.dcm")),
    ("10-dicom-with-tiff-preamble", "mr2", "0.195 mm", two_faced),
    ("11-tiled-pyramid", "--slice 0", "registered", pyramid),
    ("11-tiled-pyramid", "", "all read", lambda b: readable(b, "*.tif")),
    ("12-png-grey-with-transparency", "", "all read", lambda b: readable(b, "*.png")),
    ("13-tiff-itk-cannot", "", "all read", lambda b: readable(b, "*.tif", "*.tiff")),
    ("14-nifti-not-orthonormal", "", "read, or the reason", lambda b: readable(b, "*.gz", refused=("shear.nii.gz",))),
    ("15-landmark-files", "", "read, or what to change", landmark_files),
    ("16-landmarks-outside", "", "an error or a warning", outside),
    ("17-overwrite-deletes", "", "both stay", overwrites),
    ("18-full-disk", "", "one sentence each", full_disk),
    ("19-mirrored-pair", "", "found", mirror),
    ("20-stretched", "", "TRE below 1", marked(1.0)),
    (
        "22-label-maps",
        "blurred edges",
        "pointed out",
        lambda b: labels(b, "antialias.png", "lab255.png", says="blurred"),
    ),
    ("22-label-maps", "palette", "DSC 1", lambda b: labels(b, "pal_voc.png", "lab12.png", 1.0)),
    ("22-label-maps", "white ground", "no label 16777215", lambda b: grounds(b, "pal_whitebg.png", "pal_voc.png")),
    ("22-label-maps", "64 bits", "sign kept", lambda b: labels(b, "u64.mha", "lab12.png", says=BIG)),
    ("22-label-maps", "both empty", "a word", lambda b: labels(b, "empty.png", "empty.png", says="empty")),
    ("23-nan-background", "", "registered", nan_ground),
    ("25-small-things", "", "one sentence each", small_things),
    *(
        ("26-anisotropic-against-isotropic", f"1 x {k} mm{', exchanged' * swap}", "TRE below 1", partial(odd, k, swap))
        for swap in (False, True)
        for k in (2, 3, 4)
    ),
    ("27-sem-sections", "", "NCC 0.83, SD log J 0.30", sections),
]
