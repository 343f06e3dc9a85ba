"""``cnnreg csub`` and ``cnnreg strain``: the paper's two uses of a registration."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from cnnreg import defaults
from cnnreg.cli import console, options, progress, settings

OptionalFile = Path | None


def csub(
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="A radiograph.", show_default=False)],
    out: Annotated[
        OptionalFile, typer.Option("--out", "-o", help="Folder of the results.", show_default="IMAGE_csub")
    ] = None,
    seg: Annotated[
        OptionalFile, typer.Option("--seg", help="Mask, such as of the lungs: the difference is 0 outside it.")
    ] = None,
    model: options.ModelName = "chest-xray",
    adapt: Annotated[int, typer.Option("--adapt", "-a", min=0, help="One-shot steps.")] = 50,
    preset: options.Preset = None,
    parameters: options.Parameters = None,
    device: options.Device = "auto",
    seed: options.Seed = defaults.SEED,
    threads: options.Threads = None,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
) -> None:
    """Contralateral subtraction: IMAGE minus its own mirror image, registered to it.

    What is on one side only stands out.

    Writes mirror.<ext>, difference.mha, field.mha, report.json and report.png.
    """
    with progress.display(quiet=quiet, iterations=adapt) as shown:
        from cnnreg.files import claim_results, stem
        from cnnreg.pipeline.subtraction import RESULTS, subtract, write_subtraction
        from cnnreg.watching import Watcher

        folder = out or Path(f"{stem(image)}_csub")
        setup = settings.make_setup(
            preset=preset,
            parameters=parameters,
            model=model,
            device=device,
            seed=seed,
            threads=threads,
            changes={"adaptation": {"steps": adapt}},
        )
        claim_results(folder, RESULTS, overwrite=overwrite, inputs=[p for p in (image, seg) if p])
        result = subtract(image, setup, seg=seg, watcher=Watcher(shown.stage, shown.step))
        shown.stage("write")
        written = write_subtraction(result, image, folder, command=sys.argv, overwrite=overwrite)
    if not quiet:
        console.print_measures(f"{image.name} minus its mirror image", result.measures)
        for path in written:
            console.say(f"wrote {path}")


def strain(
    field: Annotated[Path, typer.Argument(metavar="FIELD", help="A saved field.mha.", show_default=False)],
    seg: Annotated[
        Path,
        typer.Option("--seg", help="Mask on the fixed image; strain is taken about its centre.", show_default=False),
    ],
    out: Annotated[
        OptionalFile, typer.Option("--out", "-o", help="Folder of the results.", show_default="FIELD_strain")
    ] = None,
    label: Annotated[int | None, typer.Option("--label", help="One label of the mask.", show_default="all")] = None,
    wall: Annotated[
        float | None,
        typer.Option("--wall", min=0, help="Measure in a band of this width around the mask instead, mm (or pixels)."),
    ] = None,
    segments: Annotated[int, typer.Option("--segments", min=1, max=360, help="Equal sectors about the centre.")] = 6,
    start: Annotated[float, typer.Option("--start", help="Where the first begins: degrees from x towards y.")] = 0.0,
    image: Annotated[OptionalFile, typer.Option("--image", help="The fixed image, for the picture.")] = None,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
) -> None:
    """Strain of a FIELD in a mask: Green-Lagrange, radial and circumferential about the mask's centre.

    From the fixed to the moving image: with the fixed image at end-diastole, wall thickening is a positive radial
    strain. Writes strain.mha (radial, circumferential, shear), strain.csv (means by segment), strain.png and
    strain.json.
    """
    with progress.display(quiet=quiet) as shown:
        from cnnreg.files import claim_results, stem
        from cnnreg.pipeline.strain import RESULTS, StrainRequest, measure_strain

        folder = out or Path(f"{stem(field)}_strain")
        claim_results(folder, RESULTS, overwrite=overwrite, inputs=[p for p in (field, seg, image) if p])
        request = StrainRequest(field, seg, image, label, wall, segments, start)
        shown.stage("measuring the strain")
        found = measure_strain(request, folder, overwrite=overwrite)
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
