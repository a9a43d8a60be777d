"""The documentation: its links lead somewhere, and the index names every page."""

import re

from tests.unit.source_tree import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "doc").rglob("*.md"))]
LINK = re.compile(r"\]\(([^)#\s]+)[^)]*\)")


def test_every_relative_link_leads_to_a_file():
    broken = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in PAGES
        for target in LINK.findall(page.read_text(encoding="utf-8"))
        if not re.match(r"[a-z]+:", target) and not (page.parent / target).exists()
    ]
    assert not broken


def test_every_page_can_be_reached_from_the_index():
    reached = {ROOT / "doc" / "README.md"}
    waiting = list(reached)
    while waiting:
        page = waiting.pop()
        for target in LINK.findall(page.read_text(encoding="utf-8")):
            found = (page.parent / target).resolve()
            found = found / "README.md" if found.is_dir() else found
            if found.suffix == ".md" and found.exists() and found not in reached:
                reached.add(found)
                waiting.append(found)
    fragments = ROOT / "doc" / "changes"
    lost = [page for page in PAGES if page not in reached and page.parent != fragments]
    assert not lost
