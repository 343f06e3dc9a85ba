"""Files to pixels with geometry, and back."""
