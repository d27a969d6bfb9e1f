"""One predictor for each selection of atoms: a network for the water, charges for the solute."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mda_aptnn.checks import Check, Question
from mda_aptnn.elements import symbols_of
from mda_aptnn.errors import GroupError, ModelError
from mda_aptnn.frame import Array, Frame, Indices
from mda_aptnn.graph import neighbours
from mda_aptnn.model.committee import Members
from mda_aptnn.model.domain import OPTION, domain_checks
from mda_aptnn.model.protocol import tensors_of, unknown_elements
from mda_aptnn.tensors import APT, AnyTarget, Target, joint
from mda_aptnn.trajectory.selection import select
from mda_aptnn.trajectory.universe_frames import UniverseFrames, as_frame

SEAM = Question(
    "seam between models",
    "Each model predicts its own atoms. Charge that flows from those of one to those of another is "
    "not described; net charges that are not those of the molecules show how much that may be.",
)
BLIND = Question(
    "atoms blind to neighbours",
    "A model leaves out atoms of elements that it does not know, as if there were a hole: tensors "
    "of atoms that should see them are those of other surroundings. Take a model that knows all "
    "elements there, or accept it where such atoms are few or do not matter.",
    OPTION,
)

#: What a model says of a frame: arrays [n_members, n_atoms, ...] by name.
Ask = Callable[[Any, Frame], dict[str, Array]]


class Mixture(Members):
    """Several predictors, each of the atoms of a selection. Made by `load_model` of a mapping.

    Each sees all atoms whose elements it knows (`numbers`), of whatever selection; one without
    neighbours (`cutoff` 0, such as charges) its own atoms alone. Where it does not see all, their
    charge is taken as 0. Single models beside a committee are the same in each of its members.

    Parameters
    ----------
    models : mapping of str to object
        Selections of MDAnalysis, and the predictor of each.
    which : ndarray of int, shape [n_atoms], optional
        Number of the predictor of each atom, which `of_universe` finds.

    Raises
    ------
    ModelError
        If there is none, committees have different numbers of members, or there is no tensor that
        all predict.
    """

    def __init__(self, models: Mapping[str, Any], which: Indices | None = None) -> None:
        self.models, self.which = dict(models), which
        if not models or not all(isinstance(selection, str) for selection in models):
            raise ModelError(
                f"a mixture of models is a mapping of selections to models, not {models!r}"
            )
        sizes = {n for model in models.values() if (n := getattr(model, "n_members", 1)) > 1}
        if len(sizes) > 1:
            counts = " and ".join(map(str, sorted(sizes)))
            raise ModelError(
                f"committees of {counts} members do not go together: their members are put "
                "together one by one; take committees of one size"
            )
        self.n_members: int = max(sizes, default=1)
        offered = [getattr(model, "target", APT).parts for model in models.values()]
        common = set.intersection(*map(set, offered))
        if not common:
            raise ModelError("there is no tensor that all models of the mixture predict")
        self.target: AnyTarget = joint(common)

    def of_universe(self, frames: UniverseFrames) -> Mixture:
        """Return the mixture for the atoms of a Universe, selected at its current frame.

        Parameters
        ----------
        frames : UniverseFrames

        Raises
        ------
        GroupError
            If a selection is none or empty, or an atom is in two or in none.
        ModelError
            If a selection has an element that its model does not know.
        """
        indices, numbers = frames.indices, frames.numbers
        which = np.full(len(indices), -1)
        for place, (selection, model) in enumerate(self.models.items()):
            found = select(frames.universe, selection, "the selection of a model")
            own = np.isin(indices, found.indices)
            if not own.any():
                raise GroupError(f"{selection!r}, the selection of a model, matches no atom")
            if (twice := own & (which >= 0)).any():
                other = [*self.models][which[twice][0]]
                raise GroupError(
                    f"{other!r} and {selection!r} share {_named(twice, frames)}: each atom has "
                    "one model; make the selections exclude each other"
                )
            if unknown := {*numbers[own & ~_seen(model, numbers, own)].tolist()}:
                raise ModelError(f"{selection!r}: {unknown_elements(unknown, model.numbers)}")
            which[own] = place
        if (left := which < 0).any():
            raise GroupError(
                f"no model is given for {_named(left, frames)}: add a selection that has them, "
                f'such as "not ({" or ".join(self.models)})"'
            )
        return Mixture(self.models, which)

    def check(self, frame: Frame) -> None:
        """Refuse a frame that one of the models does not know, or of other atoms."""
        for model, own in self._distinct(frame):
            if hasattr(model, "check"):
                model.check(_part(frame, _seen(model, frame.numbers, own)))

    def predict_members(
        self, atoms: Any, *, calibrated: bool = True, target: Target | None = None
    ) -> Array:
        """Return the tensors of every member, [n_members, n_atoms, 3, 3]; see
        `Model.predict_members`.
        """
        target = target or self.target.parts[0]

        def ask(model: Any, frame: Frame) -> dict[str, Array]:
            if isinstance(model, Members):
                how: dict[str, Any] = {"calibrated": calibrated, "target": target}
                return {"": model.predict_members(frame, **how)}
            if hasattr(model, "predict_members"):
                return {"": np.asarray(model.predict_members(frame))}
            return {"": tensors_of(model, frame, target)[None]}

        return self._gathered(atoms, ask)[""]

    def predict_tensors(self, atoms: Any) -> dict[str, Array]:
        """Return all tensors that every model predicts, by name; see `Model.predict_tensors`."""
        names = {part.name for part in self.target.parts}

        def ask(model: Any, frame: Frame) -> dict[str, Array]:
            if names == {APT.name}:
                return {APT.name: tensors_of(model, frame, APT)[None]}
            return {k: v[None] for k, v in model.predict_tensors(frame).items() if k in names}

        return {name: values[0] for name, values in self._gathered(atoms, ask).items()}

    def _gathered(self, atoms: Any, ask: Ask) -> dict[str, Array]:
        """What the model of each atom says of it, [n_members, n_atoms, ...]."""
        frame, rows = as_frame(atoms)
        bound = self
        if not isinstance(atoms, Frame):
            bound = self.of_universe(UniverseFrames(atoms.universe, velocities=None))
        whole: dict[str, Array] = {}
        for model, own in bound._distinct(frame):
            seen = _seen(model, frame.numbers, own)
            for name, values in ask(model, _part(frame, seen)).items():
                n = max(len(values), self.n_members)
                whole.setdefault(name, np.empty((n, len(frame), *values.shape[2:])))
                whole[name][:, own] = values[:, own[seen]]
        return whole if rows is None else {name: x[:, rows] for name, x in whole.items()}

    def _distinct(self, frame: Frame | None = None) -> list[tuple[Any, NDArray[np.bool_]]]:
        """Each model once, and which atoms are its."""
        if self.which is None:
            raise ModelError(
                "a mixture of models selects atoms of a Universe: give an AtomGroup or a Universe "
                "in place of a Frame"
            )
        if frame is not None and len(frame) != len(self.which):
            raise ModelError(f"the frame has {len(frame)} atoms, the mixture {len(self.which)}")
        models = list(self.models.values())
        owner = np.array([next(k for k, m in enumerate(models) if m is model) for model in models])
        return [(models[k], owner[self.which] == k) for k in np.unique(owner)]

    def domain_checks(
        self, samples: Sequence[Frame], temperature: float | None = None
    ) -> list[Check]:
        """Return the checks of the seam, and of each model for its own atoms; see
        `mda_aptnn.model.domain.domain_checks`.
        """
        parts, numbers = self._distinct(samples[0]), samples[0].numbers
        if len(parts) == 1:
            return domain_checks(parts[0][0], samples, temperature)
        tensors = np.mean([tensors_of(self, frame, APT) for frame in samples], axis=0)
        seam, blind, each = [], [], []
        unsure = False
        for model, own in parts:
            name = _name(model)
            where = " or ".join(text for text, other in self.models.items() if other is model)
            # 0.0 is added to what would be -0
            charge = round(float(np.trace(tensors[own].sum(axis=0))) / 3, 2) + 0.0
            seam.append(f"{name} for {own.sum()} atoms ({where}), net charge {charge:.2f} e")
            seen, cutoff = _seen(model, numbers, own), getattr(model, "cutoff", None)
            if cutoff is None:
                unsure |= not seen.all()
            elif cutoff > 0 and not seen.all():
                shares = [_share_near(frame, own, ~seen, cutoff) for frame in samples]
                if share := float(np.mean(shares)):
                    unknown = ", ".join(symbols_of(np.unique(numbers[~seen])))
                    blind.append(
                        f"{100 * share:.2g} % of the atoms of {name} have {unknown} within its "
                        f"cutoff of {cutoff:g} Å, which it does not know"
                    )
            of, rows = [_part(frame, seen) for frame in samples], np.flatnonzero(own[seen])
            each += [
                dataclasses.replace(check, name=f"{check.name} ({where})")
                for check in domain_checks(model, of, temperature, rows=rows)
            ]
        found = "; ".join(blind) or ("not known" if unsure else "none")
        return [
            SEAM.answer("; ".join(seam), False),
            BLIND.answer(found, not blind and (None if unsure else True), grave=True),
            *each,
        ]

    @property
    def info(self) -> dict[str, Any]:
        """The model cards of all, by selection."""
        cards = {name: getattr(model, "info", None) or {} for name, model in self.models.items()}
        levels = [f"{name}: {card.get('level_of_theory', '')}" for name, card in cards.items()]
        return {"architecture": "mixture", "level_of_theory": "; ".join(levels), "models": cards}

    @property
    def band_spread(self) -> dict[str, Any]:
        """That of the committee, where there is one."""
        found = [m for m, _ in self._distinct() if getattr(m, "n_members", 1) > 1]
        return dict(getattr(found[0], "band_spread", {})) if len(found) == 1 else {}

    @property
    def seconds(self) -> dict[str, float]:
        """Wall time spent so far on "neighbours" and on the "network", of all models."""
        each = [getattr(model, "seconds", {}) for model, _ in self._distinct()]
        return {name: sum(own.get(name, 0.0) for own in each) for own in each for name in own}


def _seen(model: Any, numbers: Indices, own: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which atoms a model sees: those whose elements it knows, all where it does not say."""
    if getattr(model, "cutoff", None) == 0:
        return own
    return np.isin(numbers, getattr(model, "numbers", None) or numbers)


