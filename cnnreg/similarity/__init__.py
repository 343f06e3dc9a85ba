"""Similarity metrics with their derivatives, descriptors, filters, and regularity of fields."""
