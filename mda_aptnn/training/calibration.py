"""A committee's spread against its error: for single tensors, and for intensities of bands.

For thermal velocities, which do not depend on positions, the intensity of a band is an average over
configurations alone: with P Π v the flux of the motion that Π projects on,

    ⟨|Ṁ|²⟩ / k_BT = Σ_molecules tr(P Π M⁻¹ Πᵀ Pᵀ)

so that a few labelled frames give it without a trajectory. Errors that atoms have in common stay in
it, and errors that are independent cancel: what is calibrated on single tensors says little of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from scipy import stats

from mda_aptnn import units
from mda_aptnn.elements import masses_of
from mda_aptnn.errors import LabelError
from mda_aptnn.frame import Frame
from mda_aptnn.labels.dataset import Dataset
from mda_aptnn.model.predict import Model
from mda_aptnn.tensors import APT, Target, card_key
from mda_aptnn.training.evaluate import Evaluation, evaluate, rms
from mda_aptnn.training.samples import Array
from mda_aptnn.trajectory.molecules import molecules_of
from mda_aptnn.trajectory.motions.internal_coordinates import InternalCoordinates
from mda_aptnn.trajectory.motions.rigid_motions import RigidMotions

#: The band of a system without finite molecules.
ALL = "all motions"
#: The band of bond lengths; what changes none of them is left as other vibration: bending and
#: torsion.
STRETCH = "stretch"
#: Motions with less than this part of the whole intensity have no band: what labels with a sum rule
#: broken by 0.01 e leave to the translation of a neutral molecule in vacuum (in liquid water it has
#: 6e-3).
_NO_BAND = 1e-4
#: ⟨|Ṁ|²⟩/k_BT in e²/u to the integrated molar absorption in km/mol; 42.2561 for 1 D²/(Å² u).
_PER_SQUARE = float(
    (units.ureg.Quantity(1.0, "e^2/u*avogadro_constant/vacuum_permittivity/speed_of_light^2") / 12)
    .to("km/mol")
    .magnitude
)


def calibrate(
    model: Model, dataset: Dataset, parts: Iterable[Target], how: str, **options: bool
) -> None:
    """Write into a committee's card by what its spread has to be multiplied to be its error.

    Parameters
    ----------
    model : Model
        A committee. Its card is changed, its file is not.
    dataset : Dataset
        Frames that it has not seen.
    parts : iterable of Target
        Which of its tensors.
    how : str
        What the frames are, for the card.
    **options
        As for `evaluate`.

    Raises
    ------
    LabelError
        If there is no spread, or none of an element's, or the committee has seen a frame.
    """
    for part in parts:
        evaluation = evaluate(model, dataset, part, **options)
        found = calibrated(evaluation, model.factors_of(part), how)
        # the factor of bands comes after those of the elements, which the model multiplies by
        model.contents.card[card_key("spread", model.target, part)] = found
        if part == APT and (errors := band_errors(model, dataset)):
            found["bands"] = band_calibration(errors, how)


def calibrated(evaluation: Evaluation, before: Mapping[str, float], how: str) -> dict[str, Any]:
    """Return what the card says of a spread that has been calibrated on these labels.

    The factor of an element is √(Σ error² / Σ spread²) over all components of its atoms: the ratio
    of the variances, and not the mean of their ratios, which a few members with little scatter by
    chance would dominate.

    Parameters
    ----------
    evaluation : Evaluation
        Of a committee, on frames that it has not seen.
    before : mapping of str to float
        The factors that the spreads were already multiplied by.
    how : str
        What the frames are, for the card.

    Returns
    -------
    dict
        factors per element, those from before where there are no labels; how, n_frames and n_atoms
        they come from.

    Raises
    ------
    LabelError
        If there is no spread, or none of an element's.
    """
    parts, factors = evaluation.by_species(), dict(before)
    for symbol, part in parts.items():
        spread = rms(part.spread_of_atoms())
        if not spread:
            raise LabelError(
                f"the members do not differ for {symbol}: there is no spread to calibrate"
            )
        factors[symbol] = before.get(symbol, 1.0) * part.rmse / spread
    return {
        "factors": factors,
        "how": f"root of sum of squared errors over sum of variances, per element, on {how}",
        "n_frames": evaluation.n_frames,
        "n_atoms": {symbol: len(part.numbers) for symbol, part in parts.items()},
    }


def band_errors(model: Any, dataset: Dataset) -> dict[str, dict[str, Any]]:
    """Return the errors of band intensities, by motion.

    The motions are translation, rotation, stretch and other vibration. Molecules are found by
    distances in each frame; those with an atom without a label are left out.

    Parameters
    ----------
    model
        With ``predict(frame)``; a committee also with ``predict_members(frame)``.
    dataset : Dataset
        With polar tensors.

    Returns
    -------
    dict of str to dict
        Empty if there are no polar tensors or the model predicts none. For each motion: intensity,
        of the labels, in km/mol per molecule; error, model over labels less 1; standard_error, of
        that, from the scatter over molecules (None of one); flux_error, the relative error of the
        flux in the root mean square. Of a committee also: linear and quadratic, the parts of the
        members' scatter of the relative intensity that are linear and quadratic in their
        deviations, in the root mean square; flux_spread, the relative spread of the flux.

    Raises
    ------
    ModelError
        If a frame has elements that the model does not know.
    """
    known = APT in getattr(model, "target", APT).parts
    if not known or any(APT.name not in item.tensors for item in dataset):
        return {}
    ask = model.predict_members if getattr(model, "n_members", 1) > 1 else model.predict
    found: dict[str, list[Array]] = {}
    for item in dataset:
        members = np.reshape(ask(item.frame), (-1, *item.apt.shape))
        for name, rates in _thermal_rates(item.frame, np.vstack([item.apt[None], members])).items():
            label, mean = rates[:, 0], rates[:, 1:].mean(axis=1)
            deviations = np.moveaxis(rates[:, 1:] - mean[:, None], 1, 0)
            squares = [label**2, mean**2, (mean - label) ** 2, *(2 * mean * deviations)]
            # over velocities and the components of the flux: [3 + 2 n_members, n_molecules]
            values = np.sum([*squares, *deviations**2], axis=(1, -1))
            found.setdefault(name, []).append(values[:, np.isfinite(values[0])])
    columns = {name: np.concatenate(parts, axis=1) for name, parts in found.items()}
    whole = sum(values[0].sum() for values in columns.values())
    return {
        name: _errors(values)
        for name, values in columns.items()
        if values[0].sum() > _NO_BAND * whole
    }


def _errors(values: Array) -> dict[str, Any]:
    """The errors of one motion, of sums over its patterns [3 + 2 n_members, n_molecules]."""
    n_members, n_molecules = (len(values) - 3) // 2, values.shape[1]
    label, mean, error, *of_members = values.sum(axis=1).tolist()
    ratio = mean / label
    row = {
        "intensity": label / n_molecules * _PER_SQUARE,
        "error": ratio - 1,
        "standard_error": None,
        "flux_error": float(np.sqrt(error / label)),
    }
    if n_molecules > 1:
        left = values[1] - ratio * values[0]
        row["standard_error"] = float(left.std(ddof=1) * np.sqrt(n_molecules) / label)
    if n_members > 1:
        linear, quadratic = np.reshape(of_members, (2, n_members))
        for name, part in (("linear", linear), ("quadratic", quadratic)):
            row[name] = float(np.sqrt((part**2).sum() / (n_members - 1)) / mean)
        row["flux_spread"] = float(np.sqrt(quadratic.sum() / (n_members - 1) / mean))
    return row


def band_calibration(errors: Mapping[str, Mapping[str, Any]], how: str) -> dict[str, Any]:
    """Return what the card says of a spread that has been calibrated on the intensities of bands.

    Parameters
    ----------
    errors : mapping
        What `band_errors` found on frames that the committee has not seen.
    how : str
        What the frames are, for the card.

    Returns
    -------
    dict
        Empty if the members differ in no band. factor, what the members' deviations are multiplied
        with, after the factors of the elements, in what is linear in them; degrees_of_freedom, the
        number of bands; ratio, the root mean square of error over linear spread; how; bands, the
        errors.

    Notes
    -----
    The factor is the ratio times Student's factor for so few bands: limits of one standard error
    then hold 68 % of new bands, if errors over spreads of all bands are drawn from one normal
    distribution. The scatter over the molecules of the frames is in the errors and is not
    subtracted, so that the factor is rather too large.
    """
    ratios = [row["error"] / row["linear"] for row in errors.values() if row["linear"] > 0]
    if not ratios:
        return {}
    ratio, n_bands = rms(np.array(ratios)), len(ratios)
    return {
        "factor": ratio * float(stats.t.ppf(stats.norm.cdf(1.0), n_bands)),
        "ratio": ratio,
        "degrees_of_freedom": n_bands,
        "how": f"root mean square over {n_bands} bands of error over spread of the intensity, "
        f"times Student's factor, on {how}; a root mean square of so few is uncertain by "
        f"{100 / np.sqrt(2 * n_bands):.0f} %",
        "bands": {name: dict(row) for name, row in errors.items()},
    }


def predicted_error(row: Mapping[str, Any], factor: float) -> float:
    """Return the relative error of a band's intensity that a committee states, as in its spectra.

    Parameters
    ----------
    row : mapping
        One of `band_errors`.
    factor : float
        Of the card; 1 where bands have not been calibrated.
    """
    return float(np.hypot(factor * row["linear"], row["quadratic"]))


def error_over_stated(errors: Mapping[str, Mapping[str, Any]], factor: float) -> float | None:
    """Return the root mean square over bands of the error over what the committee states of it.

    None if it states 0 of one.
    """
    pairs = [(row["error"], predicted_error(row, factor)) for row in errors.values()]
    if not all(stated for _, stated in pairs):
        return None
    return rms(np.array([error / stated for error, stated in pairs]))


def stated_bands(model: Any, dataset: Dataset) -> dict[str, Any]:
    """Return the errors of band intensities, beside what a committee states of them.

    Returns
    -------
    dict
        The rows of `band_errors`; of a committee each with stated, the error that it predicts, and
        then factor, of its card (None if bands were not calibrated), and error_over_stated.
    """
    errors = band_errors(model, dataset)
    if not any("linear" in row for row in errors.values()):
        return errors
    factor = getattr(model, "band_spread", {}).get("factor")
    applied = 1.0 if factor is None else factor
    rows = {k: row | {"stated": predicted_error(row, applied)} for k, row in errors.items()}
    return rows | {"factor": factor, "error_over_stated": error_over_stated(errors, applied)}


def _thermal_rates(frame: Frame, tensors: Array) -> dict[str, Array]:
    """The flux of each motion for one thermal velocity after the other, in √(k_BT).

    By motion [n_velocities, n_sets of tensors, n_molecules, 3]. The velocity number n is that of
    the atom n // 3 of every molecule along one axis, so that squares sum to ⟨|Ṁ|²⟩/k_BT.
    """
    masses = masses_of(frame.numbers)
    molecules = molecules_of(frame)
    if molecules.endless.any():
        # every atom for itself: [3, n_sets, n_atoms, 3]
        return {ALL: np.einsum("siab,i->bsia", tensors, 1 / np.sqrt(masses))}
    motions: Any = RigidMotions(molecules, masses)
    if len(molecules.bonds):
        motions = InternalCoordinates(motions, {STRETCH: molecules.bonds})
    place = np.empty(len(frame), dtype=np.int64)
    place[molecules.order] = np.concatenate([np.arange(size) for size in molecules.sizes])
    rates = []
    for number in range(3 * int(molecules.sizes.max())):
        moving = place == number // 3
        velocities = np.zeros((len(frame), 3))
        velocities[moving, number % 3] = 1 / np.sqrt(masses[moving])
        of_atoms = np.einsum("siab,kib->iksa", tensors, motions.parts(frame, velocities))
        rates.append(molecules.sum(of_atoms))
    # [n_velocities, n_molecules, n_motions, n_sets, 3]
    return dict(zip(motions.names, np.array(rates).transpose(2, 0, 3, 1, 4), strict=True))
