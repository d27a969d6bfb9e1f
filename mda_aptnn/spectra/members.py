"""A committee's say on a spectrum: the spectra of its members about that of their mean."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclasses.dataclass(frozen=True)
class MemberSpectra:
    """The spectra of the members of a committee.

    Attributes
    ----------
    terms : ndarray of float32, shape [n_members, n_frequencies, n_pairs]
        V · n(ω)α(ω) in Å² of each pair of groups, both orders together, in the order of
        `Spectrum.pairs`; the sum over pairs is the total.
    calibrated : bool
        Whether the scatter is calibrated on intensities of bands. If not, it is on single tensors
        at most, and says little of a band, where errors of many atoms cancel or add up.
    """

    terms: NDArray[np.float32]
    calibrated: bool = False

    @property
    def label(self) -> str:
        """What `error` may be called."""
        return (
            "error of the model"
            if self.calibrated
            else "spread of the committee (not calibrated on bands)"
        )

    @classmethod
    def of_fluxes(
        cls,
        members: Sequence[NDArray[np.float64]],
        spectra: Callable[[Sequence[NDArray[np.float64]]], NDArray[np.float32]],
        factor: float | None,
    ) -> MemberSpectra:
        """Return the spectra of the fluxes of members.

        Parameters
        ----------
        members : sequence of ndarray, shape [n_frames, n_members, n_groups, 3]
            One array per uninterrupted series.
        spectra : callable
            Spectra [n_frequencies, n_pairs] of a flux, a sequence of arrays [n_frames, n_groups,
            3].
        factor : float or None
            Of bands, see `mda_aptnn.training.calibration.band_calibration`; None if they are not
            calibrated.

        Notes
        -----
        The spectrum of the flux M + δ has a part that is linear in δ, in which errors of atoms and
        frames cancel unless they have something in common, and one that is quadratic, in which they
        do not. The factor of bands is for the first, that of single tensors, which is in `members`
        already, for the second. With S± of M ± δ they are (S₊ − S₋)/2 and (S₊ + S₋)/2 − S.
        """
        means = [part.mean(axis=1) for part in members]
        terms = []
        for number in range(members[0].shape[1]):
            own = [part[:, number] for part in members]
            value = spectra(own)
            if factor is not None:
                mirrored = spectra([2 * mean - part for mean, part in zip(means, own, strict=True)])
                value = 0.5 * (value + mirrored) + np.float32(0.5 * factor) * (value - mirrored)
            terms.append(value)
        return cls(np.stack(terms), factor is not None)

    def error(
        self,
        section: NDArray[np.float64],
        index: int | None = None,
        weights: NDArray[np.float64] | None = None,
    ) -> NDArray[np.float64]:
        """Return √(Σ_m (S_m − S)²/(M − 1)), the error that the model alone makes likely.

        About the spectrum S of the mean tensors and not about the mean of the spectra: members
        whose errors do not follow the atoms' true tensors all have too much intensity, and this
        offset is an error too. Where spectra are linear in the deviations, it is the standard
        deviation over the members.

        Parameters
        ----------
        section : ndarray, shape [n_frequencies]
            S in Å²: that of the pair, or of the total.
        index : int, optional
            Which pair; the total by default.
        weights : ndarray, shape [n_frequencies], optional
            Of the sum with these instead, such as an integral, one number.
        """
        values = (
            self.terms.sum(axis=2, dtype=np.float64) if index is None else self.terms[:, :, index]
        )
        deviation = values - section
        if weights is not None:
            deviation = deviation @ weights
        return np.asarray(np.sqrt((deviation**2).sum(axis=0) / (len(self.terms) - 1)))


def validity_of_spread(band_spread: Mapping[str, Any]) -> str:
    """Say for which truth the error of the model holds.

    Parameters
    ----------
    band_spread : mapping
        See `mda_aptnn.model.predict.Model.band_spread`.
    """
    if "factor" not in band_spread:
        return (
            "the committee's spread is not calibrated on intensities of bands, where errors of "
            "many atoms cancel or add up: mda-aptnn evaluate MODEL LABELS --calibrate does it, "
            "with labels that the members have not seen"
        )
    text = "the error of the model is calibrated on frames of the same source as those of training"
    for name, ratio in band_spread.get("elsewhere", {}).items():
        text += f"; errors of band intensities on {name} were {ratio:.2g} times those stated"
    return text
