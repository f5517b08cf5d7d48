"""A lesson that points to another one points to one that exists."""
import json
import re
from pathlib import Path

import pytest

NBS = Path(__file__).parents[1] / "nbs"
LESSONS = sorted(p for p in NBS.rglob("*.ipynb") if ".ipynb_checkpoints" not in p.parts)
STEMS = {p.stem for p in LESSONS}
LINK = re.compile(r"\]\(((?:\.\./)*[\w/]+\.ipynb)\)")
NAME = re.compile(r"`((?:\w+/)*\d\d[a-z]?_\w+)`")  # such as `data/04_checks`


def prose(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")


@pytest.mark.parametrize("path", LESSONS, ids=lambda p: p.relative_to(NBS).as_posix())
def test_links_lead_to_lessons(path):
    lost = [link for link in LINK.findall(prose(path)) if not (path.parent / link).is_file()]
    lost += [name for name in NAME.findall(prose(path)) if name.split("/")[-1] not in STEMS]
    assert not lost


def test_a_lost_lesson_would_be_seen():
    assert LINK.findall("see [this](../data/04_checks.ipynb)") == ["../data/04_checks.ipynb"]
    assert NAME.findall("needs: `data/04_checks`, `text`") == ["data/04_checks"]
