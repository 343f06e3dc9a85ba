"""What is done to one pair of images, without learning: initial transform, resolution levels, iterations."""
