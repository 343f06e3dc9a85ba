"""cnnreg: deformable registration of 2D images with a small network that adapts itself to each pair."""

__version__ = "0.1.0"
