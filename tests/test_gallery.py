"""Each picture of the gallery and of the front pages is drawn by a block below it.

That the blocks run is for `test_examples.py`.
"""

import re

import pytest
from PIL import Image

from tests import ROOT, examples, gallery


@pytest.mark.parametrize("page", [*gallery.PAGES, "README.md"])
def test_every_picture_is_drawn_by_lines_below_it(page):
    names = gallery.pictures_of(page)
    assert len(names) == len(set(names)) >= 1
    text = (ROOT / page).read_text()
    lines = {block.line: block.code for block in examples.blocks(ROOT, page)}
    for name in names:
        line = text.count("\n", 0, text.index(f"gallery/{name}"))
        assert any(name in code for start, code in lines.items() if start > line), name
        with Image.open(gallery.FOLDER / name) as picture:
            assert max(picture.size) <= 900
        assert (gallery.FOLDER / name).stat().st_size < 100_000


def test_no_picture_is_left_over():
    shown = {name for page in gallery.PAGES for name in gallery.pictures_of(page)}
    assert {path.name for path in gallery.FOLDER.iterdir()} == shown


def test_front_pages_show_picture_install_line_and_five_lines_first():
    """Before any heading; the lines are the same on both."""
    shown = []
    for page in ("README.md", "docs/index.md"):
        text = (ROOT / page).read_text()
        top = text[: 1 + text.index("\n## ")] if page == "README.md" else text
        at = [top.index(part) for part in ("gallery/front.png", "pip install", "```python")]
        assert at == sorted(at) and at[-1] < 1800
        [python] = [b for b in examples.blocks(ROOT, page) if "front.png" in b.code]
        shown.append(python.code)
        assert len(re.findall(r"^\S", python.code, re.M)) == 5
    assert shown[0] == shown[1]
