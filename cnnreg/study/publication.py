"""What a study leaves for people: ``summary.md`` and the figure."""

from pathlib import Path
from typing import Any

from cnnreg.files import write_text
from cnnreg.study import figure
from cnnreg.study.cases import SOURCE, TARGET
from cnnreg.study.cohort import Cohort
from cnnreg.study.elastix import ElastixParameters
from cnnreg.study.summary import Table, comparison_rows, finding_rows, label_rows, result_rows

SUMMARY = "summary.md"


def publish(table: Table, cohorts: dict[str, Cohort], record: dict[str, Any], folder: Path) -> list[Path]:
    """Write all that has been computed so far, by this run or earlier ones."""
    source, target = cohorts[SOURCE], cohorts[TARGET]
    title = f"{target.name} (target), with {source.name} as source"
    pairs = {pair for pair, _ in table.results}
    patients = len({table.groups[pair - 1] for pair in pairs})
    chosen = record["decides"]["elastix"]
    sections = [
        f"# Study: {title}",
        f"{len(pairs)} test pairs{f' of {patients} patients' if target.group else ''}; {record['cores']} CPU cores, "
        f"device {record['device']}; registering took {record['seconds'] / 60:.0f} min. elastix: "
        + (f"{ElastixParameters(**chosen)}, by grid search on training pairs." if chosen else "not run."),
        "Mean (95 % bootstrap interval, drawn by patient); median. Folding and SD log J: mean. Time: median per pair, "
        "models loaded. CMD is the average symmetric surface distance (ASSD), MAD the mean absolute error (MAE) of "
        "images in [0, 1]. n differs where the long rows ran on a random part of the pairs: compare rows by the tables "
        "of differences, which use common pairs.",
        "\n".join(result_rows(table)),
    ]
    if target.labels:
        sections += ["## DSC by label", "\n".join(label_rows(table, list(target.labels.values())))]
    for reference in ("i", "c"):
        if any(case.key == reference for case in table.cases):
            sections += [
                f"## Differences from row {reference}",
                "Mean difference (95 % interval, by patient), and p of Wilcoxon's signed rank test over the pairs, "
                "Holm's correction over this table. Pairs of one patient are not independent: the intervals allow for "
                "that, p does not.",
                "\n".join(comparison_rows(table, reference)),
            ]
    sections += [
        "## The paper's findings on this data",
        "Level: the 95 % interval of the mean difference holds 0.",
        "\n".join(finding_rows(table)),
        "## Command",
        "```console\n" + "\n".join(dict.fromkeys(record["commands"])) + "\n```",
    ]
    write_text("\n\n".join(sections) + "\n", folder / SUMMARY)
    return [folder / SUMMARY, *(figure.draw(table, title, folder) if table.cases else [])]
