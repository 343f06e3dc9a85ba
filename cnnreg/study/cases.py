"""The rows of the study: the paper's ten cases (its Figure 1), then this tool's own presets and learned metric."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from cnnreg.errors import UsageError, unknown_name

TARGET, SOURCE = "target", "source"  # roles of the two data sets, and of the models trained on them


@dataclass(frozen=True)
class Case:
    """One way to register a pair."""

    key: str
    title: str
    kind: str  # network, elastix or none
    start: str | None = None  # the model's role
    preset: str = "paper"
    steps: int | None = 0  # one-shot; None: the preset's own
    long: bool = False  # takes a minute and more for each pair
    feature_steps: int | None = None  # on the representation, where the metric learned drives the field


def all_cases(convergence: int = 3000, quick: int = 50) -> list[Case]:
    """In the paper's order: (a) to (j), then each preset from both models and from none; last the metric learned.

    Its representation comes from elsewhere, as the source model does: alone, or after one-shot steps on the pair. In
    each case it drives as many iterations on the field as the preset default has.
    """
    ways = {
        f"one-shot to convergence ({convergence})": convergence,
        f"{quick} one-shot steps": quick,
        "alone": 0,
    }
    starts = {TARGET: "target model", SOURCE: "source model", None: "no pre-training"}
    papers = [(start, name, way) for start, name in starts.items() for way in ways if start or ways[way]]
    cases = [
        Case(letter, f"{name}, {way}", "network", start, "paper", ways[way], long=ways[way] == convergence)
        for letter, (start, name, way) in zip("abcdefgh", papers, strict=True)
    ]
    cases += [Case("i", "elastix", "elastix"), Case("j", "no registration", "none")]
    for own, steps in (("default", quick), ("fast", None), ("accurate", None)):
        cases += [
            Case(f"{own}-{start or 'none'}", f"{own} preset, {name}", "network", start, own, steps)
            for start, name in starts.items()
        ]
    one_shot = convergence // 10  # each shows the pair anew, in other contrasts
    for key, name, steps in (
        ("alone", "alone", 0),
        (f"{quick}", f"{quick} one-shot steps", quick),
        ("one-shot", f"{one_shot} one-shot steps", one_shot),
    ):
        case = Case(f"learned-{key}", f"metric learned, {name}", "network", None, "default", quick, feature_steps=steps)
        cases.append(replace(case, long=steps == one_shot))
    return cases


def choose(cases: Sequence[Case], wanted: str | None) -> list[Case]:
    """The cases named in a list like ``a,b,default``; a preset's name, or learned, stands for its three rows."""
    if not wanted:
        return list(cases)
    chosen = set()
    names = [case.key for case in cases] + ["default", "fast", "accurate", "learned"]
    for name in (part.strip() for part in wanted.split(",")):
        if name not in names:
            raise UsageError(unknown_name("row", name, names))
        chosen |= {case.key for case in cases if case.key == name or case.key.startswith(f"{name}-")}
    return [case for case in cases if case.key in chosen]
