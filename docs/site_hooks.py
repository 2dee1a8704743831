"""Hooks of MkDocs: files of the repository as pages, a picture that can be zoomed, plain Markdown of each page, `llms.txt`."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from markdownify import markdownify
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

DOCS = Path(__file__).parent
ROOT = DOCS.parent
PROJECT = "project"
"""Directory of the site for files outside of docs/ that a page links to."""
ROOTS = (
    "CHANGELOG.md",
    "CODE_OF_CONDUCT.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "deploy/README.md",
    "examples/README.md",
)
"""Pages outside of docs/ that are in the navigation."""
LANGUAGES = {".py": "python", ".yaml": "yaml", ".yml": "yaml", ".sql": "sql", "": "text"}
LINK = re.compile(r"(!?\[[^\]]*\]\()([^)\s]+)(\))")
FENCE = re.compile(r"^( *)(```+)(.*)$")

_plain: dict[str, tuple[str, str]] = {}
"""Path of each page's Markdown in the site → its title and its text."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the files outside of docs/ that a page links to: Markdown as it is, others as a page with their text.

    Raises:
        PluginError: A link leads to a directory or out of the repository.
    """
    waiting = [ROOT / name for name in ROOTS]
    waiting += [DOCS / file.src_uri for file in files if file.src_uri.endswith(".md")]
    seen: set[Path] = set()
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        if not path.is_relative_to(DOCS):
            files.append(File.generated(config, _uri(path), content=_content(path)))
        if path.suffix == ".md":
            waiting += [target for target in _targets(path) if not target.is_relative_to(DOCS)]
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let the links of a page lead to the site, and show fences with a second word (`python test`) as code."""
    source = _source(page.file)
    text = _outside_fences(markdown, lambda part: LINK.sub(lambda link: _link(link, source, page.file.src_uri), part))
    return re.sub(r"^( *```\w+) \w+$", r"\1", text, flags=re.MULTILINE)


def on_page_content(html: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Keep the page as Markdown, and put the picture of the tables into the page, where its boxes are links."""
    source = page.markdown or ""
    text = (
        markdownify(html, heading_style="ATX", escape_underscores=False) if re.search("^::: ", source, re.M) else source
    )
    _plain[Path(page.file.dest_uri).with_suffix(".md").as_posix()] = (page.title or "", text)
    if 'src="../images/tables.svg"' in html:
        picture = (DOCS / "images" / "tables.svg").read_text(encoding="utf-8")
        html = re.sub(
            r'<img[^>]*src="../images/tables.svg"[^>]*>', lambda _: f'<div class="zoom">{picture}</div>', html
        )
    return html


def on_post_build(config: MkDocsConfig) -> None:
    """Write the Markdown of each page next to it, and `llms.txt`, which lists them."""
    site = Path(config.site_dir)
    for name, (_, text) in _plain.items():
        (site / name).write_text(re.sub(r"\.html(#[^)\s]*)?\)", r".md\1)", text), encoding="utf-8")
    lines = [f"# {config.site_name}", "", f"> {config.site_description}", ""]
    for section in config.nav or []:
        ((title, entries),) = section.items()
        pages = [name for name in _entries(entries) if _as_md(name) in _plain]
        lines += [f"## {title}", "", *(f"- [{_plain[_as_md(name)][0]}]({_as_md(name)})" for name in pages), ""]
    (site / "llms.txt").write_text("\n".join(lines), encoding="utf-8")
    _plain.clear()


def _entries(entries: Any) -> Iterator[str]:
    if isinstance(entries, str):
        yield entries
    else:
        for entry in entries.values() if isinstance(entries, dict) else entries:
            yield from _entries(entry)


def _as_md(name: str) -> str:
    return name.replace("README.md", "index.md")


def _source(file: File) -> Path:
    """Return the file of the repository from which a page was made."""
    if file.src_uri.startswith(f"{PROJECT}/"):
        path = ROOT / file.src_uri.removeprefix(f"{PROJECT}/")
        return path if path.exists() else path.with_suffix("")
    return DOCS / file.src_uri


def _uri(path: Path) -> str:
    name = f"{PROJECT}/{path.relative_to(ROOT).as_posix()}"
    return name if path.suffix == ".md" else f"{name}.md"


def _content(path: Path) -> str:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        return text
    language = LANGUAGES.get(path.suffix, "text")
    return f"# {path.relative_to(ROOT).as_posix()}\n\n````{language}\n{text.rstrip()}\n````\n"


def _targets(path: Path) -> Iterator[Path]:
    parts: list[str] = []
    _outside_fences(path.read_text(encoding="utf-8"), lambda part: parts.append(part) or part)
    for link in LINK.finditer("".join(parts)):
        target = unquote(link[2].partition("#")[0])
        if target and not re.match(r"[a-z]+:", target):
            goal = (path.parent / target).resolve()
            if not goal.is_file() or not goal.is_relative_to(ROOT):
                raise PluginError(f"{path.relative_to(ROOT)}: {target} is not a file of the repository")
            yield goal


def _link(link: re.Match[str], source: Path, page: str) -> str:
    target, _, anchor = link[2].partition("#")
    if not target or re.match(r"[a-z]+:", target):
        return link[0]
    goal = (source.parent / unquote(target)).resolve()
    if not goal.is_relative_to(ROOT) or not goal.exists():
        return link[0]
    uri = goal.relative_to(DOCS).as_posix() if goal.is_relative_to(DOCS) else _uri(goal)
    place = os.path.relpath(uri, Path(page).parent)
    return f"{link[1]}{place}{'#' + anchor if anchor else ''}{link[3]}"


def _outside_fences(text: str, change: Any) -> str:
    """Return the text with the parts outside of fenced code changed."""
    done, part, fence = [], [], ""
    for line in text.splitlines(keepends=True):
        found = FENCE.match(line.rstrip("\n"))
        if fence:
            done.append(line)
            if found and found[2] == fence and not found[3].strip():
                fence = ""
        elif found:
            done += [change("".join(part)), line]
            part, fence = [], found[2]
        else:
            part.append(line)
    return "".join([*done, change("".join(part))])
