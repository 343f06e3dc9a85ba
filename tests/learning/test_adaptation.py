"""One-shot adaptation: no trace, best step, equal reruns."""

import copy
import dataclasses

import pytest
import torch

from cnnreg.config import AdaptationConfig, Config, LossConfig, NetworkConfig
from cnnreg.errors import DivergenceError
from cnnreg.geometry.fields import warp
from cnnreg.learning.adam import FlatAdam
from cnnreg.learning.adaptation import adapt
from cnnreg.learning.network import build_network
from cnnreg.learning.objective import energy
from tests.conftest import smooth_pair


def config(steps: int, rate: float = 1e-2) -> Config:
    return Config(
        network=NetworkConfig(pooling=1, channels=(4, 8)),
        loss=LossConfig(tv=0, l2=0, diffusion=0.05),
        adaptation=AdaptationConfig(steps=steps, learning_rate=rate),
    )


def pair(seed: int, dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor]:
    fixed, moving = (torch.from_numpy(x)[None, None].to(dtype) for x in smooth_pair(seed=seed))
    return fixed, moving


@pytest.fixture
def network():
    return build_network(config(0).network, seed=3)


def weights(network) -> list[torch.Tensor]:
    return [p.detach().clone() for p in network.parameters()]


def test_another_pair_in_between_leaves_no_trace(network):
    """A, B, A: the third run equals the first to the bit, and the given network is untouched."""
    before = weights(network)
    first, other, again = (adapt(network, [pair(seed)], config=config(6)) for seed in (0, 1, 0))
    assert all(torch.equal(a, b) for a, b in zip(weights(network), before, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(weights(first.network), weights(again.network), strict=True))
    assert first.history == again.history
    assert first.history != other.history


def test_zero_steps_are_the_plain_prediction(network):
    """N = 0 gives the network back, with the energy of its prediction."""
    result = adapt(network, [pair(0)], config=config(0))
    assert all(torch.equal(a, b) for a, b in zip(weights(result.network), weights(network), strict=True))
    assert len(result.history) == 1
    assert result.best_step == 0


def test_adaptation_registers_the_pair(network):
    """Sixty steps undo a shift by (2, -3) pixels of a smooth image: the correlation says so."""
    result = adapt(network, [pair(0)], config=config(60))
    assert result.history[0]["ncc"] > -0.9
    assert result.history[result.best_step]["ncc"] < -0.99


def test_history_has_every_term_and_the_best_step_is_kept(network):
    """N + 1 entries, whose terms sum to the total; the returned weights give exactly the lowest total."""
    chosen = config(20, rate=0.1)  # far too large, so that the energy goes up and down
    result = adapt(network, [pair(0)], config=chosen)
    totals = [terms["total"] for terms in result.history]
    assert len(totals) == 21
    assert result.best_step == totals.index(min(totals)) < 20
    for terms in result.history:
        assert terms["total"] == pytest.approx(sum(v for k, v in terms.items() if k != "total"), rel=1e-5)
    fixed, moving = pair(0)
    with torch.no_grad():
        field = result.network(fixed, moving)
        again = energy(fixed, warp(moving, field), field, chosen.loss)["total"].item()
    assert again == pytest.approx(min(totals), rel=1e-6)


def test_several_pairs_share_their_mean_energy(network):
    """With one step of Adam, the history of a table is the mean of the histories of its pairs."""
    both = adapt(network, [pair(0), pair(1)], config=config(1))
    singly = [adapt(network, [pair(seed)], config=config(1)).history[0]["total"] for seed in (0, 1)]
    assert both.history[0]["total"] == pytest.approx(sum(singly) / 2, abs=1e-6)
    assert both.history[1]["total"] < both.history[0]["total"]


def test_an_energy_that_is_not_finite_is_an_error(network):
    """The sentence names the step and what to lower; the given network stays as it was."""
    before = weights(network)
    with pytest.raises(DivergenceError, match=r"at step \d+; lower adaptation.learning_rate \(1e\+30\)"):
        adapt(network, [pair(0)], config=config(5, rate=1e30))
    assert all(torch.equal(a, b) for a, b in zip(weights(network), before, strict=True))


def test_the_optimiser_is_adam(network):
    """Twenty steps on a changing gradient: the weights of torch.optim.Adam."""
    other = copy.deepcopy(network)
    ours, theirs = FlatAdam(network, learning_rate=1e-2), torch.optim.Adam(other.parameters(), lr=1e-2)
    fixed, moving = pair(0)
    for step in range(20):
        for net in (network, other):
            (net(fixed, moving) - step).square().mean().backward()
        ours.step()
        theirs.step()
        theirs.zero_grad()
    for a, b in zip(network.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-3)
    ours.finish(ours.weights.clone())
    assert all(p.grad is None and p.is_leaf for p in network.parameters())
    assert len({p.untyped_storage().data_ptr() for p in network.parameters()}) == len(list(network.parameters()))


def test_every_step_is_announced(network):
    """Watchers see steps 0 to N with the terms that are recorded."""
    seen = []
    result = adapt(network, [pair(0)], config=config(3), on_step=lambda step, terms: seen.append((step, terms)))
    assert seen == list(enumerate(result.history))


@pytest.mark.gpu
def test_cuda_follows_the_cpu(network):
    """The same energies on CUDA, within float32 rounding accumulated over ten steps."""
    on_cpu = adapt(network, [pair(0)], config=config(10, rate=1e-3)).history
    fixed, moving = (x.cuda() for x in pair(0))
    on_cuda = adapt(copy.deepcopy(network).cuda(), [(fixed, moving)], config=config(10, rate=1e-3)).history
    for a, b in zip(on_cpu, on_cuda, strict=True):
        assert a["total"] == pytest.approx(b["total"], abs=1e-3)


def test_the_paper_s_settings_are_the_preset():
    """Adam at 1e-4, lambda1 = lambda2 = 1e-6, l = 2, global NCC, and nothing else in the energy."""
    from cnnreg.config import preset

    paper = preset("paper")
    assert dataclasses.asdict(paper.loss) == {
        "similarity": "ncc",
        "window": 9,
        "tv": 1e-6,
        "l2": 1e-6,
        "diffusion": 0.0,
    }
    assert paper.adaptation.learning_rate == 1e-4
    assert paper.network.pooling == 2
