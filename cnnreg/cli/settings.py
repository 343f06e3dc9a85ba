"""Options that hold numbers, and those that go together."""

import math

from cnnreg.errors import UsageError

COMMA = 5  # pixels this many times as long as wide, in whole numbers, are taken for a decimal comma


def numbers(text: str | None, option: str, *, rising: bool = False) -> tuple[float, float] | None:
    """Two numbers with a comma between; of a spacing, which is positive, one may stand for both."""
    if text is None:
        return None
    words = text.split(",")
    if not rising and len(words) == 1:
        words *= 2
    try:
        first, second = (float(word) for word in words)
    except ValueError:
        first, second = 0.0, 0.0  # which is neither
    if not (math.isfinite(first + second) and (first < second if rising else min(first, second) > 0)):
        expected = "LOW,HIGH, two numbers of which the first is smaller" if rising else "X or X,Y, above 0"
        raise UsageError(f"{option} must be {expected}, got {text!r}")
    if not rising and max(first, second) >= COMMA * min(first, second) and "." not in text:
        raise UsageError(
            f"{option} {text} means {first:g} by {second:g} mm; write {text.replace(',', '.')} for a decimal number, "
            f"or {first},{second} if you mean two"
        )
    return first, second


def two(
    text: str | None, moving: str | None, option: str, *, rising: bool = False
) -> tuple[tuple[float, float] | None, tuple[float, float] | None]:
    """Of the fixed and of the moving image, which is the same unless it is given."""
    fixed = numbers(text, option, rising=rising)
    return fixed, numbers(moving, option.replace("--", "--moving-"), rising=rising) or fixed


def both_or_neither(one: object, other: object, names: str) -> None:
    """Two options that make sense only together."""
    if (one is None) != (other is None):
        raise UsageError(f"{names} go together: give both or neither")
