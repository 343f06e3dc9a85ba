"""``report.html``: one self-contained page about one pair or thousands, to be looked at and copied as one file."""
