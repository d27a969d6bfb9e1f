"""``python -m mda_aptnn.cli`` does what ``mda-aptnn`` does."""

from mda_aptnn.cli import main

main()
