"""Draw the lists of a sample. Pure functions."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Group:
    """A parent whose list can be drawn.

    Attributes:
        parent: Its Canvas id.
        scope: Its scope.
        rows: Number of rows of it that the table has.
    """

    parent: int
    scope: str
    rows: int


@dataclass(frozen=True, slots=True)
class Drawn:
    """A list that was drawn.

    Attributes:
        parent: Id of its parent.
        scope: Scope of its parent.
        page: Number of the page to read, from 1; None for the whole list.
        chance: Its chance at each draw, relative to the others.
        draws: How often it was drawn.
    """

    parent: int
    scope: str
    page: int | None = None
    chance: float = 1.0
    draws: int = 1


@dataclass(frozen=True, slots=True)
class Draw:
    """The lists of a sample.

    Attributes:
        lists: The lists.
        complete: Whether these are all lists there are.
    """

    lists: tuple[Drawn, ...] = ()
    complete: bool = False


def draw_groups(groups: Sequence[Group], number: int, seed: int) -> Draw:
    """Draw lists of parents, or take all if there are few.

    Half of the chance is shared equally, and half by the number of rows here: large lists contain most objects, but a list
    of which the table has lost everything must be found as well.

    Args:
        groups: All parents.
        number: Draws, with replacement; so the number of lists is at most this.
        seed: Decides which.
    """
    if len(groups) <= number:
        return Draw(tuple(Drawn(each.parent, each.scope) for each in groups), complete=True)
    rows = sum(each.rows for each in groups)
    chances = [1 / len(groups) + (each.rows / rows if rows else 0.0) for each in groups]
    drawn = Counter(random.Random(seed).choices(range(len(groups)), weights=chances, k=number))
    return Draw(
        tuple(Drawn(groups[at].parent, groups[at].scope, chance=chances[at], draws=drawn[at]) for at in sorted(drawn))
    )


def draw_pages(pages: Sequence[tuple[Group, int]], number: int, seed: int) -> Draw:
    """Draw pages, each with the same chance, or take all if there are few.

    Args:
        pages: Parents, each with the number of pages of its list.
        number: Maximum number of pages.
        seed: Decides which.
    """
    every = [Drawn(group.parent, group.scope, page) for group, count in pages for page in range(1, count + 1)]
    if len(every) <= number:
        return Draw(tuple(every), complete=True)
    chosen = sorted(random.Random(seed).sample(range(len(every)), number))
    return Draw(tuple(every[at] for at in chosen))
