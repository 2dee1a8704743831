"""Estimate a share from a random sample, with a 95 % interval. Pure functions.

Two designs occur. Rows of a table are a simple random sample: each has the same chance. Objects of Canvas come in lists
(all enrollments of a course, a page of users), so that their errors may come in clusters; then the lists are the sample,
and the interval follows from how much the lists differ.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

Z = 1.959964
"""Quantile of the normal distribution for 95 %."""

STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447)
"""The same of Student's distribution with 1 to 6 degrees of freedom; for more, a series is exact to three digits."""


@dataclass(frozen=True, slots=True)
class Share:
    """An estimated share and its 95 % interval, as fractions of 1.

    Attributes:
        value: The estimate.
        low: Lower end of the interval.
        high: Upper end of the interval.
    """

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{100 * self.value:.2f} % ({100 * self.low:.2f} to {100 * self.high:.2f})"


@dataclass(frozen=True, slots=True)
class SampledList:
    """A list of Canvas that was drawn, and what a look-up of its objects found.

    Attributes:
        objects: Number of its objects.
        missing: Number of them that the table lacks.
        chance: Its chance to be drawn, relative to the other lists.
        draws: How often it was drawn.
    """

    objects: int
    missing: int
    chance: float = 1.0
    draws: int = 1


def share_of_rows(found: int, compared: int, rows: int, *, certain: int | None = None) -> Share | None:
    """Return the share of rows with a property, from a simple random sample.

    Args:
        found: Rows of the sample with the property.
        compared: Rows of the sample.
        rows: Rows of the table. Where all are compared, the share is exact.
        certain: Rows of the sample that certainly have the property, if that is doubtful for some; the lower end of the
            interval is theirs.

    Returns:
        The share; None if nothing was compared.
    """
    if compared <= 0:
        return None
    least = found if certain is None else certain
    if compared >= rows:
        return Share(found / compared, least / compared, found / compared)
    # A sample that is a large part of the table says more than one of a table without end.
    effective = compared * (rows - 1) / (rows - compared)
    low, _ = wilson(least / compared, effective, compared)
    _, high = wilson(found / compared, effective, compared)
    return Share(found / compared, low, high)


def share_of_objects(lists: Sequence[SampledList], *, complete: bool = False) -> Share | None:
    """Return the share of missing objects, from a sample of lists.

    A list counts with its number of objects, divided by its chance to be drawn (Hansen and Hurwitz). The interval is
    Wilson's for the number of independent objects that would have the variance between the lists. If no object is
    missing, the lists show nothing about clusters; then each list counts as one object, because its objects may all be
    missing together.

    Args:
        lists: The lists that were drawn.
        complete: Whether these are all lists; then the share is exact.

    Returns:
        The share; None if the lists contain no objects.
    """
    weights = [each.draws * each.objects / each.chance for each in lists]
    total = math.fsum(weights)
    if total <= 0:
        return None
    shares = [each.missing / each.objects if each.objects else 0.0 for each in lists]
    value = math.fsum(weight * share for weight, share in zip(weights, shares, strict=True)) / total
    if complete:
        exact = sum(each.missing for each in lists) / sum(each.objects for each in lists)
        return Share(exact, exact, exact)
    low, high = wilson(value, _independent_objects(lists, value, total))
    return Share(value, low, high)


def _independent_objects(lists: Sequence[SampledList], value: float, total: float) -> float:
    """Return the number of objects that a simple random sample of the same precision would have."""
    weights = [each.objects / each.chance for each in lists for _ in range(each.draws) if each.objects]
    shares = [each.missing / each.objects for each in lists for _ in range(each.draws) if each.objects]
    draws = len(weights)
    # Lists of unequal weight are worth fewer lists of equal weight (Kish).
    fewest = total**2 / math.fsum(weight**2 for weight in weights)
    if draws < 2 or not 0 < value < 1:
        return fewest
    between = math.fsum((weight / total * (share - value)) ** 2 for weight, share in zip(weights, shares, strict=True))
    variance = between * draws / (draws - 1)
    most = math.fsum(each.objects for each in lists)
    number = min(most, max(1.0, value * (1 - value) / variance)) if variance > 0 else most
    # A variance that a few lists decide is itself uncertain (Korn and Graubard).
    affected = min(sum(share > 0 for share in shares), sum(share < 1 for share in shares))
    return max(number * (Z / _student(affected)) ** 2, min(number, fewest))


def _student(freedom: int) -> float:
    """Return the quantile of Student's distribution for 95 %, to three digits; `freedom` is at least 1."""
    if freedom <= len(STUDENT):
        return STUDENT[freedom - 1]
    return Z + (Z**3 + Z) / (4 * freedom) + (5 * Z**5 + 16 * Z**3 + 3 * Z) / (96 * freedom**2)


def wilson(share: float, number: float, observed: float | None = None) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a share, with the correction for continuity (Newcombe 1998, method 4).

    Without the correction, the interval covers a share of 0.1 % in a sample of 400 in only 94 of 100 samples; with it,
    in 99.

    >>> [round(end, 4) for end in wilson(0.0, 400)]
    [0.0, 0.0119]

    Args:
        share: Observed share, from 0 to 1.
        number: Independent observations that give the same precision; not necessarily whole.
        observed: Observations, of which one more or less changes the share by one step; `number` if not given.
    """
    half_a_step = 1 / (2 * (observed or number))
    low = _score(share - half_a_step, number)[0] if share > half_a_step else 0.0
    high = _score(share + half_a_step, number)[1] if share < 1 - half_a_step else 1.0
    return low, high


def _score(share: float, number: float) -> tuple[float, float]:
    """Return the shares whose distance to an observed one is its 95 % quantile: Wilson's interval without correction."""
    square = Z * Z / number
    middle = share + square / 2
    spread = Z * math.sqrt(max(0.0, share * (1 - share) / number + square / (4 * number)))
    return (middle - spread) / (1 + square), (middle + spread) / (1 + square)


def quantile(values: Sequence[float], part: float) -> float | None:
    """Return a quantile: the smallest value that at least this part of the values does not exceed; None without values.

    >>> quantile([4.0, 1.0, 3.0, 2.0], 0.5), quantile([], 0.5)
    (2.0, None)
    """
    ordered = sorted(values)
    return ordered[max(0, math.ceil(part * len(ordered)) - 1)] if ordered else None
