"""Whether a model was made for these configurations: elements, density, environments, sum rule.

**The measure of an environment** is the radial densities about an atom, ``Σ_j B_k(r_ij)`` over the
neighbours of each element within 6 Å, six functions B_k (`radial_basis`). Its distance from
training is that of Mahalanobis, with mean and covariance of the training atoms of the same element.
Two numbers are made of it: the share of atoms farther out than 99.9 % of the training atoms, and
the distance of the mean environment. The first sees strange atoms. The second sees a strange phase
all of whose atoms would pass one by one: in ice each of them is within what the liquid fluctuates
to.

It was chosen among nine on runs that no model was trained on (`benchmarks/domain.py --measures`,
table in docs/accuracy.md). The features before the network's last layer, of which the spread of a
committee is made, do not see that a molecule's H is in vacuum, and find 0.3 of the density less
strange than a liquid of another force field. Those after the first layer, and densities within 4.5
Å, see half of what this one sees; more functions, or angles (l = 1, 2), mark other force fields
more and nothing else better. It does not depend on the network.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mda_aptnn import units
from mda_aptnn.checks import Check, Question, Verdict
from mda_aptnn.elements import SYMBOLS, atomic_numbers, masses_of
from mda_aptnn.frame import Frame
from mda_aptnn.model.protocol import tensors_of, unknown_elements
from mda_aptnn.tensors import APT, sum_rule_residual

#: Cutoff in Å and number of functions of the radial densities.
CUTOFF, N_RADIAL = 6.0, 6
#: Standard deviation in Å^(-3/2) that a density has at least: a tenth of what a neighbour at 3 Å
#: adds to it. Without it, a density that is constant in training, such as that of O about the O of
#: one molecule, would decide alone.
FLOOR = 0.02
#: Standard normal deviate of 99.9 %.
DEVIATE = 3.09
#: Unit of densities in a card.
DENSITY = "g/cm^3"
#: Share of an element's atoms with environments not met in training: to be looked at, and refused.
#: Liquid water at 300 to 360 K has at most 0.01 by the training's potential and 0.02 by a force
#: field, with a gap 0.25; molecules in vacuum, steam and 0.3 of the density have 0.99 and more.
SHARE, TOO_MANY = 0.05, 0.5
#: Training atoms of an element for each density, below which their covariance is not known well
#: enough to refuse by.
ENOUGH = 10
#: Distance of the mean environment, in standard deviations of an atom's: the same liquids have at
#: most 0.5 and 2.1, ice by the training's potential 2.8 and 3.8 (H and O).
SHIFT = 1.0
#: Root mean square residual of the sum rule over what the held-out frames let expect: 0.8 in
#: liquids by the training's potential, 2.9 in its ice, 3.4 in the liquid of a force field.
RATIO = 2.0
#: Where it is as large as the error without a network there is no model; in e, if the card has no
#: such.
WITHOUT_NETWORK = 0.1
#: Atoms that are looked at, all samples together: half a second, and an error of the share of
#: 0.004.
MOST_ATOMS = 4000

OPTION = "--allow-outside-domain"
#: Name of the check of the run's temperature.
TEMPERATURE = "temperature against training"
#: Part by which density and temperature may leave the range of training. Water at 1 bar has 3 %
#: less at 360 K than at 300 K, the mean of five frames of 32 molecules at constant pressure
#: scatters by 2 %, and ice has 8 % less.
MARGIN = {"density": 0.05, TEMPERATURE: 0.15}
#: How statistics are added to a model file that has none.
ADD = (
    "to add it: mda-aptnn evaluate {path} LABELS --allow-training-frames --record-domain, where "
    "LABELS are all files that it was trained on"
)


def environments(
    frame: Frame, numbers: Sequence[int], cutoff: float = CUTOFF, n_radial: int = N_RADIAL
) -> NDArray[np.float64]:
    """Return the radial densities about each atom.

    Parameters
    ----------
    frame : Frame
    numbers : sequence of int
        Atomic numbers of the neighbours, rising; others are not counted.
    cutoff : float
        In Å.
    n_radial : int

    Returns
    -------
    ndarray, shape [n_atoms, n_elements · n_radial]
        In Å^(-3/2); unchanged when the frame is turned, shifted, or its neighbours are renumbered.

    Raises
    ------
    FrameError
        If two atoms are on top of each other.
    """
    # who reads a card needs neither torch nor a search for neighbours
    from mda_aptnn.model.inputs import densities

    values: NDArray[np.float64] = densities(frame, numbers, cutoff, n_radial, lmax=0)[0]
    return values


class _Normal:
    """Mean [d] and whitening [d, d], L with C⁻¹ = L Lᵀ, of a distribution of environments."""

    def __init__(self, mean: ArrayLike, whitening: ArrayLike) -> None:
        self.mean, self.whitening = np.asarray(mean), np.asarray(whitening)

    @classmethod
    def of_moments(cls, n: Any, total: Any, squares: Any) -> _Normal:
        """From n, Σ x and Σ x xᵀ, with a covariance that can be inverted for any n."""
        mean = total / n
        covariance = squares / n - np.outer(mean, mean)
        weight = len(mean) / (len(mean) + n)
        own = np.diag(np.maximum(np.diag(covariance), 0.0))
        if n < len(mean):
            # of many elements it would be dear as well: d² numbers for each
            return cls(mean, np.diag(1 / np.sqrt(np.diag(own) + FLOOR**2)))
        covariance = (1 - weight) * covariance + weight * own + FLOOR**2 * np.eye(len(mean))
        return cls(mean, np.linalg.cholesky(np.linalg.inv(covariance)))

    @classmethod
    def of_card(cls, own: Mapping[str, Any]) -> _Normal:
        """From mean and `triangle`."""
        d = len(own["mean"])
        whitening = np.zeros((d, d))
        places = np.diag_indices(d) if len(own["whitening"]) == d else np.tril_indices(d)
        whitening[places] = own["whitening"]
        return cls(own["mean"], whitening)

    @property
    def triangle(self) -> NDArray[np.float64]:
        """Lower triangle of the whitening, row by row; its diagonal where there is nothing else."""
        diagonal = np.diag(self.whitening)
        if np.array_equal(self.whitening, np.diag(diagonal)):
            return diagonal
        return np.asarray(self.whitening[np.tril_indices(len(diagonal))])

    def distances(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """√((x − mean)ᵀ C⁻¹ (x − mean)) of each row."""
        result: NDArray[np.float64] = np.linalg.norm((values - self.mean) @ self.whitening, axis=-1)
        return result


def _rounded(values: ArrayLike) -> list[float]:
    return [float(f"{value:.6g}") for value in np.ravel(values)]


def environment_statistics(frames: Iterable[tuple[Frame, NDArray[np.bool_]]]) -> dict[str, Any]:
    """Return what a card keeps of the environments of training.

    The covariance C of d densities of n atoms is made ``(1 − λ) C + λ diag C + FLOOR²`` with λ =
    d/(d + n), so that it can be inverted for any n; of fewer atoms than densities λ is 1. The limit
    is such that 99.9 % of the training atoms would be within, if the logarithm of their distance is
    normal, each judged by the statistics of all *other* frames: atoms that a mean and a covariance
    were made of lie too near to them.

    Parameters
    ----------
    frames : iterable of (Frame, ndarray of bool, shape [n_atoms])
        With which of their atoms were trained on.

    Returns
    -------
    dict
        JSON-able: cutoff in Å, n_radial, elements, and for each symbol n_atoms, n_frames, mean [d],
        whitening (the lower triangle of L with C⁻¹ = L Lᵀ, row by row, or its diagonal if the rest
        is zero) and limit; elements that are in one frame only are left out.
    """
    frames = list(frames)
    numbers = sorted({int(z) for frame, _ in frames for z in frame.numbers})
    found = [environments(frame, numbers) for frame, _ in frames]
    of: dict[str, Any] = {}
    for number in numbers:
        parts = [
            x[used & (frame.numbers == number)]
            for x, (frame, used) in zip(found, frames, strict=True)
        ]
        parts = [part for part in parts if len(part)]
        if len(parts) < 2:
            continue
        moments = [(len(part), part.sum(axis=0), part.T @ part) for part in parts]
        whole = [sum(values) for values in zip(*moments, strict=True)]
        apart = []
        for part, own in zip(parts, moments, strict=True):
            others = [all_ - one for all_, one in zip(whole, own, strict=True)]
            apart.append(_Normal.of_moments(*others).distances(part))
        logarithms = np.log(np.maximum(np.concatenate(apart), 1e-6))
        normal = _Normal.of_moments(*whole)
        of[SYMBOLS[number]] = {
            "n_atoms": int(whole[0]),
            "n_frames": len(parts),
            "mean": _rounded(normal.mean),
            "whitening": _rounded(normal.triangle),
            "limit": _rounded(np.exp(logarithms.mean() + DEVIATE * logarithms.std()))[0],
        }
    symbols = [SYMBOLS[number] for number in numbers]
    return {"cutoff": CUTOFF, "n_radial": N_RADIAL, "elements": symbols, "of": of}


def density_of(frame: Frame) -> float | None:
    """Return the density in g/cm³ by the elements' standard masses; None unless periodic in three
    directions.
    """
    if not frame.volume:
        return None
    mass = float(masses_of(frame.numbers).sum())
    return float(units.factor("u/angstrom^3", DENSITY) * mass / frame.volume)


def domain_checks(
    model: Any,
    samples: Sequence[Frame],
    temperature: float | None = None,
    tensors: Sequence[NDArray[np.float64]] | None = None,
    rows: NDArray[np.int64] | None = None,
) -> list[Check]:
    """Compare samples of a run with the card of the model that is to predict it.

    Parameters
    ----------
    model
        With ``predict(frame)``; what it was made for is in its `info`, where it has one.
    samples : sequence of Frame
        One or more, from all over the run if they can be had. Some of them are looked at if there
        are many.
    temperature : float, optional
        Kinetic temperature of the run in K; NaN where it is not known.
    tensors : sequence of ndarray, shape [n_atoms, 3, 3], optional
        What the model predicts of the samples, where that is known already.
    rows : ndarray of int, optional
        The atoms that it predicts, where it does not all that it sees.

    Returns
    -------
    list of Check
        Elements, density, temperature, environments and sum rule; only the first three if an
        element is unknown, since then nothing can be predicted. Of a part of a sample those that
        are of atoms: temperature and environments. A model that says that it is rough has one more.
    """
    every = math.ceil(len(samples) / max(1, MOST_ATOMS // len(samples[0])))
    samples, tensors = samples[::every], None if tensors is None else tensors[::every]
    own = getattr(model, "domain_checks", None)
    if own is not None:
        found: list[Check] = own(samples, temperature)
        return found
    card: Mapping[str, Any] = getattr(model, "info", None) or {}
    domain = card.get("domain")
    rough = card.get("rough")
    doubts = [Check("the model", "rough", Verdict.LOOK, str(rough))] if rough else []
    if not domain:
        why = (
            "the model has no card that says what it was made for, so that nothing can be compared"
        )
        return [*doubts, Check("the model's domain", "not stated", Verdict.UNKNOWN, why)]
    path = str(getattr(model, "path", None) or "MODEL")
    if rows is not None:
        return [
            *doubts,
            temperature_check(domain.get("temperature"), temperature),
            _environments(domain, samples, path, rows),
        ]
    elements = _elements(domain, getattr(model, "numbers", None), samples)
    checks = [
        *doubts,
        elements,
        _density(domain, samples),
        temperature_check(domain.get("temperature"), temperature),
    ]
    if elements.verdict is Verdict.REFUSED:
        return checks
    checks.append(_environments(domain, samples, path))
    if APT in getattr(getattr(model, "target", APT), "parts", ()):
        if tensors is None:
            tensors = [tensors_of(model, frame, APT) for frame in samples]
        both = zip(tensors, samples, strict=True)
        residuals = [sum_rule_residual(apt, frame.charge) for apt, frame in both]
        sizes = [len(frame) for frame in samples]
        checks.append(sum_rule_check(residuals, sizes, expected_residual(card), path))
    return checks


def _elements(
    domain: Mapping[str, Any], numbers: Sequence[int] | None, samples: Sequence[Frame]
) -> Check:
    there = {int(z) for frame in samples for z in np.unique(frame.numbers)}
    known = set(numbers or atomic_numbers(domain["elements"]).tolist())
    meaning = f"The model was made for {', '.join(domain['elements'])}."
    if unknown := there - known:
        meaning = unknown_elements(unknown, known).replace("the", "The", 1)
    found = ", ".join(SYMBOLS[z] for z in sorted(there))
    return Question("elements", meaning).answer(found, not unknown, grave=True)


def _density(domain: Mapping[str, Any], samples: Sequence[Frame]) -> Check:
    trained = domain.get("density")
    known = [value for value in map(density_of, samples) if value is not None]
    found = f"{np.mean(known):#.3g} {DENSITY}" if known else "no volume"
    if known and trained is not None:
        advice = " Is the cell right? Another phase, or a gap, wants labels of its own."
        return _against("density", found, float(np.mean(known)), trained, DENSITY, advice)
    meaning = "Neither had the samples of training."
    if known:
        what = "The model was trained on molecules without a volume"
        meaning = f"{what}: in a liquid they polarize each other."
    elif trained is not None:
        what = f"The model was trained on periodic samples of {_range(trained, DENSITY)}"
        meaning = f"{what}: molecules in vacuum differ."
    return Question("density", meaning).answer(found, not known and trained is None)


def temperature_check(trained: Sequence[float] | None, temperature: float | None) -> Check:
    """Hold the kinetic temperature of a run against those of training.

    Parameters
    ----------
    trained : sequence of 2 float, or None
        Lowest and highest in K; None where the labels do not state them.
    temperature : float or None
        In K; None or NaN where it is not known.

    Returns
    -------
    Check
    """
    known = temperature is not None and math.isfinite(temperature)
    found = f"{temperature:.4g} K" if known else "not known"
    if temperature is not None and known and trained is not None:
        return _against(TEMPERATURE, found, temperature, trained, "K")
    of_training = "not stated in the labels" if trained is None else _range(trained, "K")
    return Check(TEMPERATURE, found, Verdict.UNKNOWN, f"Trained at: {of_training}.")


def _against(
    name: str, found: str, value: float, trained: Sequence[float], unit: str, advice: str = ""
) -> Check:
    """Compare a number with its range in training."""
    margin = MARGIN[name]
    meaning = (
        f"Trained at {_range(trained, unit)}, to which {margin:.0%} more or less is no matter."
    )
    passed = trained[0] * (1 - margin) <= value <= trained[1] * (1 + margin)
    return Question(name, meaning).answer(found, passed, meaning="" if passed else meaning + advice)


def _range(trained: Sequence[float], unit: str) -> str:
    low, high = (f"{value:.4g}" for value in trained)
    return f"{low} {unit}" if low == high else f"{low} to {high} {unit}"


def _environments(
    domain: Mapping[str, Any], samples: Sequence[Frame], path: str, rows: Any = slice(None)
) -> Check:
    name, statistics = "environments of atoms", domain.get("environments")
    if not statistics:
        meaning = f"The model's card has no statistics of its training; {ADD.format(path=path)}."
        return Check(name, "not compared", Verdict.UNKNOWN, meaning)
    found, verdicts = [], []
    for symbol, share, shift, n_atoms, n_each in compare_environments(statistics, samples, rows):
        if not n_atoms:
            verdicts.append(Verdict.UNKNOWN)
            found.append(f"{symbol}: no statistics")
            continue
        # One atom alone may be strange. A mean of n atoms scatters by χ²_d/n, to three standard
        # deviations, here and in training; samples may follow one another in time, and are counted
        # as one.
        own = statistics["of"][symbol]
        d = len(own["mean"])
        scatter = (d + 3 * math.sqrt(2 * d)) * (1 / n_each + 1 / own["n_atoms"])
        if share >= TOO_MANY and own["n_atoms"] >= ENOUGH * d:
            verdicts.append(Verdict.REFUSED)
        elif share * n_atoms > max(1.0, SHARE * n_atoms) or shift**2 > SHIFT**2 + scatter:
            verdicts.append(Verdict.LOOK)
        else:
            verdicts.append(Verdict.FINE)
        found.append(
            f"{100 * share:.1f} % of {symbol} atoms not met in training, their mean {shift:.1f} "
            "standard deviations away"
        )
    worst = max(verdicts, key=list(Verdict).index)
    meaning = {
        Verdict.FINE: "As in training, where 0.1 % are beyond the limit.",
        Verdict.UNKNOWN: "An element that is in one training frame only cannot be judged.",
        Verdict.LOOK: (
            f"Expected are less than {SHARE:.0%}, and a mean within {SHIFT:g}. Another phase, a "
            "surface or another force field: the error may be larger than the card says. Label "
            "some of these frames and evaluate the model on them."
        ),
        Verdict.REFUSED: (
            "Of such atoms (vacuum, another phase or substance) the model has learned nothing, and "
            "the spread of a committee does not show it. Label some of these frames and train on "
            "them (mda-aptnn label plan)."
        ),
    }[worst]
    return Check(name, "; ".join(found), worst, meaning, OPTION if worst is Verdict.REFUSED else "")


def compare_environments(
    statistics: Mapping[str, Any], samples: Sequence[Frame], chosen: Any = slice(None)
) -> list[tuple[str, float, float, int, float]]:
    """Return how the environments in samples differ from those of training, element by element.

    Parameters
    ----------
    statistics : mapping
        From `environment_statistics`.
    samples : sequence of Frame
        Of known elements.
    chosen : ndarray of int or slice
        The atoms that are compared.

    Returns
    -------
    list of (symbol, share, shift, n_atoms, n_each)
        Share of atoms beyond the limit; Mahalanobis distance of the mean environment from that of
        training; number of atoms, 0 without statistics; and per frame.
    """
    numbers = sorted(atomic_numbers(statistics["elements"]).tolist())
    shell = statistics["cutoff"], statistics["n_radial"]
    together = np.concatenate([environments(frame, numbers, *shell)[chosen] for frame in samples])
    elements = np.concatenate([frame.numbers[chosen] for frame in samples])
    rows = []
    for number in np.unique(elements):
        symbol, values = SYMBOLS[int(number)], together[elements == number]
        own = statistics["of"].get(symbol)
        if own is None:
            rows.append((symbol, math.nan, math.nan, 0, 0.0))
            continue
        normal = _Normal.of_card(own)
        share = float(np.mean(normal.distances(values) > own["limit"]))
        shift = float(normal.distances(values.mean(axis=0)))
        rows.append((symbol, share, shift, len(values), len(values) / len(samples)))
    return rows


def expected_residual(card: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what a model's card says of the sum rule, which `sum_rule_check` needs.

    Returns
    -------
    dict or None
        JSON-able: sum_rule, the root mean square component of (Σ P − Q·1)/√N on frames that it was
        not trained on, in e; n_atoms of these; without_network, the error of the best that needs
        none, in e. None if it does not say.
    """
    for part in ("held_out", "validation"):
        own = card.get("accuracy", {}).get(part, {})
        if own.get("sum_rule"):
            without = min(own.get("baseline_rmse", {}).values(), default=WITHOUT_NETWORK)
            return {"without_network": without} | {key: own[key] for key in ("sum_rule", "n_atoms")}
    return None


