"""What has been worked out in the course of one registration: the same question again is not worked out again.

The search for the initial transform and the verdict often ask about the same two images. Neither needs to know of the
other for that: within :func:`remembering`, a function that is :func:`remembered` knows its last answers.
"""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any, TypeVar

import torch
from torch import Tensor

LAST = 16  # answers that are kept

Asked = tuple[Any, ...]
Answer = TypeVar("Answer")
_answers: ContextVar[deque[tuple[Any, Asked, Any]] | None] = ContextVar("answers", default=None)


@contextmanager
def remembering() -> Iterator[None]:
    """For one registration; afterwards nothing of it is kept."""
    token = _answers.set(deque(maxlen=LAST))
    try:
        yield
    finally:
        _answers.reset(token)


def remembered(function: Callable[..., Answer]) -> Callable[..., Answer]:
    """A function whose answer depends on nothing but its arguments; neither these nor the answer are changed later.

    Tensors are the same if all their numbers are, everything else if it is the same object.
    """

    @wraps(function)
    def ask(*asked: Any) -> Answer:
        answers = _answers.get()
        for which, earlier, answer in answers or ():
            if which is function and all(map(_same, asked, earlier)):
                known: Answer = answer
                return known
        new = function(*asked)
        if answers is not None:
            answers.append((function, asked, new))
        return new

    return ask


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a is b or (a.shape == b.shape and torch.equal(a, b))
    return a is b
