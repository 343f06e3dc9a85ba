"""Displacement fields, affine maps, resampling, and the transform files of this and of other tools."""
