"""Tests without external programs: ``pytest --pyargs mda_aptnn.tests``."""