def _part(frame: Frame, seen: NDArray[np.bool_]) -> Frame:
    """What is seen of a frame."""
    if seen.all():
        return frame
    # whose charge is not known
    return Frame(
        frame.numbers[seen],
        frame.positions[seen],
        frame.cell,
        frame.pbc,
        atoms=None if frame.atoms is None else frame.atoms[seen],
        number=frame.number,
    )


def _share_near(
    frame: Frame, own: NDArray[np.bool_], hidden: NDArray[np.bool_], cutoff: float
) -> float:
    """Share of a model's own atoms with hidden ones within its cutoff in Å."""
    found = neighbours(frame, cutoff)
    near = np.unique(found.centre[hidden[found.neighbour]])
    return float(own[near].sum() / own.sum())


def _name(model: Any) -> str:
    path, card = getattr(model, "path", None), getattr(model, "info", None) or {}
    kind = card.get("architecture") or type(model).__name__
    return str(kind) if path is None else Path(path).stem


def _named(chosen: NDArray[np.bool_], frames: Any) -> str:
    """How many atoms, and which are the first."""
    places = np.flatnonzero(chosen)
    first = ", ".join(
        f"{frames.indices[k]} ({symbol})"
        for k, symbol in zip(places[:5], symbols_of(frames.numbers[places[:5]]), strict=True)
    )
    more = ", ..." if len(places) > 5 else ""
    return f"{len(places)} atoms (counted from 0: {first}{more})"
