"""The initial transform by descriptors: where the files put the images, or where most descriptors agree."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from cnnreg.engine.alignment import climb
from cnnreg.engine.matching import FINE, Features, Found, Matcher
from cnnreg.engine.views import Spacing, View, as_given, is_near, mirrored, stretched
from cnnreg.geometry.affine import Affine

PLAIN, SURE = 0.35, 0.38  # share of the matches that agree on a map: no other size is looked for; it is beyond doubt
LITTLE, FEW = 0.25, 24  # share of the matches, and their number: less is no evidence
LEAST = 1.0  # pixels of the coarser image: what moves less than this is left to the field
MORE = 1.1  # times the evidence for a map near to where the images are, for them to be moved
OTHER_SIZES = (0.5, 2.0)
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

    def anywhere(self, sizes: Sequence[float]) -> list[Found]:
        return [self.own(found) for found in self.matcher.anywhere(self.view.start, sizes=sizes)]

    def given(self, size: float) -> tuple[Found, Found]:
        """Where the files put the images, and the best map about there: the same if that is less than a pixel away.

        ``size`` is in moving pixels along a fixed pixel.
        """
        least = LEAST * max(1.0, 1 / size) * self.view.forth.size
        stay, near = self.matcher.closer(self.view.start, least=least)
        return self.own(stay), self.own(near)

    def near(self, affine: Affine) -> Found:
        """The best map about one between the images' own pixels."""
        return self.own(self.matcher.closer(self.view.drawn(affine))[1])

    def own(self, found: Found) -> Found:
        """Between the images' own pixels."""
        return replace(found, affine=self.view.back.after(found.affine).after(self.view.forth))

    def measured(self, found: Found) -> Found:
        """The map at a finer resolution, and fitted by the intensities where the descriptors do not object."""
        view, drawn = self.view, self.view.drawn(found.affine)
        best = self.matcher.closer(drawn, side=FINE)[1]
        climbed = climb(view.fixed, view.moving, [best.affine], kind=self.kind)[0].affine
        value = self.matcher.evidence(climbed, side=FINE)[0]
        if value.evidence > KEPT * best.evidence:
            best = value
        return replace(found, affine=self.own(best).affine)


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
    pair, first = (fixed, moving), _Look(as_given(fixed, moving, given, spacings), features, kind)
    with torch.inference_mode():
        stay, near = first.given(given.size)
        stay, found = replace(stay, affine=given), list[tuple[Found, _Look]]([(near, first)])
        if method == "auto" and near.share > PLAIN:
            if near.evidence < MORE * stay.evidence:
                return Answer(stay, stay, 0.0)
        else:
            for look, sizes in _ways(first, pair, given, spacings, mirror):
                found += [(one, look) for one in look.anywhere(sizes)]
                found.sort(key=lambda one: -one[0].evidence)
                if found[0][0].share > PLAIN:
                    break
            if found[0][0].share < SURE:
                found += [(first.near(affine), first) for affine in others()]
                found.sort(key=lambda one: -one[0].evidence)
        best, look = found[0]
        if best.share < LITTLE or best.matches < FEW:
            return None
        rivals = [one.evidence for one, _ in found if not is_near(one.affine, best.affine, fixed)]
        return Answer(look.measured(best), stay, max(rivals, default=0.0))


def _ways(
    first: _Look, pair: tuple[Tensor, Tensor], given: Affine, spacings: tuple[Spacing, Spacing], mirror: bool
) -> Iterator[tuple[_Look, list[float]]]:
    """Ways to look at a pair, the usual ones first, and the sizes to try in each."""
    rigid = first.kind == "rigid"
    yield first, [1.0]
    if not rigid:
        yield first, _other_sizes(first.view)
    if first.kind == "affine" and (view := stretched(*pair, spacings)):
        yield _Look(view, first.features, first.kind), [1.0]
    if mirror:
        yield _Look(mirrored(*pair, given, spacings), first.features, first.kind), [1.0]


def _other_sizes(view: View) -> list[float]:
    """Half and twice what the files say, and what fills the image, where that is another."""
    fill = (math.prod(view.moving.shape[2:]) / math.prod(view.fixed.shape[2:])) ** 0.5 / view.start.size
    sizes = [1.0]
    for size in (fill, *OTHER_SIZES, fill * OTHER_SIZES[0], fill * OTHER_SIZES[1]):
        if all(abs(math.log2(size / other)) > 0.5 for other in sizes):
            sizes.append(size)
    return sizes[1:]
