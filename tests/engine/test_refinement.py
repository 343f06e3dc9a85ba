"""One-shot registration on the field: known deformations, no folds, starts that cannot hurt, batches, symmetry."""

import platform
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from cnnreg.config import RefinementConfig
from cnnreg.engine.dense import split, step_factor, without_folds
from cnnreg.engine.outcome import Refinement
from cnnreg.engine.pyramid import Level
from cnnreg.engine.refinement import refine
from cnnreg.geometry.fields import Warper, invert, jacobian_determinant, pixel_grid, warp
from tests.conftest import smooth_image

CONFIG = RefinementConfig()
SIZE = (90, 123)


def image(seed: int, size: tuple[int, int] = SIZE, scale: float = 3.0) -> torch.Tensor:
    return torch.from_numpy(smooth_image(size, seed=seed, scale=scale))[None, None]


def smooth_field(seed: int, length: float, size: tuple[int, int] = SIZE) -> torch.Tensor:
    """Of ``length`` pixels at most, and smooth."""
    rough = torch.randn(1, 2, 4, 5, generator=torch.Generator().manual_seed(seed))
    field = F.interpolate(rough, size=size, mode="bicubic", align_corners=False)
    return field * (length / field.norm(dim=1).max())


def known_pair(
    seed: int, length: float, size: tuple[int, int] = SIZE
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """fixed, moving, and the field that makes the one of the other."""
    moving, field = image(seed, size), smooth_field(seed, length, size)
    return warp(moving, field), moving, field


def run(
    fixed: torch.Tensor, moving: torch.Tensor, steps: int = 50, *, similarity: str = "lncc", **starts: torch.Tensor
) -> Refinement:
    return refine(fixed, moving, starts, steps=steps, config=RefinementConfig(similarity=similarity))


def folds(field: torch.Tensor) -> int:
    return int((jacobian_determinant(field) <= 0).sum())


@pytest.mark.parametrize("similarity", ["lncc", "ncc", "mse", "mi", "mind"])
@pytest.mark.parametrize("size", [(90, 123), (64, 201), (37, 45), (300, 266)])
def test_a_known_deformation_is_found(size, similarity):
    """Odd sizes, one to four levels, with and without blocks of pixels: most of a smooth deformation is recovered."""
    fixed, moving, truth = known_pair(1, 5.0, size)
    result = run(fixed, moving, similarity=similarity)
    inner = (slice(None), slice(None), slice(8, -8), slice(8, -8))
    error = (result.field - truth)[inner].norm(dim=1).mean()
    # Descriptors of MIND are five pixels wide; bending energy holds back what is an eighth of the shorter side.
    share = {"mind": 0.35, "mi": 0.4}.get(similarity, 0.25) if min(size) < 40 else 0.25
    assert error < share * truth[inner].norm(dim=1).mean()
    assert result.field.shape == truth.shape
    assert folds(result.field) == 0


@pytest.mark.parametrize("similarity", ["mi", "mind"])
def test_contrast_may_be_inverted(similarity):
    """Most of the deformation is recovered although dark has become bright; correlation goes astray."""
    fixed, moving, truth = known_pair(1, 5.0, (120, 150))
    inner = (slice(None), slice(None), slice(8, -8), slice(8, -8))

    def left(name: str) -> float:
        field = run(fixed, 1 - moving, similarity=name).field
        assert folds(field) == 0
        return ((field - truth)[inner].norm(dim=1).mean() / truth[inner].norm(dim=1).mean()).item()

    assert left(similarity) < 0.3
    assert left("lncc") > 1


def test_only_the_mask_counts():
    """What is outside pulls nowhere: another image there leaves the field inside as it was."""
    fixed, moving, truth = known_pair(3, 4.0, (120, 150))
    mask = torch.zeros_like(fixed)
    mask[..., :80] = 1
    other = torch.where(mask > 0, moving, image(9, (120, 150)))
    fields = [refine(fixed, m, {}, steps=50, config=CONFIG, mask=mask).field for m in (moving, other)]
    inner = (slice(None), slice(None), slice(8, -8), slice(8, 60))
    for field in fields:
        assert (field - truth)[inner].norm(dim=1).mean() < 0.3 * truth[inner].norm(dim=1).mean()
        assert folds(field) == 0
    assert (fields[0] - fields[1])[inner].norm(dim=1).mean() < 0.3


def test_a_whole_shift_is_found_to_a_tenth_of_a_pixel():
    """Direction and units: a point of the fixed image goes to the moving image, rows first."""
    moving = image(2, (128, 160))
    fixed = torch.roll(moving, (-2, 3), (2, 3))
    field = run(fixed, moving).field[..., 16:-16, 16:-16]
    assert_close(field.median(dim=3).values.median(dim=2).values, torch.tensor([[2.0, -3.0]]), atol=0.1, rtol=0)


def test_an_aligned_pair_stays():
    """An image laid onto itself, flat parts included: not a thousandth of a pixel, however many steps."""
    still = image(3).clone()
    still[..., :50] = 0.4
    assert run(still, still, 200).field.abs().max() < 1e-3
    assert run(torch.zeros(1, 1, 40, 50), torch.zeros(1, 1, 40, 50)).field.abs().max() == 0


@pytest.mark.parametrize(("steps", "length"), [(50, 20.0), (500, 5.0), (12, 20.0)])
def test_nothing_folds(steps, length):
    """Deformations that no smooth map can make, from noise and from far apart."""
    moving = image(4)
    fixed = warp(image(5), smooth_field(6, length))
    assert folds(run(fixed, moving, steps).field) == 0


@pytest.mark.parametrize("threads", [1, 2])
def test_the_loop_keeps_to_the_thread_count(threads):
    """Neither the warp's strips nor anything else changes it, and the result is the same."""
    fixed, moving, _ = known_pair(12, 5.0, (140, 150))
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        assert Warper(fixed).strips <= threads
        field = run(fixed, moving).field
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert_close(field, run(fixed, moving).field, atol=1e-3, rtol=0)


def test_folds_are_smoothed_out_and_only_they():
    """A field with a fold in one corner loses it; the other corner is not touched."""

    level = Level(image(0, (88, 88)), image(0, (88, 88)), CONFIG)
    field = torch.zeros(1, 2, 88, 88)
    field[:, 1, 10:30, 18:20] = -4.0
    assert folds(field) > 0
    mended = without_folds(field, level, (88, 88))
    assert folds(mended) == 0
    assert mended[..., 60:, 60:].abs().max() < 1e-3
    straight = smooth_field(1, 2.0, (88, 88))
    assert torch.equal(without_folds(straight, level, (88, 88)), straight)


def test_a_good_start_wins_and_a_bad_one_cannot_hurt():
    """The report names the winner, and a start that lost leaves no trace."""
    fixed, moving, truth = known_pair(7, 9.0, (128, 150))
    alone = run(fixed, moving)
    assert alone.start[0] in {"identity", "coarse"}
    assert run(fixed, moving, network=truth).start == ["network"]
    hurt = run(fixed, moving, network=smooth_field(9, 15.0, (128, 150)))
    assert hurt.start == alone.start
    assert torch.equal(hurt.field, alone.field)


def test_more_iterations_lower_the_energy():
    """At every level the energy ends below where it began, and N = 50 ends below N = 10."""
    fixed, moving, _ = known_pair(10, 6.0, (128, 150))
    energies = []
    for steps in (10, 50):
        result = run(fixed, moving, steps)
        assert result.energies.shape == (steps, 1)
        assert len(result.levels) == steps
        for level in set(result.levels):
            mine = [e for e, one in zip(result.energies[:, 0].tolist(), result.levels, strict=True) if one == level]
            assert mine[-1] <= mine[0] + 1e-4
        energies.append(result.energies[-1].item())
    assert energies[1] < energies[0]


def test_pairs_of_a_batch_do_not_influence_each_other():
    """The same fields as one by one, within a thousandth of a pixel, and each pair its own start."""
    pairs = [known_pair(11, 4.0, (128, 150)), known_pair(7, 9.0, (128, 150))]
    truth = torch.cat([smooth_field(3, 20.0, (128, 150)), pairs[1][2]])
    fixed, moving = (torch.cat([pair[i] for pair in pairs]) for i in (0, 1))
    both = run(fixed, moving, network=truth)
    assert both.start[1] == "network" != both.start[0]
    for i, (f, m, _) in enumerate(pairs):
        single = run(f, m, network=truth[i : i + 1])
        assert single.start == [both.start[i]]
        assert_close(both.field[i : i + 1], single.field, atol=1e-3, rtol=0)
        assert_close(both.energies[:, i], single.energies[:, 0], atol=1e-5, rtol=0)


def test_mirror_images_get_mirrored_fields():
    """Nothing prefers a direction: flipping both images along both axes flips the field, sides multiples of 32."""
    fixed, moving, _ = known_pair(13, 5.0, (96, 128))
    field = run(fixed, moving).field
    flipped = run(fixed.flip(2, 3), moving.flip(2, 3)).field
    assert_close(-flipped.flip(2, 3), field, atol=0.02, rtol=0)


def test_gain_and_offset_do_not_matter():
    """Local correlation sees neither; only the variance floor and the size of edges do, a little."""
    fixed, moving, truth = known_pair(14, 5.0)
    errors = [(run(f, moving).field - truth).norm(dim=1).mean() for f in (fixed, 0.6 * fixed + 0.3)]
    assert abs(errors[0] - errors[1]) < 0.1


def test_what_was_given_is_not_changed_and_reruns_are_equal():
    fixed, moving, truth = known_pair(15, 5.0)
    copies = [x.clone() for x in (fixed, moving, truth)]
    first, second = run(fixed, moving, network=truth), run(fixed, moving, network=truth)
    assert all(torch.equal(a, b) for a, b in zip((fixed, moving, truth), copies, strict=True))
    assert torch.equal(first.field, second.field)


def test_denormal_numbers_are_flushed_in_the_loop_only():
    """SciPy's trees do not survive the flag."""
    tiny = torch.tensor([1e-40])
    run(*known_pair(16, 2.0)[:2], steps=2)
    assert (tiny * 0.5).item() > 0


def in_a_new_process(code):
    """What it prints: threads and memory are settled once in a process."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [float(word) for word in done.stdout.split()]


def test_no_thread_computes_with_denormal_numbers():
    """The calling thread only does so outside the iterations."""
    code = """
import torch
from cnnreg.devices import prepare_cpu
from cnnreg.engine.refinement import _denormals_flushed
prepare_cpu(2)
tiny = torch.tensor([1 << 20], dtype=torch.int32).expand(1 << 20).contiguous().view(torch.float32)
def left():
    return [(half.view(torch.int32) != 0).float().mean().item() for half in (tiny * 0.5).chunk(2)]
print(*left())
with _denormals_flushed(tiny):
    print(*left())
"""
    assert in_a_new_process(code) == [1, 0, 0, 0]


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="counts on glibc")
def test_iterations_reuse_their_memory():
    """Where glibc hands every buffer back at once, which is how it begins, the same pages are kept all the same."""
    code = """
import ctypes, resource, torch
ctypes.CDLL(None).mallopt(-3, 1 << 17)
from cnnreg import devices
from cnnreg.config import RefinementConfig
from cnnreg.engine.refinement import refine
if {handed_back}:
    devices._keep_memory = lambda: None
devices.prepare_cpu(1)
images = torch.rand(2, 1, 1, 512, 512)
faults = []
for _ in range(5):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    refine(*images, {{}}, steps=20, config=RefinementConfig())
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(min(faults[1:]))  # now and then the heap is laid out anew
"""
    kept, handed_back = (in_a_new_process(code.format(handed_back=choice))[0] for choice in (False, True))
    assert kept < handed_back / 10


@pytest.mark.parametrize("levels", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("steps", [1, 2, 3, 7, 10, 12, 50, 200, 501])
def test_iterations_are_split_over_the_levels(steps, levels):
    """All of them, none negative; full resolution gets none or at least two."""
    counts = split(steps, levels)
    assert (len(counts), sum(counts)) == (levels, steps)
    assert min(counts) >= 0
    assert levels == 1 or counts[0] != 1


def test_step_factor():
    assert [step_factor(n) for n in (1, 12, 50, 100, 200, 400)] == pytest.approx([2, 2, 1, 0.5**0.5, 0.5, 0.25])


@pytest.mark.parametrize("size", [(16, 16), (17, 40), (2, 3), (5, 64)])
def test_small_images(size):
    """From a few pixels on."""
    result = run(torch.rand(1, 1, *size), torch.rand(1, 1, *size), 5)
    assert result.field.shape == (1, 2, *size)
    assert result.field.isfinite().all()


@pytest.mark.parametrize("batch", [1, 3])
def test_the_fast_warp_is_the_warp(batch):
    """Strips and batches; inside and beyond the image."""
    pixels = torch.rand(batch, 2, 130, 150)
    field = 6 * torch.randn(batch, 2, 130, 150)
    assert_close(Warper(pixels)(pixels, field), warp(pixels, field), atol=1e-4, rtol=0)


def test_strong_compression_is_inverted():
    """A field of slope -0.95, on which fixed-point iteration crawls: Newton's is exact in the interior."""
    x = pixel_grid(torch.empty(1, 1, 40, 120))[:, 1:]
    wave = 0.95 * 12 * torch.sin((x - 60) / 12)
    inverse, residual = invert(torch.cat([torch.zeros_like(wave), wave], 1))
    assert residual[..., 15:-15].max() < 1e-3
    assert inverse.abs().max() > 5


@pytest.mark.gpu
def test_cuda_gives_the_same_field_and_never_waits():
    """Within a fiftieth of a pixel of the CPU; the iterations do not synchronise with the host."""
    from cnnreg.engine.dense import climb

    fixed, moving, _ = known_pair(17, 5.0, (256, 256))
    assert_close(run(fixed.cuda(), moving.cuda()).field.cpu(), run(fixed, moving).field, atol=0.02, rtol=0)
    level = Level(fixed.cuda(), moving.cuda(), CONFIG)
    list(climb(level, level.identity, 1, CONFIG, step=1.0))
    torch.cuda.set_sync_debug_mode("error")
    try:
        list(climb(level, level.identity, 5, CONFIG, step=1.0))
    finally:
        torch.cuda.set_sync_debug_mode("default")
