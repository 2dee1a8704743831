"""Cache the results of functions of a model: comparing declarations by value takes longer than computing most results."""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable
from dataclasses import replace
from typing import TypeVar

from canvas_sync_dagster.catalogue.model import Model

T = TypeVar("T")
H = TypeVar("H", bound=Hashable)
MOST = 512
"""Results that are kept; a code location has about thirty models."""


def once_per_model(function: Callable[[Model], T]) -> Callable[[Model], T]:
    """Make a function remember its result for each model. Two equal declarations are two models."""

    @functools.lru_cache(maxsize=MOST)
    def remembered(same: _Same) -> T:
        return function(same.model)

    @functools.wraps(function)
    def cached(model: Model) -> T:
        return remembered(_Same(model))

    return cached


def once_per_model_and(function: Callable[[Model, H], T]) -> Callable[[Model, H], T]:
    """Make a function of a model and a hashable value remember its results, as `once_per_model` does."""

    @functools.lru_cache(maxsize=MOST)
    def remembered(same: _Same, value: H) -> T:
        return function(same.model, value)

    @functools.wraps(function)
    def cached(model: Model, value: H) -> T:
        return remembered(_Same(model), value)

    return cached


class _Same:
    """Compares models by identity, and keeps the model, so that its identity is not used again."""

    __slots__ = ("model",)

    def __init__(self, model: Model) -> None:
        self.model = model

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.model is self.model

    def __hash__(self) -> int:
        return id(self.model)


@once_per_model
def with_history(model: Model) -> Model:
    """Return a model that keeps earlier states of its rows, the same object for the same model."""
    return replace(model, history=True)
