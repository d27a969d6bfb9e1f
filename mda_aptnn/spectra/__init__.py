"""From a series of fluxes, dipoles or velocities to a spectrum with its error bars."""
