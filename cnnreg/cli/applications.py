"""``cnnreg csub`` and ``cnnreg strain``: the paper's two uses of a registration."""

import sys
from pathlib import Path
from typing import Annotated

from cnnreg import defaults
from cnnreg.cli import console, options, progress
from cnnreg.cli.declaring import FILE, FOLDER, LABELS, NUMBER, OUTPUT, argument, option
from cnnreg.interface.setup import make_setup

SEGMENTS = "Sectors"
ITERATIONS = 50  # of csub


def csub(
    image: Annotated[Path, argument("IMAGE", "The image, such as a chest radiograph.")],
    out: Annotated[
        Path | None,
        option(OUTPUT, "--out", "-o", metavar=FOLDER, help="Folder of the results.", default="IMAGE_csub"),
    ] = None,
    seg: Annotated[
        Path | None,
        option(
            LABELS,
            "--seg",
            metavar=FILE,
            help="Mask, such as of the lungs: outside of it the difference is set to 0.",
        ),
    ] = None,
    label_threshold: options.LabelThreshold = None,
    model: options.ModelName = "chest-xray",
    adapt: options.Iterations = None,
    preset: options.Preset = None,
    parameters: options.Parameters = None,
    device: options.Device = "auto",
    seed: options.Seed = defaults.SEED,
    threads: options.Threads = None,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
) -> None:
    """Contralateral subtraction: subtract from an image its own mirror image, registered to it.

    What is present on one side only stands out in the difference.

    Writes mirror.<ext>, difference.mha, field.mha, report.json and report.png.
    """
    iterations = ITERATIONS if adapt is None else adapt
    with progress.display(quiet=quiet, iterations=iterations) as shown:
        from cnnreg.files import claim_results, stem
        from cnnreg.pipeline.subtraction import RESULTS, subtract, write_subtraction
        from cnnreg.watching import Watcher

        folder = out or Path(f"{stem(image)}_csub")
        setup = make_setup(
            preset=preset,
            parameters=parameters,
            model=model,
            device=device,
            seed=seed,
            threads=threads,
            changes={"adaptation": {"steps": iterations}},
        )
        claim_results(folder, RESULTS, overwrite=overwrite, inputs=[p for p in (image, seg) if p])
        watcher = Watcher(shown.stage, shown.step)
        result = subtract(image, setup, seg=seg, label_threshold=label_threshold, watcher=watcher)
        shown.stage("write")
        written = write_subtraction(result, image, folder, command=sys.argv, overwrite=overwrite)
    if not quiet:
        console.print_measures(f"{image.name} minus its mirror image", result.measures)
        for path in written:
            console.say(f"wrote {path}")


def strain(
    field: Annotated[Path, argument("FIELD", "A displacement field, such as field.mha.")],
    seg: Annotated[
        Path,
        option(
            LABELS,
            "--seg",
            metavar=FILE,
            help="Mask on the fixed image. Its centre is the centre of the radial direction.",
            default=False,
        ),
    ],
    label: Annotated[
        int | None,
        option(LABELS, "--label", metavar=NUMBER, help="Take this label of the mask only.", default="all"),
    ] = None,
    label_threshold: options.LabelThreshold = None,
    wall: Annotated[
        float | None,
        option(
            LABELS,
            "--wall",
            low=0,
            metavar="WIDTH",
            help="Measure in a band of this width around the mask instead, in mm (pixels where mm are not known).",
        ),
    ] = None,
    segments: Annotated[
        int, option(SEGMENTS, "--segments", low=1, high=360, metavar=NUMBER, help="Number of equal sectors.")
    ] = 6,
    start: Annotated[
        float,
        option(SEGMENTS, "--start", metavar="DEGREES", help="Where the first sector begins: degrees from x towards y."),
    ] = 0.0,
    out: Annotated[
        Path | None,
        option(OUTPUT, "--out", "-o", metavar=FOLDER, help="Folder of the results.", default="FIELD_strain"),
    ] = None,
    image: Annotated[
        Path | None,
        option(OUTPUT, "--image", metavar=FILE, help="The fixed image, as the background of the picture."),
    ] = None,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
) -> None:
    """Measure the Green-Lagrange strain of a field in a mask, in radial and circumferential direction.

    The strain is that from the fixed to the moving image: with the fixed image at end-diastole, thickening of the wall
    is a positive radial strain.

    Writes strain.mha (radial, circumferential, shear), strain.csv (means by sector), strain.png and strain.json.
    """
    with progress.display(quiet=quiet) as shown:
        from cnnreg.files import claim_results, stem
        from cnnreg.pipeline.strain import RESULTS, StrainRequest, measure_strain

        folder = out or Path(f"{stem(field)}_strain")
        claim_results(folder, RESULTS, overwrite=overwrite, inputs=[p for p in (field, seg, image) if p])
        request = StrainRequest(field, seg, image, label, wall, segments, start, label_threshold)
        shown.stage("measuring the strain")
        found = measure_strain(request, folder, command=sys.argv, overwrite=overwrite)
    if not quiet:
        columns = ["from", "to", "pixels", "radial", "circumferential", "shear"]
        rows = [
            (
                s.name,
                [
                    f"{s.start:g}",
                    f"{s.end:g}",
                    str(s.pixels),
                    *(f"{v:+.4f}" for v in (s.radial, s.circumferential, s.shear)),
                ],
            )
            for s in found
        ]
        console.print_table("Green-Lagrange strain by segment (degrees)", columns, rows)
        for name in RESULTS:
            console.say(f"wrote {folder / name}")
