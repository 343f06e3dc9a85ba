"""Where the registration starts: the initial alignment of two images, searched for only where it is needed."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from cnnreg.engine import finding
from cnnreg.engine.alignment import Candidate, distance, ranked
from cnnreg.engine.matching import Features
from cnnreg.engine.views import Spacing, View, as_given, is_near, mirrored, stretched
from cnnreg.errors import ImageError
from cnnreg.geometry.affine import Affine, Array, Displacement
from cnnreg.geometry.decomposition import decompose
from cnnreg.images.image import Grid, index_map

METHODS = ("auto", "none", "center", "moments", "rigid", "similarity", "affine")
LEAST = 1.0  # pixels of the coarser image: what moves less than this is left to the field
GAIN = 1.3  # times the evidence for where the files put the images, and for any other place far away
STANDS_OUT = 1.6  # times the evidence for the best other place: chance does not do that
PLAIN, SETTLED = 0.4, 3.0  # a score that stands out, and times the other evidence: there is no need to look on
CHANCE = 0.03  # what is better by less than this may be so by chance, unless it stands out
MUCH = 0.12  # what is better by this is so although another place is nearly as good, as of a round thing
SOME = 3  # maps that the descriptors are asked about
POOR = 0.5  # share of the matches that agree: adapted descriptors may do better
NOTHING = "there is nothing in the images, or in their masks, by which to align them"


@dataclass(frozen=True)
class Initial:
    """An affine map between the pixels of the fixed and of the moving image, and why it was taken; or a field."""

    affine: Affine  # fixed pixels to moving pixels
    given: Affine  # where the files' own geometry puts them
    how: str
    field: Displacement | None = None  # instead of the affine map
    found: finding.Answer | None = None  # by descriptors

    @property
    def needed(self) -> bool:
        """Whether it differs from what the files say."""
        return self.field is not None or self.affine is not self.given

    @property
    def affine_needed(self) -> bool:
        """Whether there is an affine map to tell."""
        return self.affine is not self.given

    @property
    def mirrored(self) -> bool:
        """Whether it takes the one image for a mirror image of the other, against what the files say."""
        return self.affine.mirrors != self.given.mirrors

    @property
    def rival(self) -> float:
        """What speaks for the best other place, as a share of what speaks for this one."""
        found = self.found
        return found.elsewhere / max(found.best.evidence, 1e-9) if found and self.affine_needed else 0.0

    @property
    def map(self) -> Affine | Displacement | None:
        """What it does to the fixed image's pixels before they go where the files say, if anything."""
        return self.field or (self.given.inverse().after(self.affine) if self.needed else None)


def given_alignment(fixed: Grid, moving: Grid) -> Affine:
    """Fixed to moving pixels, as the files' geometry says."""
    return Affine(*index_map(fixed, moving))


def find_initial(
    fixed: Tensor,
    moving: Tensor,
    given: Affine,
    *,
    method: str,
    spacings: tuple[Spacing, Spacing] = ((1.0, 1.0), (1.0, 1.0)),
    mirror: bool = True,
    features: Features | None = None,
    adapt: Callable[[], Features] | None = None,
) -> Initial:
    """The initial alignment of (1, 2, H, W) and (1, 2, h, w): intensities in [0, 1] and masks, 1 where they count.

    "auto" lets what the files say, shifts of it and every turn at its size compete; where the images do not about lie
    on each other and none stands out, every size, the images stretched onto each other, and mirror images too (unless
    not ``mirror``). What the files say stays unless something is clearly better. "none" keeps it always. "center" lays
    the images' middles onto each other, "moments" the middles of their brightness. "rigid", "similarity" and "affine"
    search always. ``spacings`` are of rows and columns of either image. Where ``features`` are given, they are asked
    first, see :mod:`cnnreg.engine.finding`, and the orientations of edges only where these say too little. ``adapt``
    makes others for this very pair, which are asked where these say little, and believed where they say more.

    Raises:
        ImageError: if the images show nothing, and the method is "rigid", "similarity" or "affine".
    """
    if method == "none":
        return Initial(given, given, "identity (header geometry kept)")
    if method in {"center", "moments"}:
        middles = [_middle(image, by_brightness=method == "moments") for image in (fixed, moving)]
        shifted = Affine(given.matrix, middles[1] - given.matrix @ middles[0])
        return Initial(shifted, given, f"{'geometric centres' if method == 'center' else 'centres of mass'} aligned")
    looking = _Looking(fixed, moving, given, spacings, method, mirror)
    if features:
        asked = looking.by(features)
        if adapt and (asked is None or asked.best.share < POOR):
            again = looking.by(adapt())
            if again and (asked is None or again.best.evidence > finding.MORE * asked.best.evidence):
                asked = again
        if asked:
            return _by_descriptors(asked, given, fixed, method, spacings[0])
    found, in_place = looking.found
    if method != "auto":
        if not found[0].score:
            raise ImageError(NOTHING)
        return Initial(
            found[0].affine, given, f"{method} search: {describe(found[0].affine, given, fixed, spacings[0])}"
        )
    before = looking.as_given.score(given)
    best = _chosen(found, given, fixed, before, in_place)
    if best:
        told = f"score {before:.2f} -> {best.score:.2f}"
        return Initial(best.affine, given, f"searched: {describe(best.affine, given, fixed, spacings[0])}, {told}")
    if not before:
        return Initial(given, given, f"identity ({NOTHING})")
    why = "the images are already aligned" if in_place else "a search found nothing better"
    return Initial(given, given, f"identity ({why}; score {before:.2f})")


