"""What a study found: the table, the paired comparisons, and which of the paper's findings hold. All computed."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cnnreg.study.cases import Case
from cnnreg.study.ledger import Results
from cnnreg.study.statistics import holm, interval, signed_rank

HIGHER_IS_BETTER = {"dsc"}
PAPERS = ("dsc", "cmd", "mad")  # the paper's measures
TITLES = {
    "dsc": "DSC",
    "cmd_px": "CMD [px]",
    "cmd_mm": "CMD [mm]",
    "hd95_px": "HD95 [px]",
    "hd95_mm": "HD95 [mm]",
    "mad": "MAD",
    "folding_percent": "folding [%]",
    "sd_log_jacobian": "SD log J",
    "seconds": "time [s]",
}
DIGITS = {"dsc": 4, "mad": 4, "folding_percent": 3, "sd_log_jacobian": 3}


@dataclass(frozen=True)
class Finding:
    """A statement of the paper: case ``left`` is, on the measures, one of ``expected`` than case ``right``."""

    left: str
    right: str
    expected: frozenset[str]
    statement: str


FINDINGS = [
    Finding(
        "c", "i", frozenset({"better", "level"}), "c >= i: trained on the target domain, at least as good as elastix"
    ),
    Finding("f", "c", frozenset({"worse"}), "f < c: trained on the source domain, worse than on the target domain"),
    Finding("a", "c", frozenset({"better"}), "a > c: one-shot to convergence improves the target model"),
    Finding("b", "c", frozenset({"better"}), "b > c: 50 one-shot steps improve the target model"),
    Finding(
        "d", "f", frozenset({"level", "worse"}), "d not > f: one-shot to convergence does not repair the source model"
    ),
    Finding("e", "f", frozenset({"level", "worse"}), "e not > f: 50 one-shot steps do not repair the source model"),
    Finding("g", "i", frozenset({"level"}), "g ~ i: from scratch to convergence, level with elastix"),
]


class Table:
    """Results by case and measure, for pairs of one cohort."""

    def __init__(self, results: Results, cases: Sequence[Case], groups: Sequence[str]) -> None:
        self.results, self.groups = results, groups
        self.cases = [case for case in cases if any(key == case.key for _, key in results)]
        self.unit = "mm" if any(block.get("cmd_mm") is not None for block in results.values()) else "px"

    def column(self, measure: str) -> str:
        """The measure's name in the results, with the unit for distances."""
        return f"{measure}_{self.unit}" if measure in {"cmd", "hd95"} else measure

    def values(self, case: str, measure: str) -> dict[int, float]:
        """By pair; pairs without a value are left out."""
        return {
            pair: value
            for (pair, key), block in sorted(self.results.items())
            if key == case and (value := block.get(measure)) is not None
        }

    def paired(self, left: str, right: str, measure: str) -> tuple[NDArray[np.float64], list[str]]:
        """Differences left - right on the pairs that both have, and these pairs' groups."""
        a, b = self.values(left, measure), self.values(right, measure)
        pairs = sorted(a.keys() & b.keys())
        return np.array([a[p] - b[p] for p in pairs]), [self.groups[p - 1] for p in pairs]

    def verdict(self, left: str, right: str, measure: str) -> tuple[str, str]:
        """ "better", "worse", "level" or "unknown", and the difference in words; by the 95 % interval of the mean."""
        differences, groups = self.paired(left, right, measure)
        if len(differences) < 2:
            return "unknown", "no pairs"
        low, high = interval(differences, groups)
        digits = DIGITS.get(measure, 2)
        words = f"{differences.mean():+.{digits}f} ({low:+.{digits}f} to {high:+.{digits}f}, n = {len(differences)})"
        if low <= 0 <= high:
            return "level", words
        return ("better" if (low > 0) == (measure in HIGHER_IS_BETTER) else "worse"), words


def result_rows(table: Table) -> list[str]:
    """Mean with interval and median of every measure, a line for each case."""
    measures = [table.column(m) for m in ("dsc", "cmd", "mad", "hd95", "folding_percent", "sd_log_jacobian", "seconds")]
    lines = ["| | case | n | " + " | ".join(TITLES[m] for m in measures) + " |", "|---" * (len(measures) + 3) + "|"]
    for case in table.cases:
        cells, count = [], 0
        for measure in measures:
            found = table.values(case.key, measure)
            count = max(count, len(found))
            cells.append(_cell(np.array(list(found.values())), [table.groups[p - 1] for p in found], measure))
        lines.append(f"| {case.key} | {case.title} | {count} | " + " | ".join(cells) + " |")
    return lines


def _cell(values: NDArray[np.float64], groups: list[str], measure: str) -> str:
    if len(values) == 0:
        return "-"
    digits = DIGITS.get(measure, 2)
    if measure == "seconds":
        return f"{np.median(values):.3g}"
    if measure in {"folding_percent", "sd_log_jacobian"}:
        return f"{values.mean():.{digits}f}"
    low, high = interval(values, groups)
    return f"{values.mean():.{digits}f} ({low:.{digits}f} to {high:.{digits}f}); {np.median(values):.{digits}f}"


def label_rows(table: Table, names: Sequence[str]) -> list[str]:
    """Mean DSC of each label."""
    lines = ["| | case | " + " | ".join(names) + " |", "|---" * (len(names) + 2) + "|"]
    for case in table.cases:
        columns = [list(table.values(case.key, f"dsc {name}").values()) for name in names]
        cells = [f"{np.mean(values):.4f}" if values else "-" for values in columns]
        lines.append(f"| {case.key} | {case.title} | " + " | ".join(cells) + " |")
    return lines


def comparison_rows(table: Table, reference: str) -> list[str]:
    """Every case minus ``reference`` on the pairs both have; p of Wilcoxon, Holm's correction over this table."""
    measures = [table.column(m) for m in PAPERS]
    others = [case.key for case in table.cases if case.key != reference]
    cells: list[tuple[str, str, str]] = []
    p_values = []
    for key in others:
        for measure in measures:
            differences, _ = table.paired(key, reference, measure)
            if len(differences) >= 2:
                cells.append((key, measure, table.verdict(key, reference, measure)[1]))
                p_values.append(signed_rank(differences))
    adjusted = {cell[:2]: (cell[2], p) for cell, p in zip(cells, holm(p_values), strict=True)}
    head = " | ".join(f"{TITLES[m]} | p" for m in measures)
    lines = [f"| minus {reference} | {head} |", "|---" * (2 * len(measures) + 1) + "|"]
    for key in others:
        row = [adjusted.get((key, m)) for m in measures]
        if any(row):
            lines.append(f"| {key} | " + " | ".join(f"{c[0]} | {_p(c[1])}" if c else "- | -" for c in row) + " |")
    return lines


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def finding_rows(table: Table) -> list[str]:
    """Which of the paper's findings hold, measure by measure."""
    lines = []
    for finding in FINDINGS:
        held, parts = [], []
        for name in PAPERS:
            measure = table.column(name)
            verdict, words = table.verdict(finding.left, finding.right, measure)
            if verdict == "unknown":
                continue
            held.append(verdict in finding.expected)
            parts.append(f"{TITLES[measure]} {verdict} {words}")
        if not held:
            lines.append(f"- {finding.statement}: **not tested** (a row is missing).")
            continue
        told = (
            "holds"
            if all(held)
            else "does not hold"
            if not any(held)
            else f"holds on {sum(held)} of {len(held)} measures"
        )
        lines.append(f"- {finding.statement}: **{told}**. {'; '.join(parts)}.")
    return lines
