"""Train the shipped model contrast-2d: on single images only, two contrasts of each.

    python benchmarks/train_models/representation.py ../shared/data CACHE OUT [--resume]
    python benchmarks/train_models/representation.py ../shared/data CACHE OUT --export models/contrast-2d

It sees no image of any_pair. CACHE keeps the pictures of Debian packages, as for ``universal.py``.
"""

import argparse
import time
from dataclasses import asdict
from pathlib import Path

import torch
from universal_images import PACKAGES, fetch, groups

from cnnreg.config import preset
from cnnreg.learning.features.training import FeatureProgress, FeatureTraining, train_features
from cnnreg.learning.modelcards import save_model
from cnnreg.learning.representation.network import RepresentationNetwork
from cnnreg.learning.representation.training import VIEWS, peak_loss

MEASURED = {  # on half of the development pairs, drawn by a hash; mean landmark error in pixels, before and after
    "mr_contrast": {"pairs": 5, "before": 0.50, "learned": 0.52, "mi": 0.50, "mind": 1.12},
    "mr_contrast_warped": {"pairs": 8, "before": 9.17, "learned": 1.50, "mi": 0.52, "mind": 2.44},
    "retina, from the landmarks' affine map": {"pairs": 7, "before": 3.54, "learned": 7.07, "mi": 37.7, "mind": 10.5},
    "limits": "Where contrasts are alike local correlation is more accurate, on clean MR contrasts mutual information; "
    "where images share little, as those of a retina, the field can be worse than none",
}
TRAINING = FeatureTraining(steps=3000, batch_size=5, learning_rate=3e-3, warm_up=100, weight_decay=1e-5, average=0.997)


def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("data", "cache", "out"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--export", type=Path)
    options = parser.parse_args()
    if options.export:
        export(options.out, options.export)
    else:
        run(options)


def run(options: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    options.cache.mkdir(parents=True, exist_ok=True)
    fetch(options.cache)
    torch.manual_seed(TRAINING.seed)
    network = RepresentationNetwork()
    print(sum(p.numel() for p in network.parameters()), "weights;", asdict(TRAINING), flush=True)
    began = time.time()

    def tell(progress: FeatureProgress) -> None:
        if progress.step % 50 == 0:
            print(
                f"step {progress.step} of {progress.steps}, {time.time() - began:.0f} s: "
                f"loss {progress.loss:.3f}, wins {progress.found:.3f}",
                flush=True,
            )

    train_features(
        network,
        groups(options.cache, options.data, []),
        options.out,
        training=TRAINING,
        views=VIEWS,
        loss=peak_loss,
        resume=options.resume,
        on_step=tell,
    )


def export(trained: Path, folder: Path) -> None:
    """The average of the weights, as a model that ships."""
    network = RepresentationNetwork()
    checkpoint = torch.load(trained / "checkpoint.pt", weights_only=True)
    network.load_state_dict(checkpoint["average"])
    save_model(
        network,
        folder,
        preset("default"),
        name=folder.name,
        description="Represents images so that two contrasts of one scene agree, for the metric 'learned'",
        training={
            "images": "single images, two contrasts of each, slightly bent: "
            + ", ".join(PACKAGES)
            + " (Debian packages), scikit-image's photographs, shapes made by the program, 60 images each of "
            "Sunnybrook cine MR, JSRT chest films and OASIS brain slices",
            "command": "python benchmarks/train_models/representation.py ../shared/data CACHE OUT",
            "step": checkpoint["step"],
            **checkpoint["origin"],
        },
        metrics=MEASURED,
        license="Weights: Apache-2.0. Trained on pictures under CC-BY-SA, CC-BY, CC0, GPL, LGPL and NASA's terms",
    )


if __name__ == "__main__":
    main()
