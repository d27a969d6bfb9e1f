"""Correlation functions of series too long for memory: blocks of time origins, each with the lags
that follow it.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterator, Sequence

import numpy as np
import scipy.fft
from numpy.typing import NDArray


@dataclasses.dataclass(frozen=True)
class OriginBlock:
    """Time origins from `start` to before `stop`, whose partners in time reach to before `end`.

    Attributes
    ----------
    start, stop, end : int
        Frames.
    segment : int
        The part of the trajectory, for error bars, that the origins belong to.
    """

    start: int
    stop: int
    end: int
    segment: int


def origin_blocks(
    starts: Sequence[int], n_frames: int, n_lags: int, n_segments: int, longest: int
) -> Iterator[OriginBlock]:
    """Cut all time origins into blocks that cross neither the end of a series nor that of a
    segment.

    Parameters
    ----------
    starts : sequence of int
        First frame of each uninterrupted series.
    n_frames, n_lags : int
    n_segments : int
        Parts of equal length into which all frames together are cut.
    longest : int
        Most origins of a block.
    """
    limits = [round(n_frames * k / n_segments) for k in range(n_segments + 1)]
    ends = [*starts[1:], n_frames]
    for first, last in zip(starts, ends, strict=True):
        for segment in range(n_segments):
            low, high = max(first, limits[segment]), min(last, limits[segment + 1])
            for start in range(low, high, longest):
                stop = min(start + longest, high)
                yield OriginBlock(start, stop, min(stop + n_lags - 1, last), segment)


class OriginCorrelation:
    """Sums over time origins of ``Σ_a g[c, a](t) f[a](t + n)`` for channels c, segment by segment.

    The sum of all blocks is that of the whole series to rounding: each origin is in one block, and
    each block is followed by all of its lags, with zeros behind so that nothing wraps around.

    Parameters
    ----------
    n_channels, n_lags, n_segments : int
    longest : int
        Most origins of a block.
    """

    def __init__(self, n_channels: int, n_lags: int, n_segments: int, longest: int) -> None:
        self._n_lags = n_lags
        self._size = scipy.fft.next_fast_len(longest + n_lags - 1, real=True)
        self._products = np.zeros((n_segments, n_channels, self._size // 2 + 1), dtype=complex)
        self._adding = threading.Lock()

    def products(
        self, origins: NDArray[np.float64], series: NDArray[np.float64]
    ) -> NDArray[np.complex128]:
        """Return the transform of the sums over the origins of a block [n_channels, n_frequencies],
        for `add`.

        Parameters
        ----------
        origins : ndarray, shape [n_channels, n_components, n_origins]
            g at the time origins.
        series : ndarray, shape [n_components, n_frames]
            f from the first origin to the last lag of the last one.
        """
        later = scipy.fft.rfft(series, self._size)
        found = np.empty((len(origins), self._size // 2 + 1), dtype=complex)
        for channel, values in enumerate(origins):
            earlier = scipy.fft.rfft(values, self._size)
            np.conjugate(earlier, out=earlier)
            np.einsum("af,af->f", earlier, later, out=found[channel])
        return found

    def add(
        self, segment: int, products: NDArray[np.complex128], channels: slice = slice(None)
    ) -> None:
        """Add the `products` of a block to those of a segment, in some channels; threads may do so
        at once.
        """
        with self._adding:
            self._products[segment, channels] += products

    def sums(self) -> NDArray[np.float64]:
        """Return the sums over origins [n_segments, n_lags, n_channels], in the product of the
        units.
        """
        values = scipy.fft.irfft(self._products, self._size)[..., : self._n_lags]
        return np.moveaxis(values, -1, 1)
