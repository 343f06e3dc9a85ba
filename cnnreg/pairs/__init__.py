"""Pairs of images: tables that list them, tensors that hold them, their intensities, mirror images, the demo pair."""
