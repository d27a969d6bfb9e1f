"""From the rate of change of the polarizability to the Raman spectrum."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mda_aptnn import units
from mda_aptnn.errors import SpectrumError
from mda_aptnn.spectra.correlation import component_correlation, cross_correlation
from mda_aptnn.spectra.densities import (
    segment_spectra,
    spectral_terms,
    velocity_correction,
    warn_if_short,
)
from mda_aptnn.spectra.estimator import check_pairs
from mda_aptnn.spectra.raman import RamanSpectrum
from mda_aptnn.spectra.statistics import choose_segments
from mda_aptnn.spectra.transform import CosineTransform
from mda_aptnn.tensors import COLUMNS, ROWS

Array = NDArray[np.float64]


def raman_spectrum(
    series: Sequence[NDArray[np.float64]],
    groups: Sequence[str],
    spacing: float,
    temperature: float,
    *,
    resolution: float = 10.0,
    window: str = "gaussian",
    unbiased: bool = False,
    segments: int | str | None = "auto",
    finite_difference: float = 0.0,
    notes: Sequence[str] = (),
    info: Mapping[str, Any] | None = None,
) -> RamanSpectrum:
    """Return the Raman spectrum of a changing polarizability, as squares of ∂α/∂Q per wavenumber.

    Parameters
    ----------
    series : sequence of ndarray, shape [n_frames, n_groups, 3, 3]
        α̇ of each group, α/4πε₀, in Å³/ps, one array per uninterrupted series. Only its symmetric
        part counts.
    groups : sequence of str
        Names of the groups.
    spacing : float
        In ps.
    temperature : float
        In K.
    resolution, window, unbiased, segments, finite_difference
        As in `mda_aptnn.spectra.estimator.Estimator`.
    notes, info
        Kept with the result; the estimator is added.

    Raises
    ------
    SpectrumError
        If the series are too short for the resolution, the groups are too many for the memory, or
        the temperature is not positive.

    Notes
    -----
    ᾱ'²(ν̃) = (2c/k_BT) ∫ dt cos(ωt) ⟨ᾱ̇(0) ᾱ̇(t)⟩ with ᾱ = tr α/3, and γ'²(ν̃) with (3/2) tr
    β̇(0)β̇(t), β = α − ᾱ·1: a classical harmonic mode, whose ⟨Q̇²⟩ is k_BT, gives a band with the
    integral (∂ᾱ/∂Q)², at any temperature and frequency. Derived in docs/raman.md.
    """
    if temperature <= 0:
        raise SpectrumError(f"the temperature must be positive, not {temperature} K")
    transform = CosineTransform.plan(window, resolution, spacing, max(len(part) for part in series))
    check_pairs(len(groups), transform.size // 2 + 1)
    isotropic, anisotropic, components = _parts(series)
    wavenumber, correction = velocity_correction(transform.wavenumber, finite_difference)
    scale = 2 * units.SPEED_OF_LIGHT / (units.BOLTZMANN * temperature) * correction
    terms = [
        spectral_terms(correlation, transform, scale, window=window, unbiased=unbiased)
        for correlation in (
            cross_correlation(isotropic, transform.n_lags, unbiased=unbiased),
            cross_correlation(anisotropic, transform.n_lags, unbiased=unbiased),
            component_correlation(components, transform.n_lags, unbiased=unbiased),
        )
    ]
    if window != "none":
        # nine components at most, but where a band is totally symmetric there is one
        warn_if_short([len(part) for part in series], transform, resolution, unbiased, components=1)
    most = 16
    chosen = [
        choose_segments(part, segments, resolution, spacing, most)
        for part in (isotropic, anisotropic)
    ]
    first, second = (
        segment_spectra(part, own, transform, scale, unbiased)
        for part, own in zip((isotropic, anisotropic), chosen, strict=True)
    )
    return RamanSpectrum(
        wavenumber=units.quantity(wavenumber, units.WAVENUMBER),
        groups=list(groups),
        isotropic_terms=units.quantity(terms[0], units.RAMAN_ACTIVITY),
        anisotropic_terms=units.quantity(terms[1], units.RAMAN_ACTIVITY),
        components=units.quantity(terms[2], units.RAMAN_ACTIVITY),
        temperature=units.quantity(temperature, units.TEMPERATURE),
        resolution=units.quantity(resolution if window != "none" else 0.0, units.WAVENUMBER),
        window=window,
        segments=None if first is None or second is None else (first, second),
        notes=list(notes),
        info={**(info or {}), "estimator": "1/(N - n)" if unbiased else "1/N"},
    )


def _parts(series: Sequence[Array]) -> tuple[list[Array], list[Array], list[Array]]:
    """ᾱ̇ [n_frames, n_groups, 1]; √(3/2) β̇ [n_frames, n_groups, 9]; six components [n_frames,
    n_groups, 6].
    """
    isotropic, anisotropic, components = [], [], []
    for part in series:
        tensors = 0.5 * (part + part.transpose(0, 1, 3, 2))
        mean = np.trace(tensors, axis1=2, axis2=3) / 3
        rest = tensors - mean[:, :, None, None] * np.eye(3)
        isotropic.append(mean[:, :, None])
        anisotropic.append(np.sqrt(1.5) * rest.reshape(*rest.shape[:2], 9))
        components.append(tensors[:, :, ROWS, COLUMNS])
    return isotropic, anisotropic, components
