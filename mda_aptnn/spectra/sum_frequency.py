"""Sum-frequency generation: the polarizability's rate of change with the dipole's, and the two
sides of a slab.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mda_aptnn import units
from mda_aptnn.errors import SpectrumError
from mda_aptnn.spectra.correlation import cross_correlation
from mda_aptnn.spectra.densities import segment_weights, velocity_correction, warn_if_short
from mda_aptnn.spectra.dielectric import causal_transform
from mda_aptnn.spectra.sfg import COMPONENTS, SumFrequencySpectrum, axes_of
from mda_aptnn.spectra.statistics import Segments, choose_segments
from mda_aptnn.spectra.transform import CosineTransform

Array = NDArray[np.float64]

#: The two sides of a slab and what is between, in the order of `slab_weights`.
SLAB_GROUPS = ("upper", "bulk", "lower")


def slab_weights(heights: NDArray[np.float64], inner: Any, outer: Any) -> NDArray[np.float64]:
    """Return how much of each molecule belongs to the upper side of a slab, to its bulk and to its
    lower side.

    Parameters
    ----------
    heights : ndarray, shape [...]
        Of the molecules above the middle of the slab, in Å; negative below.
    inner, outer : float, str or pint.Quantity
        Distances from the middle, in Å: up to `inner` a molecule is bulk, from `outer` on it
        belongs to its side.

    Returns
    -------
    ndarray, shape [..., 3]
        They sum to 1. Upper minus lower is the antisymmetric switch: ±1 outside, sin²(π/2 · (|z| −
        inner)/(outer − inner)) between, smooth in z.

    Raises
    ------
    SpectrumError
        If `outer` is not beyond `inner`.
    """
    inner, outer = (
        units.magnitude(value, units.LENGTH, name)
        for value, name in ((inner, "inner"), (outer, "outer"))
    )
    if not 0 <= inner < outer:
        raise SpectrumError(
            f"a slab's switch needs 0 ≤ inner < outer, not {inner:g} and {outer:g} Å"
        )
    rise = np.sin(np.pi / 2 * np.clip((np.abs(heights) - inner) / (outer - inner), 0, 1)) ** 2
    return np.stack(
        [np.where(heights > 0, rise, 0), 1 - rise, np.where(heights > 0, 0, rise)], axis=-1
    )


def slab_sums(rates: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return sums over molecules for the sides of a slab, whose sum is the total.

    Parameters
    ----------
    rates : ndarray, shape [n_frames, n_molecules, ...]
        α̇ [.., 3, 3] or Ṁ [.., 3] of each molecule.
    weights : ndarray, shape [n_frames, n_molecules, 3]
        See `slab_weights`.

    Returns
    -------
    ndarray, shape [n_frames, 3, ...]
        Groups in the order of `SLAB_GROUPS`.
    """
    sums: NDArray[np.float64] = np.einsum("fm...,fmg->fg...", rates, weights)
    return sums


def sum_frequency_spectrum(
    polarizability: Sequence[NDArray[np.float64]],
    flux: Sequence[NDArray[np.float64]],
    groups: Sequence[str],
    spacing: float,
    temperature: float,
    area: float | None,
    *,
    components: Sequence[str] = COMPONENTS,
    resolution: float = 10.0,
    window: str = "gaussian",
    unbiased: bool = False,
    segments: int | str | None = "auto",
    finite_difference: float = 0.0,
    notes: Sequence[str] = (),
    info: Mapping[str, Any] | None = None,
) -> SumFrequencySpectrum:
    """Return the resonant second-order susceptibility of a surface.

    Parameters
    ----------
    polarizability : sequence of ndarray, shape [n_frames, n_groups, 3, 3]
        α̇ of each group, α/4πε₀, in Å³/ps, one array per uninterrupted series.
    flux : sequence of ndarray, shape [n_frames, n_groups, 3]
        Ṁ of the same groups, in e·Å/ps.
    groups : sequence of str
        Names of the groups.
    spacing : float
        In ps.
    temperature : float
        In K.
    area : float or None
        Of the surface in Å²; None if there is only a whole sample.
    components : sequence of str
        Of χ_abc, such as "xxz": ab of the polarizability, c of the dipole.
    resolution, window, unbiased, segments, finite_difference
        As in `mda_aptnn.spectra.estimator.Estimator`.
    notes, info
        Kept with the result; the estimator is added.

    Raises
    ------
    SpectrumError
        If the series do not belong together or are too short, or a number is not positive.

    Notes
    -----
    χ_abc(ω) = (iβ/ω) ∫₀^∞ dt e^{iωt} ⟨Ṁ_c(0) α̇_ab(t)⟩ for fields e^{−iωt}: Kubo's formula of the
    classical response, integrated by parts, which for harmonic vibrations is the quantum one (A.
    Morita, J. T. Hynes, J. Phys. Chem. B 106, 673 (2002); T. Ohto et al., J. Chem. Phys. 143,
    124702 (2015)). Both α̇ and Ṁ are odd under time reversal, so the average over both signs of t
    is taken. Derived in docs/raman.md.
    """
    _check(polarizability, flux, temperature, area)
    transform = CosineTransform.plan(window, resolution, spacing, max(len(part) for part in flux))
    wavenumber, correction = velocity_correction(transform.wavenumber, finite_difference)
    if window != "none":
        warn_if_short([len(part) for part in flux], transform, resolution, unbiased, components=1)
    joint = [
        [_joint(a, m, name) for a, m in zip(polarizability, flux, strict=True)]
        for name in components
    ]

    def terms_of(series: Sequence[Array]) -> NDArray[Any]:
        even = _even_correlation(series, transform.n_lags, unbiased)
        return response_of_correlation(even, transform, temperature, correction)

    parts = choose_segments(joint[0], segments, resolution, spacing) if joint else []
    return SumFrequencySpectrum(
        # χ/ω at ω = 0 is the static response of what diffuses, not a resonance
        wavenumber=units.quantity(wavenumber[1:], units.WAVENUMBER),
        groups=list(groups),
        component_names=list(components),
        terms=units.quantity(
            np.stack([terms_of(series) for series in joint], axis=1), SumFrequencySpectrum.unit
        ),
        area=None if area is None else units.quantity(area, "angstrom^2"),
        temperature=units.quantity(temperature, units.TEMPERATURE),
        resolution=units.quantity(resolution if window != "none" else 0.0, units.WAVENUMBER),
        window=window,
        segments=_segments(joint, parts, segments, transform, terms_of, unbiased, resolution)
        if parts
        else None,
        notes=list(notes),
        info={**(info or {}), "estimator": "1/(N - n)" if unbiased else "1/N"},
    )


