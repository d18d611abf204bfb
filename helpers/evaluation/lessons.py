"""What the notebooks claim from numbers, held beside what was found: `data/lessons.toml`."""

import tomllib
from math import isfinite, nan

from helpers import settings
from helpers.data.cnmc import Source
from helpers.evaluation.baselines import DATA

# Every claim, by its name; the head of the file says what an entry holds.
CLAIMS = tomllib.loads((DATA / "lessons.toml").read_text(encoding="utf-8"))


def expect(name: str, value: float, source: Source, low: float = nan, high: float = nan) -> str:
    """Says what was found, what was expected, and whether the one is within the other.

    Drawn cells are held to a range in the `workshop` profile only, images named as the real ones
    to the published range, where there is one, in every profile but `smoke`.

    Args:
        name: The claim in `data/lessons.toml`.
        value: What was found, in the unit of its range.
        source: Where the images are from, as `start` returns it.
        low: Lower end of the interval around the value, if there is one; it is shown, not judged.
        high: Upper end.

    Returns:
        One line to print.

    Raises:
        ValueError: If there is no such claim.

    Example:
        >>> drawn = Source(DATA, is_synthetic=True)
        >>> expect("01-stain", 36.12, drawn, 30.5, 41).partition(";")[0]
        'lesson 01-stain: found +36.1 (+30.5 to +41.0)'
    """
    if name not in CLAIMS:
        raise ValueError(f"A lesson is one of {', '.join(CLAIMS)}. Received: {name!r}")
    claim, profile = CLAIMS[name], settings.active().name
    drawn, real = claim["workshop"], claim.get("real")
    widest = max(map(abs, drawn))
    digits = 1 if widest >= 5 else 2 if widest > 1 else 3
    found = round(float(value), digits) + 0.0  # what is shown is what is judged; and no -0.0
    around = f" ({low:+.{digits}f} to {high:+.{digits}f})" if isfinite(low + high) else ""
    told = f"{drawn[0]:g} to {drawn[1]:g} on drawn cells"
    if real:
        told += f" (real images: {real[0]:g} to {real[1]:g}, {claim['source']})"
    wanted = drawn if source.is_synthetic else real
    verdict = f"OUTSIDE, perhaps: {claim['otherwise']}"
    if profile == "smoke" or (source.is_synthetic and profile != "workshop"):
        verdict = "no claim in this profile"
    elif not wanted or wanted[0] <= found <= wanted[1]:
        verdict = "as expected" if wanted else "no claim on these images, as none is published"
    return f"lesson {name}: found {found:+.{digits}f}{around}; expected {told}: {verdict}"
