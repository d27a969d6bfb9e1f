"""Trajectory and model to flux, flux to spectra."""
