"""Quantum correction factors of classical line shapes, relative to the harmonic one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from mda_aptnn import units
from mda_aptnn.errors import SpectrumError

Array = NDArray[np.float64]

#: Factor on the harmonic spectrum as a function of x = βħω; all are 1 at x = 0. Derived in
#: docs/theory.md.
_FACTORS: dict[str, Callable[[Array], Array]] = {
    "harmonic": np.ones_like,
    "standard": lambda x: _ratio(2 * np.tanh(x / 2), x),
    "schofield": lambda x: _ratio(2 * np.sinh(np.minimum(x / 2, 300.0)), x),
    "none": lambda x: _ratio(-np.expm1(-x), x),
}
CORRECTIONS = tuple(_FACTORS)


def _ratio(values: Array, x: Array) -> Array:
    return np.divide(values, x, out=np.ones_like(x), where=x > 0)


def quantum_factor(name: str, wavenumber: Array, temperature: float) -> Array:
    """Return what the harmonic spectrum is multiplied with.

    Parameters
    ----------
    name : {"harmonic", "standard", "schofield", "none"}
        1, 2·tanh(x/2)/x, 2·sinh(x/2)/x, (1 − e⁻ˣ)/x with x = βħω.
    wavenumber : ndarray, shape [n_frequencies]
        In cm⁻¹.
    temperature : float
        In K.

    Raises
    ------
    SpectrumError
        If the name is unknown.

    Notes
    -----
    R. Ramírez, T. López-Ciudad, P. Kumar, D. Marx, J. Chem. Phys. 121, 3973 (2004).
    """
    if name not in _FACTORS:
        raise SpectrumError(f"quantum correction {name!r}: choose one of {', '.join(CORRECTIONS)}")
    return _FACTORS[name](
        units.SECOND_RADIATION_CONSTANT * np.asarray(wavenumber, dtype=float) / temperature
    )
