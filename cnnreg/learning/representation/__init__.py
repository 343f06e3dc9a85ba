"""A representation of images at full resolution in which two contrasts of one scene agree: network, loss, training."""
