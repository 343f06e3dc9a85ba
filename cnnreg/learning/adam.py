"""The optimiser of one-shot adaptation."""

import math

import torch
from torch import nn


class FlatAdam:
    """Adam (Kingma and Ba 2015, arXiv:1412.6980) on all weights of a network as one vector.

    The numbers of ``torch.optim.Adam``, whose first use imports torch's compiler: 1.3 s, longer than fifty steps.
    Until :meth:`finish`, the network's parameters are views of ``weights``.
    """

    def __init__(self, network: nn.Module, *, learning_rate: float) -> None:
        self.parameters = list(network.parameters())
        self.learning_rate = learning_rate
        self.weights = torch.cat([p.detach().flatten() for p in self.parameters])
        self.gradient, self.mean, self.square = (torch.zeros_like(self.weights) for _ in range(3))
        self.steps = 0
        start = 0
        for parameter in self.parameters:
            part = slice(start, start + parameter.numel())
            parameter.data = self.weights[part].view_as(parameter)
            parameter.grad = self.gradient[part].view_as(parameter)  # backward adds to it in place
            start = part.stop

    @torch.no_grad()
    def step(self) -> None:
        """Move the weights down the gradient that was gathered, and forget it."""
        self.steps += 1
        beta1, beta2, epsilon = 0.9, 0.999, 1e-8
        self.mean.lerp_(self.gradient, 1 - beta1)
        self.square.mul_(beta2).addcmul_(self.gradient, self.gradient, value=1 - beta2)
        scale = self.square.sqrt().div_(math.sqrt(1 - beta2**self.steps)).add_(epsilon)
        self.weights.addcdiv_(self.mean, scale, value=-self.learning_rate / (1 - beta1**self.steps))
        self.gradient.zero_()

    @torch.no_grad()
    def finish(self, weights: torch.Tensor) -> None:
        """Leave the network with ``weights``, a vector like ``self.weights``, in parameters of its own."""
        self.weights.copy_(weights)
        for parameter in self.parameters:
            parameter.data, parameter.grad = parameter.data.clone(), None
