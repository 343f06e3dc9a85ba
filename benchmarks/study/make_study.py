"""Describe the two data sets of ``../shared/data`` for ``cnnreg study``, split by patient.

    python benchmarks/study/make_study.py ../shared/data STUDY

Writes the tables of train_models/make_tables.py and a description of each data set into STUDY. The test part is the
quarter of the patients that nothing was trained or chosen on.
"""

import subprocess
import sys
from pathlib import Path

CARDIAC = """\
name = "cardiac cine MR"
train = "cardiac-cine-mr-train.csv"
validation = "cardiac-cine-mr-val.csv"
test = "cardiac-cine-mr-test.csv"
group = "patient"
spacing = [1.25, 1.25]

[labels]
255 = "left ventricle"
"""

CHEST = """\
name = "chest X-ray"
train = "chest-xray-train.csv"
validation = "chest-xray-val.csv"
test = "chest-xray-test.csv"
group = "image_id"
mirror = true
size = 256
spacing = [1.4, 1.4]

[labels]
1 = "lung on the image's left"
2 = "lung on the image's right"
"""

if __name__ == "__main__":
    data, folder = Path(sys.argv[1]), Path(sys.argv[2])
    tables = Path(__file__).parents[1] / "train_models" / "make_tables.py"
    subprocess.run([sys.executable, str(tables), str(data), str(folder)], check=True)
    (folder / "cardiac.toml").write_text(CARDIAC, encoding="utf-8")
    (folder / "chest.toml").write_text(CHEST, encoding="utf-8")
    print(f"wrote {folder}/cardiac.toml and {folder}/chest.toml")
