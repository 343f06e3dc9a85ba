"""What the commands do, on files. No printing here; each module is one command."""
