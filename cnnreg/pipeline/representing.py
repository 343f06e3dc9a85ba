"""What the metric learned compares: the representation that the configuration names, or that adapted to the pair."""

from dataclasses import replace

from torch import Tensor

from cnnreg.config import Config
from cnnreg.engine.choice import Trial
from cnnreg.learning.representation.representing import Representer, load_representer

SEED = 20180209  # of the views; one pair is always adapted to in the same way


def representation_of(
    fixed: Tensor, moving: Tensor, mask: Tensor | None, config: Config
) -> tuple[Representer | None, str]:
    """For images (1, 1, H, W), and what is to be told of it; None where no representation is asked for.

    An adapted one is kept if held-out blocks of the images gain more by it than by that which is shipped.
    """
    if config.refinement.similarity != "learned":
        return None, ""
    shipped = load_representer(config.refinement.representation)
    steps = config.adaptation.feature_steps
    if config.adaptation.target != "features" or not steps:
        return shipped, ""
    from cnnreg.learning.representation.adapting import adapt_representation  # with all that training needs

    network = adapt_representation(
        shipped.network, (fixed, moving), steps=steps, rate=config.adaptation.learning_rate, seed=SEED
    )
    adapted = Representer(network)
    transform = "dense" if config.refinement.transform == "dense" else "bspline"
    gains = [
        Trial(fixed, moving, mask, replace(config.refinement, transform=transform), represent=one).gain(
            "learned", transform
        )
        for one in (shipped, adapted)
    ]
    better = gains[1].mean > gains[0].mean
    told = (
        f"held-out blocks gain {gains[0].mean:.3f} nats a pixel by the representation, {gains[1].mean:.3f} by that "
        f"adapted, which was {'' if better else 'not '}kept"
    )
    return (adapted if better else shipped), told
