"""Correlation functions in one pass: every new frame is multiplied with the last ones, which are
all that is kept.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mda_aptnn.errors import SpectrumError

#: Blocks of frames whose sums are kept apart, for error bars; when all are full, two and two become
#: one.
BLOCKS = 16
#: Bytes that the sums may take.
LARGEST = 1_000_000_000


class LagSums:
    """Sums of ``f_g(t) · f_h(t + n)`` over all t so far, for all lags n up to a limit, in memory
    that does not grow.

    What is kept: the last `n_lags` frames, twice so that they always lie in one piece, and the
    sums, those of groups in up to 16 blocks of frames of equal length, each of the products whose
    later frame is in it; in all 8·n_lags·(6 n_groups + 6 + 16 n_groups² + 9) bytes. A frame costs
    n_lags·(n_groups² + 3)·3 products.

    Parameters
    ----------
    n_lags, n_groups : int
    block : int
        Frames of a block in the beginning; twice as many whenever 16 blocks are full.

    Attributes
    ----------
    n_frames : int
        Frames so far.
    lengths : list of int
        Frames of each uninterrupted series.

    Raises
    ------
    SpectrumError
        If the sums would take more than 1 GB.
    """

    def __init__(self, n_lags: int, n_groups: int, block: int) -> None:
        needed = 8 * n_lags * n_groups**2 * BLOCKS
        if needed > LARGEST:
            raise SpectrumError(
                f"the correlation functions of {n_groups} groups at {n_lags} lags would take "
                f"{needed / 1e9:.2g} GB: "
                "put groups together (--group), or ask for a coarser resolution"
            )
        self.n_frames = 0
        self.lengths = [0]
        self._block = block
        self._n_lags, self._place = n_lags, 2 * n_lags
        self._recent = np.zeros((2 * n_lags, n_groups, 3))
        self._recent_total = np.zeros((2 * n_lags, 3))
        self._sums = np.zeros((BLOCKS, n_lags, n_groups, n_groups))
        self._components = np.zeros((n_lags, 3, 3))

    def begin_series(self) -> None:
        """Forget the frames before: no product crosses into what follows."""
        if self.lengths[-1]:
            self.lengths.append(0)

    def add(self, flux: NDArray[np.float64]) -> None:
        """Add a frame, [n_groups, 3]."""
        if self._place == 0:
            kept = self._n_lags
            self._recent[kept:] = self._recent[:kept]
            self._recent_total[kept:] = self._recent_total[:kept]
            self._place = kept
        self._place -= 1
        if self.n_frames == BLOCKS * self._block:
            self._join_blocks()
        total = flux.sum(axis=0)
        self._recent[self._place], self._recent_total[self._place] = flux, total
        block = self._sums[self.n_frames // self._block]
        self.lengths[-1] += 1
        self.n_frames += 1
        known = min(self.lengths[-1], self._n_lags)
        # lag n stands n places behind the newest
        past = slice(self._place, self._place + known)
        block[:known] += np.tensordot(self._recent[past], flux, axes=(2, 1))
        self._components[:known] += self._recent_total[past, :, None] * total

    def correlations(self, n_lags: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return correlations of groups [n_lags, n_groups, n_groups] and of components [n_lags, 3,
        3].

        Divided by the number of frames, as `mda_aptnn.spectra.estimator.cross_correlation` does.
        """
        count = max(1, self.n_frames)
        return self._sums.sum(axis=0)[:n_lags] / count, self._components[:n_lags] / count

    def block_correlations(self, n_lags: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return correlations of groups in blocks [n_blocks, n_lags, n_groups, n_groups] and their
        frames [n_blocks].

        Their mean, weighted by the frames, is `correlations`. A last block of less than half the
        length goes with the one before.
        """
        ends = np.arange(1, BLOCKS + 1) * self._block
        frames = np.clip(self.n_frames - ends + self._block, 0, self._block)
        n_blocks = max(1, int((frames >= 0.5 * self._block).sum()))
        starts = np.arange(n_blocks)
        frames = np.add.reduceat(frames, starts)
        sums = np.add.reduceat(self._sums[:, :n_lags], starts, axis=0)
        return sums / np.maximum(frames, 1)[:, None, None, None], frames

    def _join_blocks(self) -> None:
        half = BLOCKS // 2
        self._sums[:half] = self._sums[::2] + self._sums[1::2]
        self._sums[half:] = 0.0
        self._block *= 2