def response_of_correlation(
    correlation: NDArray[np.float64],
    transform: CosineTransform,
    temperature: float,
    correction: Array | None = None,
) -> NDArray[np.complex128]:
    """Return A·χ of a correlation function, on the grid of `transform` without ω = 0.

    Parameters
    ----------
    correlation : ndarray, shape [n_lags, ...]
        ⟨Ṁ(0) α̇(t)⟩, the mean over both signs of t, in e·Å⁴/ps².
    transform : CosineTransform
    temperature : float
        In K.
    correction : ndarray, shape [n_frequencies], optional
        What densities are multiplied with, see `mda_aptnn.spectra.densities.velocity_correction`;
        the grid ends where it does.

    Returns
    -------
    ndarray of complex, shape [n_frequencies − 1, ...]
        In Å⁴/V.

    Notes
    -----
    Only the cosine transform is exact for a sampled correlation function. A sum of sines would be
    ½Δ cot(½ωΔ) of each frequency ω instead of 1/ω: Re χ far from resonance comes out 11 % too large
    at a spacing Δ of 2 fs and 65 % at 4 fs. So the sine transform is made of the cosine transform,
    by causality.
    """
    if correction is None:
        correction = np.ones(len(transform.wavenumber))
    shape = -1, *[1] * (correlation.ndim - 1)
    real = 0.5 * transform(correlation)[: len(correction)] * correction.reshape(shape)
    one_sided = np.empty(real.shape, dtype=complex)
    # one after the other: the fine grid of the causal transform takes 16 times as much memory
    for index in np.ndindex(real.shape[1:]):
        one_sided[:, *index] = causal_transform(real[:, *index])
    omega = 2 * np.pi * units.SPEED_OF_LIGHT * transform.wavenumber[1 : len(correction)]
    factor = units.SECOND_ORDER_FACTOR / (units.BOLTZMANN * temperature * omega)
    return np.asarray(1j * factor.reshape(shape) * one_sided[1:], dtype=np.complex128)


def _check(
    polarizability: Sequence[Array], flux: Sequence[Array], temperature: float, area: float | None
) -> None:
    if temperature <= 0:
        raise SpectrumError(f"the temperature must be positive, not {temperature} K")
    if area is not None and area <= 0:
        raise SpectrumError(f"the area must be positive, not {area} Å²")
    shapes = [part.shape for part in polarizability], [(*part.shape, 3) for part in flux]
    if shapes[0] != shapes[1]:
        raise SpectrumError(
            f"α̇ has the shapes {shapes[0]} and Ṁ {[part.shape for part in flux]}: they must be of "
            f"the same "
            "frames and groups"
        )


def _joint(polarizability: Array, flux: Array, component: str) -> Array:
    """Ṁ_c of all groups and then α̇_ab of all groups, as one series of one component [n_frames, 2
    n_groups, 1].
    """
    a, b, c = axes_of(component)
    symmetric = 0.5 * (polarizability[:, :, a, b] + polarizability[:, :, b, a])
    return np.concatenate([flux[:, :, c], symmetric], axis=1)[:, :, None]


def _even_correlation(series: Sequence[Array], n_lags: int, unbiased: bool) -> Array:
    """⟨Ṁ_h(0) α̇_g(t)⟩, the mean over both signs of t, [n_lags, n_groups of α̇, n_groups of Ṁ]."""
    n = series[0].shape[1] // 2
    correlation = cross_correlation(series, n_lags, unbiased=unbiased)
    even: Array = 0.5 * (correlation[:, :n, n:].transpose(0, 2, 1) + correlation[:, n:, :n])
    return even


def _segments(
    joint: list[list[Array]],
    parts: list[list[Array]],
    segments: int | str | None,
    transform: CosineTransform,
    terms_of: Callable[[Sequence[Array]], NDArray[Any]],
    unbiased: bool,
    resolution: float,
) -> Segments:
    """Real and imaginary parts of all terms of each segment."""
    values = np.array(
        [
            [
                terms_of(part)
                for part in choose_segments(series, segments, resolution, transform.spacing)
            ]
            for series in joint
        ]
    )
    terms = np.moveaxis(
        values, 0, 2
    )  # [n_segments, n_frequencies, n_components, n_groups, n_groups]
    both = np.stack([terms.real, terms.imag], axis=2)
    lengths, inflation = segment_weights(joint[0], parts, transform, unbiased)
    return Segments(both.reshape(*both.shape[:2], -1).astype(np.float32), lengths, inflation)
