"""Infrared spectra from molecular-dynamics trajectories by machine-learned atomic polar tensors."""
