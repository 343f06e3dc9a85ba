"""The study's figure: box plots of every case, arranged as in the paper's Figure 1."""

from pathlib import Path
from typing import Any

from cnnreg.errors import UsageError
from cnnreg.files import replacing
from cnnreg.study.cases import SOURCE, TARGET, Case
from cnnreg.study.summary import TITLES, Table

INKS = {
    TARGET: "#009E73",
    SOURCE: "#D55E00",
    None: "#56B4E9",
}  # of Okabe and Ito, which colour-blind readers tell apart
HATCHES = {TARGET: "", SOURCE: "///", None: "..."}  # for print in grey
NAMES = {TARGET: "model of the target domain", SOURCE: "model of the source domain", None: "no model"}
GREY = "#999999"
FILES = ("figure.png", "figure.pdf")


def require() -> None:
    """Make sure, before any work, that the figure can be drawn."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise UsageError("the study's figure needs Matplotlib: pip install 'cnnreg[study]'") from None


def draw(table: Table, title: str, folder: Path) -> list[Path]:
    """Write ``figure.png`` and ``figure.pdf``: DSC, CMD, MAD and folding, a box for each case."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.backends.backend_pdf import FigureCanvasPdf
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 7.6), layout="constrained")
    axes = figure.subplots(2, 2).ravel()
    for axis, measure in zip(axes, (table.column(m) for m in ("dsc", "cmd", "mad", "folding_percent")), strict=True):
        boxes = [(case, list(table.values(case.key, measure).values())) for case in table.cases]
        boxes = [(case, values) for case, values in boxes if values]
        if not boxes:
            axis.set_axis_off()
            continue
        places = _places([case for case, _ in boxes])
        drawn = axis.boxplot(
            [values for _, values in boxes],
            positions=places,
            widths=0.66,
            patch_artist=True,
            medianprops={"color": "black", "linewidth": 1.4},
            flierprops={"marker": ".", "markersize": 3},
        )
        for patch, (case, _) in zip(drawn["boxes"], boxes, strict=True):
            patch.set(facecolor=_ink(case), hatch=_hatch(case))
        axis.set_xticks(places, [case.key.split("-")[0] for case, _ in boxes])
        for text, (case, _) in zip(axis.get_xticklabels(), boxes, strict=True):
            text.set_rotation(90 if case.preset != "paper" else 0)
        axis.set_title(
            TITLES[measure] + (" (higher is better)" if measure == "dsc" else " (lower is better)"), fontsize=11
        )
        axis.grid(axis="y", alpha=0.3)
        axis.tick_params(labelsize=9)
        if measure == "folding_percent" and max(max(values) for _, values in boxes) > 0:
            axis.set_yscale("symlog", linthresh=0.01)
            axis.set_ylim(bottom=0)
    figure.suptitle(title, fontsize=12)
    figure.legend(
        handles=_legend(table.cases),
        title="a d g: one-shot to convergence, b e h: 50 iterations, c f: prediction alone, i: elastix, "
        "j: no registration",
        loc="outside lower center",
        ncols=4,
        fontsize=9,
        title_fontsize=9,
        frameon=False,
    )
    paths = []
    for kind, canvas in (("png", FigureCanvasAgg), ("pdf", FigureCanvasPdf)):
        path = folder / f"figure.{kind}"
        canvas(figure)
        with replacing(path) as temporary:
            figure.savefig(temporary, dpi=200, format=kind)
        paths.append(path)
    return paths


def _places(cases: list[Case]) -> list[float]:
    """One place a case, with a gap between the paper's groups, and before this tool's own rows."""
    places, at = [], 0.0
    for before, case in zip([None, *cases], cases, strict=False):
        at += 1.0 if before is None or _group(before) == _group(case) else 1.6
        places.append(at)
    return places


def _group(case: Case) -> tuple[str, str]:
    own = case.preset if case.preset != "paper" else "paper"
    return own, (f"{case.kind}{case.start}" if own == "paper" else "")


def _ink(case: Case) -> str:
    return INKS[case.start] if case.kind == "network" else GREY


def _hatch(case: Case) -> str:
    return HATCHES[case.start] if case.kind == "network" else ""


def _legend(cases: list[Case]) -> list[Any]:
    """A box for each kind of model, and one for what is no network, where there is one."""
    from matplotlib.patches import Patch

    starts = [start for start in INKS if any(c.kind == "network" and c.start == start for c in cases)]
    boxes = [Patch(facecolor=INKS[s], hatch=HATCHES[s], edgecolor="black", label=NAMES[s]) for s in starts]
    if any(case.kind != "network" for case in cases):
        boxes.append(Patch(facecolor=GREY, edgecolor="black", label="elastix, or no registration"))
    return boxes
