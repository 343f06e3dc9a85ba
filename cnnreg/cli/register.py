"""``cnnreg register`` and ``cnnreg adapt``."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cnnreg import defaults
from cnnreg.cli import console, options, progress
from cnnreg.cli.declaring import FOLDER, MODEL, NUMBER, OUTPUT, PROPERTIES, argument, option
from cnnreg.cli.plan import Options, plan
from cnnreg.errors import UsageError

if TYPE_CHECKING:
    from cnnreg.engine.verdict import Verdict
    from cnnreg.pipeline.forecast import Forecast
    from cnnreg.pipeline.registration import Registration

MISLED = "MAE (MAD)", "NCC"  # measures that say nothing where contrasts differ
FAILED = 3  # exit code under --strict
FOLDED = 1.0  # per cent of the pixels, from which on it is said in words


def register(
    fixed: options.FixedImage,
    moving: options.MovingImage,
    model: options.ModelName = defaults.MODEL,
    adapt: options.Iterations = None,
    preset: options.Preset = None,
    parameters: options.Parameters = None,
    max_size: options.MaxSize = None,
    init: options.Init = None,
    similarity: options.Similarity = None,
    fixed_mask: options.FixedMask = None,
    moving_mask: options.MovingMask = None,
    padding: options.Padding = None,
    no_mirror: options.NoMirror = False,
    features: options.Features = None,
    seg_fixed: options.SegFixed = None,
    seg_moving: options.SegMoving = None,
    points_fixed: options.PointsFixed = None,
    points_moving: options.PointsMoving = None,
    physical: options.Physical = False,
    landmark_weight: options.LandmarkWeight = None,
    spacing: options.Spacing = None,
    moving_spacing: options.MovingSpacing = None,
    window: options.Intensities = None,
    moving_window: options.MovingIntensities = None,
    percentiles: options.Percentiles = None,
    slice_index: options.Slice = None,
    moving_slice: options.MovingSlice = None,
    label_threshold: options.LabelThreshold = None,
    out: Annotated[
        Path | None,
        option(OUTPUT, "--out", "-o", metavar=FOLDER, help="Folder of the results.", default="MOVING_to_FIXED"),
    ] = None,
    inverse: options.Inverse = False,
    field_type: options.FieldType = "float64",
    no_picture: options.NoPicture = False,
    html: options.Html = False,
    strict: options.Strict = False,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
    as_json: options.AsJson = False,
    device: options.Device = "auto",
    seed: options.Seed = defaults.SEED,
    threads: options.Threads = None,
) -> None:
    """Register MOVING to FIXED: initial transform, predicted displacement field, iterations on the pair, warping.

    Writes warped.<ext>, field.mha, report.json and report.png.
    """
    wanted = Options.of(locals())
    if quiet and as_json:
        raise UsageError("--quiet and --json exclude each other")
    with progress.display(quiet=quiet or as_json) as shown:
        setup, request = plan(wanted)
        from cnnreg.files import REPORT, stem
        from cnnreg.interface.registrar import Registrar
        from cnnreg.pipeline.report import claim_folder
        from cnnreg.watching import Watcher

        folder = out or Path(f"{stem(moving)}_to_{stem(fixed)}")
        claim_folder(folder, overwrite=overwrite, inputs=request.paths)
        shown.iterations = setup.config.adaptation.steps
        shown.stage("model")
        registrar = Registrar.of(setup)

        def foretell(forecast: "Forecast") -> None:
            if forecast.notable and not quiet:
                console.note(str(forecast))

        watcher = Watcher(shown.stage, shown.step, foretell)
        registration = registrar.run(request, inverse=inverse, watcher=watcher)
        shown.stage("write")
        written = registration.save(
            folder,
            overwrite=overwrite,
            command=sys.argv,
            single=field_type == "float32",
            drawn=not no_picture,
            paged=html,
        )
    if as_json:
        console.say((folder / REPORT).read_text(encoding="utf-8").rstrip())
    elif not quiet:
        _show(registration.result, written)
    if strict and registration.result.verdict and registration.result.verdict.name == "failed":
        raise typer.Exit(FAILED)


def adapt(
    fixed: Annotated[Path | None, argument("FIXED", "The fixed (reference, target) image.")] = None,
    moving: Annotated[Path | None, argument("MOVING", "The moving (source) image.")] = None,
    pairs: Annotated[
        Path | None,
        option(
            PROPERTIES,
            "--pairs",
            metavar="PAIRS.csv",
            help="Table of several pairs, with columns fixed and moving, instead of FIXED and MOVING.",
        ),
    ] = None,
    slice_index: options.Slice = None,
    moving_slice: options.MovingSlice = None,
    model: options.ModelName = defaults.MODEL,
    steps: Annotated[
        int | None,
        option(
            MODEL,
            "--steps",
            "--iterations",
            "-n",
            low=1,
            metavar=NUMBER,
            help="Number of iterations.",
            default="the preset's, 50",
        ),
    ] = None,
    preset: options.Preset = None,
    parameters: options.Parameters = None,
    out: Annotated[
        Path | None,
        option(OUTPUT, "--out", "-o", metavar=FOLDER, help="Folder of the adapted model. Required.", default=False),
    ] = None,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
    device: options.Device = "auto",
    seed: options.Seed = defaults.SEED,
    threads: options.Threads = None,
) -> None:
    """Adapt (fine-tune) the weights of a model on a pair, or on a table of pairs, and save it for similar images.

    (To improve the registration of one pair, use 'cnnreg register --iterations N'. 'cnnreg finetune' is another name of
    this command.)
    """
    if (pairs is None) == (fixed is None) or (fixed is None) != (moving is None):
        raise UsageError("give either FIXED and MOVING, or --pairs with a table")
    if out is None:
        raise UsageError("give the folder of the adapted model with -o")
    with progress.display(quiet=quiet) as shown:
        from cnnreg.interface.commands import adapt as run
        from cnnreg.watching import Watcher

        adapted = run(
            pairs or [(fixed, moving)],
            out,
            model=model,
            steps=steps,
            preset=preset,
            parameters=parameters,
            slice_index=slice_index,
            moving_slice=moving_slice,
            device=device,
            threads=threads,
            seed=seed,
            overwrite=overwrite,
            watcher=Watcher(shown.stage, shown.step, lambda steps: setattr(shown, "iterations", steps)),
        )
    if not quiet:
        total = adapted.config.adaptation.steps
        before, after = (adapted.history[i]["total"] for i in (0, adapted.best_step))
        console.say(f"cost {before:.3f} -> {after:.3f} (lower is better), best after {adapted.best_step} of {total}")
        console.say(f"wrote {shlex.quote(str(out))}")
        console.next_command("cnnreg", "register", "FIXED", "MOVING", "--model", out)


def _show(result: "Registration", written: list[Path]) -> None:
    """The table of a registration, what may surprise, and the files."""
    from cnnreg.pipeline.report import FIELD, PICTURE, how

    fixed, moving = (Path(name).name for name in result.request.names)
    title = f"{moving} registered to {fixed}\nmodel {result.model.card.name} on {result.device}\n{how(result)}"
    console.print_measures(title, result.measures, unreliable=MISLED if _contrasts_differ(result) else ())
    console.tell(f"initial transform: {result.initial.how}")
    if result.verdict:
        console.tell(_told(result.verdict))
    for note in _notes(result):
        console.tell(note)
    folder, names = written[0].parent, sorted((path.name for path in written), key=lambda name: name != PICTURE)
    console.say(f"wrote {', '.join(names)} to {shlex.quote(str(folder))}")
    if result.verdict and result.verdict.name == "failed":
        return
    apply = "cnnreg", "apply", folder / FIELD, "OTHER_IMAGE"
    console.next_command(*apply, why="--label for label maps, --points for landmarks")


def _told(verdict: "Verdict") -> str:
    """The verdict in words, and what can be tried."""
    from cnnreg.engine.verdict import advice

    words = {
        "good": "good",
        "check": "check: these images may not be aligned",
        "failed": "failed: these images are most likely not aligned",
    }
    lines = [f"verdict: {words[verdict.name]} (probability of success {verdict.probability:.2f})", *verdict.reasons]
    if further := advice(verdict):
        lines.append(f"what to do: {further}")
    return "\n  ".join(lines)


def _contrasts_differ(result: "Registration") -> bool:
    """Whether the metric is one for images of unlike contrast."""
    return bool(result.one_shot) and result.one_shot.similarity in {"mind", "mi", "learned"}  # type: ignore[union-attr]


def _notes(result: "Registration") -> list[str]:
    """What may surprise: images of different spacing, such as TIFFs that say 72 and 300 dpi; padding that was found."""
    notes = [f"note: {note}" for note in result.notes]
    fixed, moving = (" x ".join(f"{s:g}" for s in i.grid.spacing) for i in (result.pair.fixed, result.pair.moving))
    if fixed != moving:
        notes.append(f"note: compared in physical space; fixed pixels measure {fixed}, moving pixels {moving}")
    folded = list(result.measures.values())[-1]["folding_percent"]
    if folded > FOLDED:
        notes.append(
            f"note: the field folds: {folded:.1f} % of the pixels have a Jacobian determinant of 0 or less, which no "
            f"real deformation has; do not rely on it there"
        )
    if _contrasts_differ(result):
        notes.append("note: the contrasts of the images differ, so MAE and NCC are no guide to this pair; NMI is")
    if any(result.pair.padding):
        a, b = (f"{100 * share:.0f} %" for share in result.pair.padding)
        notes.append(f"note: padding was found and masked: {a} of the fixed, {b} of the moving image (--padding off)")
    return notes
