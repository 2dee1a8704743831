"""The setting `feeds`: which models have which feeds. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from canvas_sync_dagster.catalogue.model import Model


def refuse_impossible_feeds(feeds: Mapping[str, str], models: Iterable[Model]) -> None:
    """Check the setting `feeds`.

    Raises:
        ValueError: A model is unknown, or does not have the feed; the message names it.
    """
    known = {model.name: model for model in models}
    for name, feed in feeds.items():
        if name not in known:
            raise ValueError(f"unknown model {name}")
        if feed == "rest" and known[name].walk is None:
            walked = ", ".join(each for each, model in known.items() if model.walk is not None)
            raise ValueError(f"{name} has no feed over REST; these have one: {walked}")
        if feed == "report" and known[name].walk is known[name].feed:
            raise ValueError(f"no report feeds {name}; it is read over REST")
