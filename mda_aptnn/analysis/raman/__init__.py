"""Spectra of the polarizability: Raman scattering and sum-frequency generation."""
