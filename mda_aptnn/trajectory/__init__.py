"""Readers that MDAnalysis does not have; importing them registers them."""
