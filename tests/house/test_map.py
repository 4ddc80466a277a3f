"""The maps are true: docs/architecture.md, README's map and CONTRIBUTING name what there is, and name all of it."""

from __future__ import annotations

import re

import pytest

from tests.support.process import ROOT
from tests.support.rooms import FLOORS

ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
# Where a page's short paths begin: `hub/state.py`, and `link.py` behind another file of its folder.
FOLDERS = ["", "sse_bridge", "sse_bridge/streams", "sse_bridge/backends/redis", "sse_bridge/wire", "integrations"]
ROOMS = [
    name.removeprefix("streams.")
    for name in FLOORS
    if name != "streams" and (ROOT / "sse_bridge" / name.replace(".", "/")).is_dir()
]
FILE = re.compile(r"`([\w/.]+/|(?:[\w.]+/)*\w+\.(?:py|lua|md))(?:: (\w+))?`")


@pytest.mark.parametrize("page", ["docs/architecture.md", "README.md", "CONTRIBUTING.md"])
def test_files_that_a_page_names_exist(page: str) -> None:
    wrong = []
    for name, member in FILE.findall((ROOT / page).read_text(encoding="utf-8")):
        found = [path for folder in FOLDERS if (path := ROOT / folder / name).exists()]
        if not found or (member and not re.search(rf"\b{member}\b", found[0].read_text(encoding="utf-8"))):
            wrong.append(f"{name}: {member}" if member else name)
    assert not wrong, f"{page} names what is elsewhere by now: {wrong}"


@pytest.mark.parametrize("page", ["docs/architecture.md", "README.md"])
def test_the_drawn_map_has_the_rooms_from_the_ground_up(page: str) -> None:
    drawn = re.search(r"```\nsse_bridge/.*?\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL)
    assert drawn is not None
    core = [path for path in (ROOT / "sse_bridge").rglob("*") if path.suffix == ".py" or path.is_dir()]
    missing = set(re.findall(r"\b\w+\.py\b|(?<=^  )\w+(?=/)", drawn[1], re.MULTILINE)) - {path.name for path in core}
    assert not missing, f"{page} draws what is elsewhere by now: {missing}"
    places = [name for name in re.findall(r"^  (?:  )?(\w+)/ ", drawn[1], re.MULTILINE) if name in ROOMS]
    assert places == [name for name in ROOMS if name in places]
    assert set(ROOMS) <= set(places) or page == "README.md", "the README draws the large ones only"


def test_every_folder_of_tests_stands_in_the_table() -> None:
    table = ARCHITECTURE.split("### Which test is where")[1].split("###")[0]
    folders = {path.parent.name for path in (ROOT / "tests").glob("*/__init__.py")}
    assert folders - set(re.findall(r"`(\w+)`", table)) == set()
