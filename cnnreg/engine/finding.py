"""The initial transform by descriptors: where the files put the images, or where most descriptors agree."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from cnnreg.engine.alignment import LEVELS, climb
from cnnreg.engine.consensus import Found
from cnnreg.engine.matching import COARSE, Features, Laid, Matcher
from cnnreg.engine.views import Spacing, View, as_given, is_near, stretched
from cnnreg.geometry.affine import Affine

PLAIN, SURE = (
    0.35,
    0.38,
)  # share of the matches that agree where the images are, for that to be enough; and beyond doubt
ONE_WAY = 0.6  # from which on no other way is looked in: of round and of symmetric things, wrong maps may come to .5
RARE = 1.25  # times the evidence that a mirror image needs
LITTLE, FEW = 0.25, 24  # share of the matches, and their number: less is no evidence
LEAST = 1.0  # pixels of the coarser image: what moves less than this is left to the field
MORE = 1.1  # times the evidence for a map near to where the images are, for them to be moved
OTHER_SIZES = (0.5, 2.0)
FINER = 2 * COARSE  # pixels of the longer side, for the last look
LOOKED_AT, WORTH = 5, 0.6  # maps of each way, if the coarse evidence is this part of the most of any
KEPT = 0.97  # of the evidence that a map must keep when it is fitted by the intensities


@dataclass(frozen=True)
class Answer:
    """What was found, and where the files put the images; maps between the images' own pixels."""

    best: Found
    given: Found
    elsewhere: float  # evidence for the best other place that was looked at; 0 if there was no need to look


class _Look:
    """A way to look at the pair, and the matches in it."""

    def __init__(self, view: View, features: Features, kind: str) -> None:
        self.view, self.features, self.kind = view, features, kind
        self.matcher = Matcher(view.fixed, view.moving, features, kind=kind)

    def laid(self, affine: Affine) -> "_Candidate":
        """By a map between the drawn images."""
        return _Candidate(self, self.matcher.laid(affine))

    def mirrors(self, affine: Affine) -> bool:
        """Whether a map between the drawn images mirrors what the files do not."""
        return bool(np.linalg.det(affine.matrix) * np.linalg.det(self.view.start.matrix) < 0)

    def measured(self, affine: Affine) -> Affine:
        """The map at a finer resolution, and fitted by the intensities where the descriptors do not object."""
        view = self.view
        best, explained = self.matcher.measured(affine)
        climbed = climb(view.fixed, view.moving, [best], kind=self.kind, levels=LEVELS[-1:])[0].affine
        return view.own(climbed if explained(climbed) > KEPT * explained(best) else best)


@dataclass(frozen=True)
class _Candidate:
    """A map, and what speaks for it."""

    look: _Look
    laid: Laid
    fitted: bool = False

    @property
    def evidence(self) -> float:
        """As one map weighs against another."""
        found = self.laid.found
        return found.evidence / (RARE if self.look.mirrors(found.affine) else 1.0)

    @property
    def found(self) -> Found:
        """Between the images' own pixels."""
        return replace(self.laid.found, affine=self.look.view.own(self.laid.found.affine))

    def closer(self, least: float = 0.0) -> "_Candidate":
        """Fitted to its matches, once."""
        return self if self.fitted else _Candidate(self.look, self.look.matcher.closer(self.laid, least=least), True)

    def measured(self) -> Found:
        return replace(self.found, affine=self.look.measured(self.laid.found.affine))


@dataclass(frozen=True)
class _Way:
    """Where to look for maps, and for which."""

    look: _Look
    sizes: Sequence[float] = (1.0,)
    mirrored: bool = False
    side: int = COARSE
    enough: float = ONE_WAY  # share of the matches that agree on a map found before, from which on there is no need

    def found(self) -> list[Found]:
        """Maps between the drawn images, best first."""
        look = self.look
        return look.matcher.anywhere(look.view.start, sizes=self.sizes, mirrored=self.mirrored, side=self.side)


def find(
    fixed: Tensor,
    moving: Tensor,
    given: Affine,
    features: Features,
    *,
    method: str,
    spacings: tuple[Spacing, Spacing],
    mirror: bool,
    others: Callable[[], list[Affine]],
) -> Answer | None:
    """The best map by descriptors; None where they say too little. Arguments as of :func:`find_initial`.

    ``others`` are candidates from elsewhere, asked for where no map is beyond doubt.
    """
    kind = "affine" if method == "auto" else method
    first = _Look(as_given(fixed, moving, given, spacings), features, kind)
    with torch.inference_mode():
        start = first.laid(first.view.start)
        near = start.closer(LEAST * max(1.0, 1 / given.size) * first.view.forth.size)
        stay = replace(start.found, affine=given)
        if method == "auto" and near.found.share > PLAIN and near.evidence < MORE * stay.evidence:
            return Answer(stay, stay, 0.0)
        ranked = [near]
        if method != "auto" or near.found.share <= PLAIN:
            ranked = _searched(near, _ways(first, (fixed, moving), spacings, mirror), others)
        best = ranked[0]
        if best.found.share < LITTLE or best.found.matches < FEW:
            return None
        rivals = [one.evidence for one in ranked if not is_near(one.found.affine, best.found.affine, fixed)]
        return Answer(best.measured(), stay, max(rivals, default=0.0))


def _searched(near: _Candidate, ways: Iterator[_Way], others: Callable[[], list[Affine]]) -> list[_Candidate]:
    """Candidates, best first, of all ways that are worth it; and ``near``."""
    ranked, most = [near], 0.0
    for way in ways:
        if ranked[0].found.share > way.enough:
            continue
        found = way.found()[:LOOKED_AT]
        most = max([most, *(one.evidence for one in found)])
        ranked = _closer(ranked, way.look, [one.affine for one in found if one.evidence > WORTH * most])
    first = near.look
    if ranked[0].found.share < SURE:
        ranked = _closer(ranked, first, [first.view.drawn(affine) for affine in others()])
    if ranked[0].found.share < LITTLE:  # some images have only finer details
        ranked = _closer(ranked, first, [one.affine for one in _Way(first, side=FINER).found()[:LOOKED_AT]])
    return ranked


def _closer(ranked: list[_Candidate], look: _Look, affines: list[Affine]) -> list[_Candidate]:
    """With some more, best first, and the best fitted to its matches."""
    candidates = ranked + [look.laid(affine) for affine in affines]
    first, *others = sorted(candidates, key=lambda one: -one.evidence)
    return [first.closer(), *others]


def _ways(first: _Look, pair: tuple[Tensor, Tensor], spacings: tuple[Spacing, Spacing], mirror: bool) -> Iterator[_Way]:
    """The usual ones first."""
    yield _Way(first, enough=1.0)
    if first.kind != "rigid":
        yield _Way(first, _other_sizes(first.view))
    if first.kind == "affine" and (view := stretched(*pair, spacings)):
        yield _Way(_Look(view, first.features, first.kind))
    if mirror:
        yield _Way(first, mirrored=True, enough=ONE_WAY)


def _other_sizes(view: View) -> list[float]:
    """Half and twice what the files say, and what fills the image, where that is another."""
    fill = (math.prod(view.moving.shape[2:]) / math.prod(view.fixed.shape[2:])) ** 0.5 / view.start.size
    sizes = [1.0]
    for size in (fill, *OTHER_SIZES, fill * OTHER_SIZES[0], fill * OTHER_SIZES[1]):
        if all(abs(math.log2(size / other)) > 0.5 for other in sizes):
            sizes.append(size)
    return sizes[1:]
