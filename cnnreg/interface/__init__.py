"""The Python interface: what ``import cnnreg`` offers, and what the command line calls."""
