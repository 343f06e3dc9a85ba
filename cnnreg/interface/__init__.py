"""The public Python interface: one pair or many, from files or from memory, and what comes back."""
