"""Descriptors that no change of domain changes: their network, the views it learns from, loss and training."""
