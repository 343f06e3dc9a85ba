"""One-shot registration of a pair: the metric and the transform that suit it, and iterations by these."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor

from cnnreg.config import RefinementConfig
from cnnreg.engine.choice import choose
from cnnreg.engine.dense import dense
from cnnreg.engine.freeform import free_form
from cnnreg.engine.landmarks import Landmarks
from cnnreg.engine.outcome import Refinement
from cnnreg.engine.pyramid import Represent, pyramid
from cnnreg.errors import ConfigError
from cnnreg.watching import unwatched


def refine(
    fixed: Tensor,
    moving: Tensor,
    starts: Mapping[str, Tensor],
    *,
    steps: int,
    config: RefinementConfig,
    mask: Tensor | None = None,
    landmarks: tuple[Tensor, Tensor] | None = None,
    represent: Represent | None = None,
    tentative: bool = False,
    on_step: Callable[[int, Tensor], None] = unwatched,
) -> Refinement:
    """Register ``moving`` to ``fixed``, (B, 1, H, W) each in [0, 1], in ``steps`` iterations in all.

    Where the configuration leaves metric or transform to the pair, see :func:`cnnreg.engine.choice.choose`: if the
    images agree by chance only, the field stays 0. ``starts``, fields (B, 2, H, W), compete with the identity. The
    pairs of a batch do not influence each other. Only the pixels of ``mask``, (B, 1, H, W) of 0 and 1, count: as it
    does not move, nothing is gained by pushing what disagrees out of it. ``landmarks`` of a single pair, if their
    weight is not 0, are points (N, 2) of the fixed image and where they lie in the moving one, in pixels; those outside
    of the fixed image do not count. ``represent`` makes what the metric learned compares. ``tentative``, a single pair
    of the same contrast gets a field that held-out blocks do not bear out, too, and the result says so. ``on_step`` is
    told the number of iterations done and the last energy.
    """
    with torch.inference_mode(), _denormals_flushed(fixed):
        pulling = Landmarks.on(fixed, *landmarks) if landmarks and config.landmarks else None
        if config.similarity == "auto" and len(fixed) > 1:
            return _one_by_one(fixed, moving, starts, mask, represent, steps, config)
        chosen = choose(fixed, moving, mask, config, pulled=pulling is not None, tentative=tentative)
        if chosen.transform == "none":
            field, energy = fixed.new_zeros(len(fixed), 2, *fixed.shape[2:]), fixed.new_zeros(1, len(fixed))
            on_step(steps, energy[0])
            result = Refinement(field, ["identity"] * len(fixed), energy, [1])
        else:
            config = replace(config, similarity=chosen.similarity)
            run = free_form if chosen.transform == "bspline" else dense
            levels, size = pyramid(fixed, moving, mask, config, pulling, represent), (fixed.shape[2], fixed.shape[3])
            result = run(levels, starts, steps=steps, config=config, size=size, on_step=on_step)
    return replace(
        result,
        field=result.field.clone(),  # out of inference mode
        similarity=chosen.similarity,
        transform=chosen.transform,
        evidence=chosen.evidence,
        borne_out=chosen.borne_out,
    )


def _one_by_one(
    fixed: Tensor,
    moving: Tensor,
    starts: Mapping[str, Tensor],
    mask: Tensor | None,
    represent: Represent | None,
    steps: int,
    config: RefinementConfig,
) -> Refinement:
    """A batch whose metrics and transforms are chosen for each pair; they must come out alike."""
    results = [
        refine(
            fixed[i : i + 1],
            moving[i : i + 1],
            {name: start[i : i + 1] for name, start in starts.items()},
            steps=steps,
            config=config,
            mask=None if mask is None else mask[i : i + 1],
            represent=represent,
        )
        for i in range(len(fixed))
    ]
    if len({(r.similarity, r.transform) for r in results}) > 1:
        raise ConfigError("the pairs of a batch want different metrics or transforms; name one, or give them singly")
    return replace(
        results[0],
        field=torch.cat([r.field for r in results]),
        start=[name for r in results for name in r.start],
        energies=torch.cat([r.energies for r in results], 1),
        evidence="; ".join(r.evidence for r in results),
    )


@contextmanager
def _denormals_flushed(like: Tensor) -> Iterator[None]:
    """Blurred fields fade into denormal numbers, which a CPU handles many times slower; SciPy must not see the flag.

    It is of the calling thread; torch's other threads have it for good from :func:`cnnreg.devices.prepare_cpu`.
    """
    flushed = like.device.type == "cpu" and torch.set_flush_denormal(True)
    try:
        yield
    finally:
        if flushed:
            torch.set_flush_denormal(False)
