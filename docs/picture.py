"""Draws which table points to which as an SVG: parents on the left, each table with the columns that point to others."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from html import escape

from canvas_sync_dagster.catalogue import Domain, Model

WIDTH, GAP_X, GAP_Y, LINE, HEAD, MARGIN = 240, 110, 22, 17, 26, 24
"""Pixels: of a box, between boxes, of a line of text, of a box's head, around all."""
COLOURS = {
    Domain.PEOPLE: "#8a3ffc",
    Domain.COURSES: "#0b5cad",
    Domain.COURSEWORK: "#1a7f37",
    Domain.OUTCOMES: "#9a6700",
    Domain.CONTENT: "#bf3989",
    Domain.ORGANISATION: "#57606a",
}
"""Of the head of a box, by the domain of its table; white text is readable on each."""
STYLE = (
    "text{font:12px ui-monospace,Menlo,monospace;fill:#24292f}.name{font-weight:bold;fill:#fff}"
    ".box{fill:#fff;stroke:#57606a}.arrow{fill:none;stroke:#8c959f;stroke-width:1.2}"
)


def entity_picture(models: Iterable[Model]) -> str:
    """Draws all tables; a line goes from a column to the table whose ids it holds."""
    chosen = tuple(models)
    by_name = {model.name: model for model in chosen}
    arrows = {model.name: _pointing(model, by_name) for model in chosen}
    ranks = _ranks(arrows)
    places, size = _places(chosen, arrows, ranks)
    lines = [line for model in chosen for line in _arrows(places, model, arrows[model.name])]
    boxes = [_box(places[model.name], model, arrows[model.name]) for model in chosen]
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size[0]} {size[1]}" width="{size[0]}" height="{size[1]}">'
    ground = f'<style>{STYLE}</style><rect width="100%" height="100%" fill="#f6f8fa"/>'
    return "\n".join([head, ground, *lines, *boxes, "</svg>", ""])


def _pointing(model: Model, by_name: Mapping[str, Model]) -> list[tuple[str, str]]:
    """Returns the columns that hold ids of another table, with its name."""
    found = {column: parent.name for column, parent in model.references(by_name)}
    if len(model.term_by) > 1:
        found.setdefault(model.term_by[0], model.term_by[1])
    return list(found.items())


def _ranks(arrows: dict[str, list[tuple[str, str]]]) -> dict[str, int]:
    """Numbers the tables by the longest way to one that points nowhere; parents are declared before children."""
    ranks: dict[str, int] = {}
    for name, pointing in arrows.items():
        ranks[name] = 1 + max((ranks[parent] for _, parent in pointing), default=-1)
    return ranks


def _places(
    models: tuple[Model, ...], arrows: dict[str, list[tuple[str, str]]], ranks: dict[str, int]
) -> tuple[dict[str, tuple[int, int]], tuple[int, int]]:
    below: dict[int, int] = defaultdict(lambda: MARGIN)
    places = {}
    for model in models:
        rank = ranks[model.name]
        places[model.name] = (MARGIN + rank * (WIDTH + GAP_X), below[rank])
        below[rank] += _height(model, arrows[model.name]) + GAP_Y
    width = 2 * MARGIN + (max(ranks.values()) + 1) * (WIDTH + GAP_X) - GAP_X
    return places, (width, max(below.values()) + MARGIN - GAP_Y)


def _shown(model: Model, pointing: list[tuple[str, str]]) -> list[str]:
    return list(dict.fromkeys([*model.key, *(column for column, _ in pointing)]))


def _height(model: Model, pointing: list[tuple[str, str]]) -> int:
    return HEAD + LINE * len(_shown(model, pointing)) + 8


def _box(place: tuple[int, int], model: Model, pointing: list[tuple[str, str]]) -> str:
    x, y = place
    rows = [
        f'<text x="{x + 10}" y="{y + HEAD + LINE * (number + 1) - 3}">'
        f"{escape(column)}{' (key)' if column in model.key else ''}</text>"
        for number, column in enumerate(_shown(model, pointing))
    ]
    return (
        f'<a href="#{escape(model.name)}"><rect class="box" x="{x}" y="{y}" width="{WIDTH}" height="{_height(model, pointing)}" rx="4"/>'
        f'<rect fill="{COLOURS[model.domain]}" x="{x}" y="{y}" width="{WIDTH}" height="{HEAD}" rx="4">'
        f"<title>{model.domain}</title></rect>"
        f'<text class="name" x="{x + 10}" y="{y + 17}">{escape(model.name)}</text>{"".join(rows)}</a>'
    )


def _arrows(places: dict[str, tuple[int, int]], model: Model, pointing: list[tuple[str, str]]) -> Iterable[str]:
    x, y = places[model.name]
    for column, parent in pointing:
        end_x, end_y = places[parent][0] + WIDTH, places[parent][1] + HEAD // 2
        start_y = y + HEAD + LINE * (_shown(model, pointing).index(column) + 1) - 7
        bend = max(GAP_X // 2, (x - end_x) // 3)
        yield f'<path class="arrow" d="M{x},{start_y} C{x - bend},{start_y} {end_x + bend},{end_y} {end_x},{end_y}"/>'
