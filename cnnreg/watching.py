"""How long work tells a caller where it is."""


def unwatched(*progress: object) -> None:
    """The watcher of callers who do not care."""
    del progress
