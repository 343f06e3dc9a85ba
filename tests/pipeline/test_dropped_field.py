"""A field that descriptors do not show: what a report says of it."""

import torch

from cnnreg.pipeline.registration import OneShot


def test_a_dropped_field_names_no_metric_but_tells_what_was_tried():
    tried = OneShot(torch.ones(1, 2, 5, 7), "coarse", 50, [{"total": -1.0, "level": 2.0}], "lncc", "dense", "gains 6")
    dropped = tried.dropped()
    assert (dropped.similarity, dropped.transform, dropped.start) == ("none", "none", "identity")
    assert torch.equal(dropped.field, torch.zeros(1, 2, 5, 7))
    assert dropped.history == []
    assert dropped.evidence.startswith("gains 6; lncc with dense was tried")
