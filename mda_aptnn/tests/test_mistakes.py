"""What is said to the mistakes that users make, as the documentation shows it."""

from pathlib import Path

import pytest

from mda_aptnn.tests.mistakes import MISTAKES, table

PAGE = Path(__file__).parent.parent.parent / "docs" / "mistakes.md"


@pytest.mark.slow
def test_every_mistake_is_answered_as_documented():
    assert len({command for _, command in MISTAKES}) == len(MISTAKES) >= 40
    made = table()
    # an installed package has no docs beside it
    if PAGE.exists():
        assert made == PAGE.read_text(), "python -m mda_aptnn.tests.mistakes > docs/mistakes.md"
