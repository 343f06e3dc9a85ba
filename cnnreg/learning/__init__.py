"""The network, its energy, training, one-shot adaptation of its weights, and models on disk."""
