"""A committee's say on a spectrum: the spectra of its members about that of their mean."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray


@dataclasses.dataclass(frozen=True)
class MemberSpectra:
    """The spectra of the members of a committee, whose scatter has been calibrated for each element.

    Attributes
    ----------
    terms : ndarray of float32, shape [n_members, n_frequencies, n_pairs]
        V · n(ω)α(ω) in Å² of each pair of groups, both orders together, in the order of `Spectrum.pairs`; the sum
        over pairs is the total.
    """

    terms: NDArray[np.float32]

    def error(
        self, section: NDArray[np.float64], index: int | None = None, weights: NDArray[np.float64] | None = None
    ) -> NDArray[np.float64]:
        """Return √(Σ_m (S_m − S)²/(M − 1)), the error that the model alone makes likely.

        About the spectrum S of the mean tensors and not about the mean of the spectra: members whose errors do not
        follow the atoms' true tensors all have too much intensity, and this offset is an error too. Where spectra are
        linear in the deviations, it is the standard deviation over the members.

        Parameters
        ----------
        section : ndarray, shape [n_frequencies]
            S in Å²: that of the pair, or of the total.
        index : int, optional
            Which pair; the total by default.
        weights : ndarray, shape [n_frequencies], optional
            Of the sum with these instead, such as an integral, one number.
        """
        values = self.terms.sum(axis=2, dtype=np.float64) if index is None else self.terms[:, :, index]
        deviation = values - section
        if weights is not None:
            deviation = deviation @ weights
        return np.asarray(np.sqrt((deviation**2).sum(axis=0) / (len(self.terms) - 1)))
