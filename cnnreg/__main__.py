"""``python -m cnnreg``."""

from cnnreg.cli.main import main

main()
