"""Spectra resolved in space: by distance between molecules, by position along an axis."""
