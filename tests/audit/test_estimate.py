"""The intervals of audits cover the truth as often as they promise, over thousands of seeds."""

from __future__ import annotations

import random

import pytest

from canvas_sync_dagster.audit.draw import Group, draw_groups, draw_pages
from canvas_sync_dagster.audit.estimate import SampledList, Share, quantile, share_of_objects, share_of_rows, wilson

SEEDS = 1_000
LISTS = 150
SHARES = (0.0, 0.001, 0.01, 0.05)


def university(dice: random.Random, share: float, *, whole_lists: bool) -> list[tuple[int, int]]:
    """Return lists of objects: how many each has, and how many of them the table lacks."""
    lists = []
    for _ in range(LISTS):
        size = 1 + int(dice.expovariate(1 / 30))
        if whole_lists:
            lost = size if dice.random() < share else 0
        else:
            lost = sum(dice.random() < share for _ in range(size)) if share else 0
        lists.append((size, lost))
    return lists


def audited(dice: random.Random, lists: list[tuple[int, int]], sample: int) -> tuple[Share, float]:
    """Return the estimate of an audit of these lists, and the truth."""
    groups = [Group(at, "", size - lost) for at, (size, lost) in enumerate(lists)]
    draw = draw_groups(groups, sample, dice.getrandbits(31))
    read = [SampledList(*lists[each.parent], each.chance, each.draws) for each in draw.lists]
    share = share_of_objects(read, complete=draw.complete)
    assert share is not None
    return share, sum(lost for _, lost in lists) / sum(size for size, _ in lists)


def covered(share: float, sample: int, *, whole_lists: bool, seeds: int = SEEDS) -> float:
    hits = 0
    for seed in range(seeds):
        dice = random.Random(f"{seed}:{share}:{sample}:{whole_lists}")
        found, truth = audited(dice, university(dice, share, whole_lists=whole_lists), sample)
        hits += found.low <= truth <= found.high
    return hits / seeds


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("sample", [15, 100])
def test_the_interval_of_missing_objects_covers_the_truth_in_93_of_100_audits(share: float, sample: int) -> None:
    assert covered(share, sample, whole_lists=False) >= 0.93


@pytest.mark.parametrize("share", SHARES)
def test_it_covers_the_truth_nearly_as_often_if_whole_lists_are_lost(share: float) -> None:
    assert covered(share, 100, whole_lists=True, seeds=500) >= 0.9


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize(("rows", "sample"), [(500, 400), (20_000, 400), (20_000, 40)])
def test_the_interval_of_wrong_rows_covers_the_truth_in_93_of_100_audits(share: float, rows: int, sample: int) -> None:
    wrong, hits = round(share * rows), 0
    for seed in range(SEEDS):
        drawn = random.Random(f"{seed}:{share}").sample(range(rows), sample)
        found = share_of_rows(sum(each < wrong for each in drawn), sample, rows)
        assert found is not None
        hits += found.low <= wrong / rows <= found.high
    assert hits >= 0.93 * SEEDS


@pytest.mark.parametrize(("whole_lists", "tolerance"), [(False, 0.02), (True, 0.1)])
def test_the_mean_of_many_estimates_is_near_the_truth(tolerance: float, *, whole_lists: bool) -> None:
    lists = university(random.Random(1), 0.1, whole_lists=whole_lists)
    estimates = [audited(random.Random(seed), lists, 60) for seed in range(SEEDS)]
    _, truth = estimates[0]
    assert sum(found.value for found, _ in estimates) / SEEDS == pytest.approx(truth, rel=tolerance)


def test_a_share_of_all_rows_or_lists_is_exact() -> None:
    assert share_of_rows(2, 8, 8) == Share(0.25, 0.25, 0.25)
    # What may be lag widens the interval downwards.
    assert share_of_rows(2, 8, 8, certain=1) == Share(0.25, 0.125, 0.25)
    lists = [Group(number, "", number) for number in range(5)]
    assert draw_groups(lists, 5, 1).complete
    assert share_of_objects([SampledList(3, 1), SampledList(1, 1), SampledList(0, 0)], complete=True) == Share(
        0.5, 0.5, 0.5
    )


def test_nothing_is_estimated_from_nothing() -> None:
    assert share_of_rows(0, 0, 10) is None
    assert share_of_objects([SampledList(0, 0)]) is None
    assert quantile([], 0.5) is None


def test_lists_without_a_missing_object_count_as_one_object_each() -> None:
    found = share_of_objects([SampledList(100, 0)] * 50)
    assert found is not None
    assert (found.value, found.low) == (0.0, 0.0)
    assert found.high == pytest.approx(wilson(0.0, 50)[1])


def test_pages_are_drawn_once_each() -> None:
    groups = [(Group(7, "7", 250), 3), (Group(8, "8", 90), 1)]
    assert [(each.parent, each.page) for each in draw_pages(groups, 9, 1).lists] == [(7, 1), (7, 2), (7, 3), (8, 1)]
    some = draw_pages(groups, 2, 1)
    assert (len({(each.parent, each.page) for each in some.lists}), some.complete) == (2, False)
