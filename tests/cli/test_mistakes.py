"""What is said to the mistakes that users make, as the documentation shows it."""

import pytest

import tests
from tests.mistakes import MISTAKES, table, without_others

PAGE = tests.ROOT / "docs" / "mistakes.md"


@pytest.mark.slow
def test_every_mistake_is_answered_as_documented():
    assert len({command for _, command in MISTAKES}) == len(MISTAKES) >= 40
    made = table()
    # an installed package has no docs beside it
    if PAGE.exists():
        page = PAGE.read_text()
        assert without_others(made) == without_others(page), (
            "python -m tests.mistakes > docs/mistakes.md"
        )
