"""The documentation keeps its word: its links lead somewhere, and its commands and options exist."""

import re
import tomllib
from pathlib import Path

import pytest

from headcount.cli.main import app

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md")), *sorted((ROOT / "headcount" / "weights").glob("*.md"))]
LOGS = {"results.md", "log"}  # records of what was measured, whose commands were right at their time
LIVING = [page for page in PAGES if not LOGS & set(page.relative_to(ROOT).parts)]
FENCE = re.compile(r"^```.*?^```", re.M | re.S)


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def slug(heading: str) -> str:
    """The anchor of a heading, as GitHub and the site make it."""
    text = re.sub(r"[`*]|\[([^]]*)\]\([^)]*\)", r"\1", heading)
    return re.sub(r"[^\w -]", "", text.lower()).strip().replace(" ", "-")


def anchors(page: Path) -> set[str]:
    return {slug(heading) for heading in re.findall(r"^#+ (.*)$", FENCE.sub("", page.read_text()), re.M)}


def commands(text: str) -> list[tuple[str, list[str]]]:
    """Each `headcount COMMAND` in code, with the options that follow it on its line."""
    code = [block for block in FENCE.findall(text)] + re.findall(r"`([^`\n]+)`", FENCE.sub("", text))
    lines = "\n".join(code).replace("\\\n", " ").splitlines()
    found = []
    for line in (line.split("#")[0] for line in lines):
        match = re.match(r"\s*(?:torchrun .* -m )?headcount ([a-z]+)\b(.*)", line)
        if match:
            found.append((match[1], re.findall(r"(?<!\S)--[a-z][\w-]*", match[2])))
    return found


def options_of(command: str) -> set[str]:
    return {name for argument in app[command].assemble_argument_collection() for name in argument.names}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page):
    for text, link in re.findall(r"\[([^]]*)\]\(([^)\s]+)\)", FENCE.sub("", page.read_text())):
        if re.match(r"[a-z]+:", link):
            continue
        file, _, anchor = link.partition("#")
        target = page if not file else page.parent / file
        assert target.exists(), f"[{text}]({link})"
        assert not anchor or anchor in anchors(target), f"[{text}]({link}): no such heading"


@pytest.mark.parametrize("page", LIVING, ids=name_of)
def test_commands_and_their_options_exist(page):
    for command, options in commands(page.read_text()):
        assert command in app, f"headcount {command}"
        for option in options:
            assert option in options_of(command), f"headcount {command} {option}"


def test_commands_are_found_in_code():
    assert commands("```sh\nheadcount count x --ray auto  # --no\n```\nand `headcount info`") == [
        ("count", ["--ray"]),
        ("info", []),
    ]
    assert commands("```sh\ntorchrun --nproc 2 \\\n  -m headcount train --resume\n```") == [("train", ["--resume"])]
    assert "--ray" in options_of("count")
    assert "--nonsense" not in options_of("count")


@pytest.mark.parametrize("page", LIVING, ids=name_of)
def test_nobody_is_told_to_install_a_name_that_is_not_registered(page):
    assert not re.search(r"pip install (-\S+ )*['\"]?headcount", page.read_text())


@pytest.mark.parametrize("page", [page for page in LIVING if page.name != "method.md"], ids=name_of)
def test_lines_are_short(page):
    long = [line for line in page.read_text().splitlines() if len(line) > 110]
    assert not long, f"over 110 characters: {long[0]}"


def test_every_page_is_in_the_navigation():
    def pages(entry) -> list[str]:
        if isinstance(entry, str):
            return [entry]
        return [page for part in (entry.values() if isinstance(entry, dict) else entry) for page in pages(part)]

    nav = pages(tomllib.loads((ROOT / "zensical.toml").read_text())["project"]["nav"])
    written = [page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md")]
    assert sorted(nav) == sorted(page for page in written if not page.startswith("log/"))  # results.md links to those


def test_files_that_the_design_names_exist():
    for path in re.findall(r"`((?:tests|headcount)/[\w/.]+)`", (DOCS / "design.md").read_text()):
        assert (ROOT / path).exists(), path
