"""The documentation: its links lead somewhere, and every page is linked."""

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
    reached = {ROOT / "doc" / "README.md", ROOT / "README.md"}
    waiting = list(reached)
    while waiting:
        page = waiting.pop()
        for target in LINK.findall(page.read_text(encoding="utf-8")):
            found = (page.parent / target).resolve()
            for file in sorted(found.glob("*.md")) if found.is_dir() else [found]:
                if file.suffix == ".md" and file.exists() and file not in reached:
                    reached.add(file)
                    waiting.append(file)
    assert not set(PAGES) - reached


def test_names_in_walkthroughs_are_in_the_files_they_link():
    named = re.compile(r"\[`(\w+)`\]\(([^)#\s]+\.py)\)")
    missing = []
    for page in sorted((ROOT / "doc" / "walkthroughs").glob("*.md")):
        for name, target in named.findall(page.read_text(encoding="utf-8")):
            source = (page.parent / target).read_text(encoding="utf-8")
            if not re.search(rf"^(async def|def|class) {name}\b", source, re.MULTILINE):
                missing.append(f"{page.name}: {name} in {target}")
    assert not missing
