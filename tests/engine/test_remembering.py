"""Within one registration the same question is not worked out again; and afterwards nothing is kept."""

import gc
import weakref

import torch

from cnnreg.engine.remembering import LAST, remembered, remembering


class Counting:
    def __init__(self):
        self.asked = 0

        @remembered
        def double(image):
            self.asked += 1
            return image * 2

        self.double = double


def test_an_equal_image_is_not_worked_out_again_and_another_one_is():
    counting, image = Counting(), torch.rand(1, 1, 5, 7)
    with remembering():
        first = counting.double(image)
        assert counting.double(image.clone()) is first
        assert torch.equal(counting.double(image + 1), (image + 1) * 2)
        assert torch.equal(counting.double(image[..., :6]), first[..., :6])
    assert counting.asked == 3


def test_an_image_that_was_changed_since_is_worked_out_again():
    counting, image = Counting(), torch.rand(3, 4)
    with remembering():
        counting.double(image)
        changed = image.clone()
        changed[1, 2] += 1e-6
        assert torch.equal(counting.double(changed), changed * 2)


def test_only_the_last_answers_are_kept():
    counting, image = Counting(), torch.rand(3, 4)
    with remembering():
        for shift in range(LAST + 1):
            counting.double(image + shift)
        counting.double(image)
    assert counting.asked == LAST + 2


def test_nothing_is_kept_from_one_registration_to_the_next():
    counting, image = Counting(), torch.rand(3, 4)
    with remembering():
        gone = weakref.ref(counting.double(image))
    gc.collect()
    assert gone() is None
    counting.double(image)
    with remembering():
        counting.double(image)
    assert counting.asked == 3
