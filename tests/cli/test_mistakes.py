"""What is said to the mistakes that users make, as the documentation shows it."""

import pytest

import tests
from tests.mistakes import MISTAKES, table

PAGE = tests.ROOT / "docs" / "mistakes.md"


@pytest.mark.slow
def test_every_mistake_is_answered_as_documented():
    assert len({command for _, command in MISTAKES}) == len(MISTAKES) >= 40
    made = table()
    # an installed package has no docs beside it
    if PAGE.exists():
        assert made == PAGE.read_text(), "python -m tests.mistakes > docs/mistakes.md"