def sum_rule_check(
    residuals: ArrayLike,
    n_atoms: ArrayLike,
    expected: Mapping[str, Any] | None,
    path: str | None = None,
) -> Check:
    """Compare residuals of the acoustic sum rule, Σ P − Q·1, with those of the model's own held-out
    frames.

    Independent errors of N atoms add up as √N, so that the residual over √N can be compared from
    one size to another. What all atoms have in common adds up as N; from the n atoms of the
    held-out frames it is known to their value over √n, and so much is allowed for.

    Parameters
    ----------
    residuals : array_like, shape [n_frames, 3, 3]
        In e.
    n_atoms : int or array_like of int, shape [n_frames]
    expected : mapping or None
        From `expected_residual`.
    path : str, optional
        Of the model file, for what is said if `expected` is None.
    """
    squares = np.asarray(residuals, dtype=float).reshape(-1, 9) ** 2
    sizes = np.broadcast_to(np.asarray(n_atoms, dtype=float), len(squares))
    per_root = float(np.sqrt(np.mean(squares.mean(axis=1) / sizes)))
    per_atom = float(np.sqrt(np.mean(squares.mean(axis=1) / sizes**2)))
    found = (
        f"{math.sqrt(squares.mean()):.3g} e rms for {sizes.mean():.0f} atoms, {per_root:.2g} e for "
        f"each √atom, {per_atom:.2g} e for each atom"
    )
    without, own = WITHOUT_NETWORK, 0.0
    if expected is not None:
        without = expected["without_network"]
        own = expected["sum_rule"] * math.sqrt(1 + sizes.mean() / expected["n_atoms"])
    question = Question(
        "acoustic sum rule, Σ P − Q·1",
        f"As wrong as without a network ({without:.2g} e): this is no model of these atoms. Is it "
        "the right model, are elements and the total charge right?",
        OPTION,
    )
    if per_root >= max(without, RATIO * own):
        return question.answer(found, False, grave=True)
    if expected is None:
        meaning = "What the model's held-out frames have is not known."
        if path is not None:
            what = "The card does not say what the model's held-out frames have"
            meaning = f"{what}; {ADD.format(path=path)}."
        return question.answer(found, None, meaning=meaning)
    meaning = (
        f"{per_root / own:.2g} times what its held-out frames let expect "
        f"({expected['sum_rule']:.2g} e for each √atom there)."
    )
    if per_root > RATIO * own:
        meaning += (
            " Tensors are wrong by more than the card says: label some frames and evaluate it on "
            "them."
        )
    return question.answer(found, per_root <= RATIO * own, meaning=meaning)