def _by_descriptors(found: finding.Answer, given: Affine, fixed: Tensor, method: str, spacing: Spacing) -> Initial:
    best, before = found.best, found.given
    if best.affine is given:
        how = f"identity (the images are already aligned; {best.share:.0%} of the descriptor matches agree)"
        return Initial(given, given, how, found=found)
    told = f"{before.share:.0%} -> {best.share:.0%} of the descriptor matches agree"
    way = "searched" if method == "auto" else f"{method} search"
    return Initial(best.affine, given, f"{way}: {describe(best.affine, given, fixed, spacing)}, {told}", found=found)


@dataclass(frozen=True)
class _Looking:
    """Candidates for a pair, looked for as far as there is need."""

    fixed: Tensor
    moving: Tensor
    given: Affine
    spacings: tuple[Spacing, Spacing]
    method: str
    mirror: bool

    def by(self, features: Features) -> finding.Answer | None:
        """The best map by descriptors."""
        return finding.find(
            self.fixed,
            self.moving,
            self.given,
            features,
            method=self.method,
            spacings=self.spacings,
            mirror=self.mirror,
            others=self.some,
        )

    @cached_property
    def as_given(self) -> View:
        return as_given(self.fixed, self.moving, self.given, self.spacings)

    def some(self) -> list[Affine]:
        """The best maps about the size that the files say."""
        return [candidate.affine for candidate in self._ranked(self.usual[0])[:SOME]]

    @cached_property
    def usual(self) -> tuple[list[Candidate], bool]:
        return self.as_given.near("affine" if self.method == "auto" else self.method)

    @cached_property
    def found(self) -> tuple[list[Candidate], bool]:
        """Candidates, best first, each unlike the others; and whether the images about lie on each other."""
        kind = "affine" if self.method == "auto" else self.method
        views = [self.as_given]
        if kind == "affine" and (other := stretched(self.fixed, self.moving, self.spacings)):
            views.append(other)
        found, in_place = self.usual
        found = self._ranked(found + [c for view in views[1:] for c in view.near(kind)[0]])
        if self.method == "auto" and (in_place or self._settled(found)):
            return found, in_place
        if self.mirror and not in_place:
            view = mirrored(self.fixed, self.moving, self.given, self.spacings)
            found = self._ranked(found + view.near(kind)[0])
            if self._settled(found):
                return found, in_place
        found = self._ranked(found + [c for view in views for c in view.anywhere(kind)])
        if not _stands_out(found, self.given, self.fixed):  # mirror images are rare
            found = [candidate for candidate in found if candidate.affine.mirrors == self.given.mirrors]
        return found, in_place

    def _ranked(self, found: list[Candidate]) -> list[Candidate]:
        return ranked(found, self.fixed)

    def _settled(self, found: list[Candidate]) -> bool:
        """Whether the best is so good that there is no need to look on."""
        plain = found[0].score > PLAIN and _stands_out(found, self.given, self.fixed)
        return plain or _stands_out(found, self.given, self.fixed, SETTLED)


def _chosen(found: list[Candidate], given: Affine, fixed: Tensor, before: float, in_place: bool) -> Candidate | None:
    """The candidate that is clearly better than where the files put the images, ``before``; None if none is."""
    stands_out = _stands_out(found, given, fixed)
    if in_place and not stands_out:
        found = [candidate for candidate in found if is_near(candidate.affine, given, fixed)]
    elif before and not _stands_out(found, given, fixed, GAIN) and found[0].score < before + MUCH:
        return None
    best = found[0] if found else Candidate(given, before)
    clear = stands_out or best.score > before + CHANCE
    better = clear and _evidence(best.score) > GAIN * _evidence(before)
    return best if better and distance(best.affine, given, fixed) > LEAST * max(1.0, 1 / given.size) else None


def _stands_out(found: list[Candidate], given: Affine, fixed: Tensor, by: float = STANDS_OUT) -> bool:
    """Whether the best is far above the next that is elsewhere; of a body that is nearly symmetrical, not mirrored."""
    if not found:
        return False
    best, usual = found[0].affine, found[0].affine.mirrors == given.mirrors
    others = [c for c in found[1:] if not is_near(c.affine, best, fixed)]
    others = [c for c in others if not usual or c.affine.mirrors == given.mirrors]
    return _evidence(found[0].score) > by * max((_evidence(c.score) for c in others), default=0.0)


def _evidence(score: float) -> float:
    """What is explained for what is not: 0.9 stands as high above 0.8 as 0.2 above 0.1."""
    return score / max(1 - score, 1e-3)


def describe(affine: Affine, given: Affine, fixed: Tensor, spacing: Spacing) -> str:
    """Rotation, scale and translation against what the files say; of mirror images, after the mirroring."""
    height, width = fixed.shape[2:]
    return str(decompose(given.inverse().after(affine), (height, width), (spacing[0], spacing[1])))


def _middle(image: Tensor, *, by_brightness: bool) -> Array:
    height, width = image.shape[2:]
    if not by_brightness:
        return np.array([(height - 1) / 2, (width - 1) / 2])
    rim = torch.cat([image[0, 0, [0, -1]].flatten(), image[0, 0, :, [0, -1]].flatten()])
    weight = (image[0, 0] - rim.median()).abs().double().numpy()
    rows, columns = np.mgrid[:height, :width]
    return np.array([(weight * rows).sum(), (weight * columns).sum()]) / max(weight.sum(), 1e-12)
