"""``cnnreg register``: two image files in, a registered pair out."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from cnnreg.adaptation import Terms, adapt
from cnnreg.config import InputConfig
from cnnreg.dataset import Pair, PairFiles, Points, load_pair, make_pair, read_landmarks
from cnnreg.devices import resolve_device, use_threads
from cnnreg.evaluation import Evidence, Measures, measure
from cnnreg.fields import resize
from cnnreg.image import Image
from cnnreg.modelstore import Model
from cnnreg.pipeline.setup import Setup, Stopwatch, Watch, load, working_inputs
from cnnreg.transform import warp_image
from cnnreg.watching import unwatched


@dataclass(frozen=True)
class Registration:
    """A registered pair: the deformation, and all that a report tells about it."""

    files: PairFiles
    points: tuple[Path, Path] | None
    pair: Pair
    field: Tensor  # (1, 2, H, W) on the fixed grid, in its pixels
    warped: Image
    measures: dict[str, Measures]  # before, prediction, adaptation
    history: list[Terms]
    best_step: int
    model: Model
    setup: Setup  # with the configuration as it was resolved
    device: str
    threads: int
    seconds: dict[str, float]


def register(
    files: PairFiles,
    setup: Setup,
    *,
    points: tuple[Path, Path] | None = None,
    slice_index: int | None = None,
    on_step: Watch = unwatched,
) -> Registration:
    """Predict with the network, adapt it to the pair if asked to, warp once, measure.

    ``points`` are two files of landmarks, of the fixed and of the moving image.
    """
    watch = Stopwatch()
    device, threads = resolve_device(setup.device), use_threads(setup.threads)
    with watch("model"):
        model, config = load(setup)
    with watch("read"):
        pair = load_pair(files, config.input, slice_index=slice_index)
        evidence = gather(pair, read_landmarks(*points) if points else None)
        inputs = working_inputs(pair, config, device)
    size = pair.fixed.grid.size
    with watch("predict"), torch.no_grad():
        network = model.network.to(device)
        field = resize(network(*inputs), size).cpu()
    with watch("measure"):
        measures = {"before": measure(evidence, None), "prediction": measure(evidence, field)}
    history: list[Terms] = []
    best_step = 0
    if config.adaptation.steps:
        with watch("adapt"), torch.no_grad():
            adapted = adapt(network, [inputs], config=config, on_step=on_step)
            field = resize(adapted.network(*inputs), size).cpu()
            history, best_step = adapted.history, adapted.best_step
        with watch("measure"):
            measures["adaptation"] = measure(evidence, field)
    with watch("warp"):
        warped = warp_image(pair.moving, field, pair.fixed.grid)
    resolved = replace(setup, config=config)
    return Registration(
        files,
        points,
        pair,
        field,
        warped,
        measures,
        history,
        best_step,
        model,
        resolved,
        device,
        threads,
        watch.seconds,
    )


def gather(pair: Pair, landmarks: tuple[Points, Points] | None) -> Evidence:
    """What the pair can be measured with; MAD and NCC do not depend on how a model likes its intensities."""
    plain = make_pair(pair.fixed, pair.moving, InputConfig())
    points_fixed, points_moving = landmarks or (None, None)
    return Evidence(
        pair.fixed.grid,
        pair.moving.grid,
        plain.fixed_input,
        plain.moving_input,
        pair.seg_fixed,
        pair.seg_moving,
        points_fixed,
        points_moving,
    )
