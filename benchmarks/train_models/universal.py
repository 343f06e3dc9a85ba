"""Train the shipped model universal-2d: on single images only, then with two thirds of the real pairs as well.

    python benchmarks/train_models/universal.py ../shared/data CACHE OUT [--stage 1|2] [--resume]
    python benchmarks/train_models/universal.py ../shared/data CACHE OUT [--stage 1|2] --export models/universal-2d

The first stage sees no image of any_pair: what it does there tells how it does on kinds that it never saw. The second
goes on from its weights; the last third of every kind stays unseen. CACHE keeps the pictures of Debian packages.
"""

import argparse
import time
from dataclasses import asdict
from pathlib import Path

import torch
from universal_images import PACKAGES, any_pair_rows, fetch, groups, part_of

from cnnreg.config import preset
from cnnreg.learning.features.loss import described
from cnnreg.learning.features.network import DescriptorNetwork, FeatureConfig
from cnnreg.learning.features.training import FeatureProgress, FeatureTraining, train_features
from cnnreg.learning.features.views import ViewConfig
from cnnreg.learning.modelcards import save_model

NETWORK = FeatureConfig()
STAGES = {
    1: FeatureTraining(steps=4200),
    2: FeatureTraining(steps=2000, learning_rate=1e-3, warm_up=100, seed=20180217),
}


def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("data", "cache", "out"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--stage", type=int, choices=STAGES, default=1)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--export", type=Path)
    options = parser.parse_args()
    if options.export:
        export(options.out / f"stage-{options.stage}", options.export, options.stage)
    else:
        run(options)


def run(options: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    options.cache.mkdir(parents=True, exist_ok=True)
    fetch(options.cache)
    pairs = part_of(any_pair_rows(options.data))[0] if options.stage == 2 else []
    training = STAGES[options.stage]
    torch.manual_seed(training.seed)
    network = DescriptorNetwork(NETWORK)
    if options.stage == 2:
        network.load_state_dict(torch.load(options.out / "stage-1" / "checkpoint.pt", weights_only=True)["average"])
    print(sum(p.numel() for p in network.parameters()), "weights;", asdict(training), flush=True)
    began = time.time()

    def tell(progress: FeatureProgress) -> None:
        if progress.step % 50 == 0:
            print(
                f"step {progress.step} of {progress.steps}, {time.time() - began:.0f} s: "
                f"loss {progress.loss:.3f}, found {progress.found:.3f}",
                flush=True,
            )

    train_features(
        network,
        groups(options.cache, options.data, pairs),
        options.out / f"stage-{options.stage}",
        training=training,
        views=ViewConfig(),
        loss=described(training.queries),
        resume=options.resume,
        on_step=tell,
    )


def export(trained: Path, folder: Path, stage: int) -> None:
    """The average of the weights, as a model that ships."""
    network = DescriptorNetwork(NETWORK)
    checkpoint = torch.load(trained / "checkpoint.pt", weights_only=True)
    network.load_state_dict(checkpoint["average"])
    pairs = "" if stage == 1 else "; then also two thirds of 97 real pairs of six kinds with landmarks"
    save_model(
        network,
        folder,
        preset("default"),
        name=folder.name,
        description="Describes images of any kind, for the initial transform",
        training={
            "images": "single images, two views of each in changed contrasts: "
            + ", ".join(PACKAGES)
            + " (Debian packages), scikit-image's photographs, shapes made by the program, 60 images each of "
            "Sunnybrook cine MR, JSRT chest films and OASIS brain slices" + pairs,
            "command": f"python benchmarks/train_models/universal.py ../shared/data CACHE OUT --stage {stage}",
            "step": checkpoint["step"],
            **checkpoint["origin"],
        },
        license="Weights: Apache-2.0. Trained on pictures under CC-BY-SA, CC-BY, CC0, GPL, LGPL and NASA's terms",
    )


if __name__ == "__main__":
    main()
