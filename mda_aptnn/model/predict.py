"""What everybody calls to predict: a model by name or path, tensors of frames and AtomGroups.

`load_model` is the only place where names are looked up, and `MODELS` the only list of those that
are neither a file nor bundled.
"""

from __future__ import annotations

import copy
import functools
import inspect
import logging
import os
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mda_aptnn import io
from mda_aptnn.elements import symbols_of
from mda_aptnn.errors import ModelError
from mda_aptnn.frame import Frame
from mda_aptnn.model.committee import Members, stretched
from mda_aptnn.model.devices import torch_device
from mda_aptnn.model.engines import DTYPES, ENGINES, components, fastest_engine
from mda_aptnn.model.file import ModelFile, as_json
from mda_aptnn.model.mixture import Mixture
from mda_aptnn.model.protocol import Predictor, check_elements
from mda_aptnn.plugins import Plugins
from mda_aptnn.tensors import Target, card_key, component_slices
from mda_aptnn.trajectory.universe_frames import as_frame

logger = logging.getLogger(__name__)

#: Folder of the bundled models, each NAME.h5.
BUNDLED = Path(__file__).parent.parent / "data"

#: Predictors by the word before a colon, each a class or function that is called with what stands
#: behind it, "xtb:GFN2"; or, where nothing does, without an argument. Those of other packages may
#: be objects with predict(frame) as well.
MODELS: Plugins[Callable[..., Predictor] | Predictor] = Plugins(
    "mda_aptnn.models",
    {
        "charges": "mda_aptnn.model.fixed_charges:named_charges",
        "labels": "mda_aptnn.labels.stored:StoredTensors",
        "xtb": "mda_aptnn.labels.tblite:XTB",
        "mace": "mda_aptnn.model.mace:MACE",
        "python": "mda_aptnn.model.predict:from_python",
    },
    "model",
    ModelError,
)

#: Frames are predicted together until a batch has this many atoms; more does not make it faster.
BATCH_ATOMS = 512


class Model(Members):
    """A trained model: frames in, atomic tensors out. Made by `load_model`.

    Parameters
    ----------
    contents : ModelFile
    engine : str
        Key of `ENGINES`, or "auto" for the fastest that can evaluate this model.
    dtype : {"float32", "float64"}
    n_threads : int
    path : path, optional
        Where it was read from: a pickled model carries this instead of its weights.

    Attributes
    ----------
    numbers : list of int
        Atomic numbers that it knows.
    symbols : list of str
        Their elements.
    cutoff : float
        Radius in Å within which an atom sees its neighbours.
    target : Target or JointTarget
        What is predicted.
    info : dict
        The card: level_of_theory, data, domain, accuracy, command, and the settings of the network.
    """

    def __init__(
        self,
        contents: ModelFile,
        *,
        engine: str = "auto",
        dtype: str = "float32",
        n_threads: int = 1,
        path: Path | None = None,
    ) -> None:
        if dtype not in DTYPES:
            raise ModelError(f"dtype {dtype!r}: choose one of {', '.join(DTYPES)}")
        if n_threads < 1:
            raise ModelError(f"n_threads is {n_threads}: it must be at least 1")
        self.contents, self.path = contents, path
        self.engine = fastest_engine(contents) if engine == "auto" else engine
        self.dtype, self.n_threads = dtype, n_threads
        self._engine = ENGINES[self.engine](contents, dtype, n_threads)
        self.batch_atoms = getattr(self._engine, "batch_atoms", BATCH_ATOMS)
        self.numbers = list(contents.numbers)
        self.symbols = symbols_of(self.numbers)
        self.cutoff, self._reach = contents.config.cutoff, contents.config.reach
        self.target = contents.target
        self._slices = component_slices(contents.target)

    def __repr__(self) -> str:
        return (
            f"<Model {self.path or 'in memory'}: {self.target.name} of {', '.join(self.symbols)}>"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        settings = {name: getattr(self, name) for name in ("engine", "dtype", "n_threads")}
        source = self.contents if self.path is None else str(self.path)
        return functools.partial(load_model, **settings), (source,)

    @property
    def info(self) -> dict[str, Any]:
        """The model card (a copy)."""
        named = {x: getattr(self.contents, x) for x in ("architecture", "network", "training")}
        card = self.contents.card | named
        card |= {"target": as_json(self.target), "elements": self.symbols}
        return copy.deepcopy(card | {"members": self.n_members})

    @property
    def seconds(self) -> dict[str, float]:
        """Wall time spent so far on "neighbours" and on the "network"."""
        return dict(self._engine.seconds)

    def check(self, frame: Frame) -> None:
        """Refuse a frame with elements that the model was not trained for.

        Raises
        ------
        ModelError
            Names the elements that are unknown and those that are known.
        """
        check_elements(frame, self.numbers)

    def predict_tensors(
        self, atoms: Any, *, members: bool = False
    ) -> dict[str, NDArray[np.float64]]:
        """Return the tensors of every head, by name: the mean of the members, where the model is a
        committee.

        Parameters
        ----------
        atoms : Frame, AtomGroup or Universe
            As for `predict`.
        members : bool
            Return those of every member instead, calibrated, as `predict_members` does: [n_members,
            n_atoms, ...].

        Returns
        -------
        dict of str to ndarray
            "apt" [n_atoms, 3, 3] in e, and "pgt" [n_atoms, 3, 3, 3], ``G[i, a, b, c] =
            ∂α_ab/∂r_ic`` in Å²: those that the model predicts.
        """
        each = self._members(atoms, self.target.parts, calibrated=members)
        return {
            part.name: values if members else values.mean(axis=0) for part, values in each.items()
        }

    def predict_members(
        self, atoms: Any, *, calibrated: bool = True, target: Target | None = None
    ) -> NDArray[np.float64]:
        """Return the tensors of every member of a committee, [n_members, n_atoms, 3, 3] in e; a
        single model has one.

        Parameters
        ----------
        atoms : Frame, AtomGroup or Universe
            As for `predict`.
        calibrated : bool
            Stretch the members' deviations from their mean by the factor of each element in the
            model card, so that their scatter is the error to be expected (G. Imbalzano et al., J.
            Chem. Phys. 154, 074102 (2021)).
        target : Target, optional
            Which of the model's tensors, PGT for polarizability gradients [n_members, n_atoms, 3,
            3, 3]; those of `predict` by default.

        Raises
        ------
        ModelError
            If the model has no such tensors, or there is an element that it does not know.
        """
        target = self._part(target)
        return self._members(atoms, [target], calibrated)[target]

    def dipole(self, atoms: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the local dipoles' sum and the charges of a network whose tensors are derivatives
        of its dipole.

        The dipole of a frame is ``charges @ positions + dipole``, with unwrapped positions; along a
        trajectory its changes, ``charges @ displacements`` and the difference of the sums, have no
        jumps.

        Parameters
        ----------
        atoms : Frame, AtomGroup or Universe
            As for `predict`; all atoms are seen and summed over.

        Returns
        -------
        dipole : ndarray, shape [3]
            Σ_i μ_i in e·Å, the mean of the members.
        charges : ndarray, shape [n_atoms]
            In e.

        Raises
        ------
        ModelError
            If the model has another architecture.
        """
        frame, _ = as_frame(atoms)
        self.check(frame)
        found = [network.dipole(network.inputs(frame)) for network in self._networks]
        dipoles, charges = (np.mean([pair[k].numpy() for pair in found], axis=0) for k in (0, 1))
        return dipoles.astype(np.float64), charges.astype(np.float64)

    @property
    def n_members(self) -> int:
        """Number of members of the committee, 1 for a single model."""
        return len(self.contents.members)

    @property
    def spread_factors(self) -> dict[str, float]:
        """What the members' standard deviation is multiplied by for each element, so that it is the
        error.
        """
        return self.factors_of(self._part(None))

    def factors_of(self, target: Target) -> dict[str, float]:
        """Return `spread_factors` of one of the model's tensors."""
        own = self.contents.card.get(card_key("spread", self.target, target), {})
        return dict(own.get("factors", {}))

    @property
    def band_spread(self) -> dict[str, Any]:
        """What the card says of the spread of band intensities; empty if only single tensors were
        calibrated.

        factor, that deviations of the members' spectra are multiplied with; elsewhere, for labels
        of other sources that the card has, how many times the stated ones the errors of band
        intensities were.
        """
        card = self.contents.card
        bands = card.get("spread", {}).get("bands", {})
        if "factor" not in bands:
            return {}
        elsewhere = {
            name: row["bands"]["error_over_stated"]
            for name, row in card.get("accuracy", {}).items()
            if name != "held_out" and row.get("bands", {}).get("error_over_stated") is not None
        }
        return {"factor": float(bands["factor"]), "elsewhere": elsewhere}

    def _part(self, target: Target | None) -> Target:
        """The target that is asked for, by default that of `predict`."""
        if target is not None and target not in self._slices:
            raise ModelError(f"the model predicts {self.target.name}, not {target.name}")
        return self.target.parts[0] if target is None else target

    @functools.cached_property
    def _networks(self) -> list[Any]:
        """The network of each member, whatever engine evaluates them."""
        return self.contents.networks(DTYPES[self.dtype])

    def _members(
        self, atoms: Any, parts: Sequence[Target], calibrated: bool
    ) -> dict[Target, NDArray[np.float64]]:
        """Tensors by all members of some parts of the target, [n_members, n_atoms, 3, 3, ...]."""
        frame, rows = as_frame(atoms)
        self.check(frame)
        found, numbers = components(self._engine, [frame], self._reach)[0], frame.numbers
        if rows is not None:
            found, numbers = found[:, rows], numbers[rows]
        members = {part: self._cartesian(found, part) for part in parts}
        return {
            part: stretched(values, numbers, self.factors_of(part) if calibrated else {})
            for part, values in members.items()
        }

    def _cartesian(self, members: NDArray[np.float64], part: Target) -> NDArray[np.float64]:
        """[n_members, n_atoms, n_components] to the tensors of a part."""
        return part.to_cartesian(members[..., self._slices[part]])

    def predict_many(self, frames: Sequence[Frame]) -> list[NDArray[np.float64]]:
        """Return the tensors of many frames, each [n_atoms, 3, 3]; small ones go through the
        network together.
        """
        part = self._part(None)
        results: list[NDArray[np.float64]] = []
        batch: list[Frame] = []
        for number, frame in enumerate(frames, start=1):
            self.check(frame)
            batch.append(frame)
            following = len(frames[number]) if number < len(frames) else self.batch_atoms
            if sum(map(len, batch)) + following > self.batch_atoms:
                found = components(self._engine, batch, self._reach)
                results += [self._cartesian(values, part).mean(axis=0) for values in found]
                batch = []
        return results


def load_model(
    model: Any,
    *,
    engine: str = "auto",
    dtype: str = "float32",
    n_threads: int = 1,
    device: str = "cpu",
) -> Any:
    """Return a model that predicts, from whatever names one.

    Parameters
    ----------
    model : str, path, ModelFile, mapping or object
        The path of a model file or its contents; the name of a bundled model ("water-rpbe-d3"), or
        of another predictor in `MODELS` ("charges:topology", "charges:FILE", "labels:FILE",
        "xtb:GFN2", "mace:FILE", "python:module.name"); or any object with ``predict(frame) ->
        [n_atoms, 3, 3]``, which is returned as it is. A mapping of selections to any of these is a
        mixture,
        ``{"water": "water-rpbe-d3", "protein": "charges:topology"}``: each model predicts its own
        atoms, and sees all whose elements it knows.
    engine : {"auto", "cpu", "torch", "cuda"}
        What evaluates the network: compiled kernels ("cpu"), the network itself, the network on a
        GPU, or the faster of the first two that can.
    dtype : {"float32", "float64"}
        Of weights and features; geometry is float64 always.
    n_threads : int
        Threads used while predicting.
    device : {"cpu", "cuda", "auto"}
        Where networks are evaluated: "auto" is a GPU where torch sees one, with the engine "cuda".

    Returns
    -------
    Model, a mixture, or another object with ``predict(frame)``

    Raises
    ------
    ModelError
        If there is no such name or file; lists those that there are.
    FileFormatError
        If the file is truncated, foreign or damaged.
    """
    if torch_device(device).type == "cuda":
        if engine not in ("auto", "cuda"):
            raise ModelError(f"engine {engine!r} does not go with a GPU: leave one of them out")
        engine = "cuda"
    elif device == "auto":
        logger.info("torch sees no GPU here: the networks are evaluated on the CPU")
    settings: dict[str, Any] = {"engine": engine, "dtype": dtype, "n_threads": n_threads}
    if isinstance(model, Mapping):
        # one that is named twice is loaded and evaluated once
        keys = {name: own if isinstance(own, str) else id(own) for name, own in model.items()}
        each = {keys[name]: own for name, own in model.items()}
        loaded = {key: load_model(own, **settings) for key, own in each.items()}
        return Mixture({name: loaded[key] for name, key in keys.items()})
    if isinstance(model, ModelFile):
        return Model(model, **settings)
    if callable(getattr(model, "predict", None)):
        return model
    if not isinstance(model, str | os.PathLike):
        raise ModelError(
            f"{model!r} is no model: give a name, a path, or an object with predict(frame)"
        )
    if str(model).partition(":")[0] in MODELS and not Path(model).is_file():
        return _named(str(model))
    path = model_path(model)
    return Model(ModelFile.load(path), **settings, path=path)


def _named(name: str) -> Any:
    """The predictor of a name in `MODELS`."""
    word, colon, rest = name.partition(":")
    return _made(name, MODELS[word], *([rest] if colon else []))


def _made(name: str, found: Any, *words: str) -> Any:
    """An object with ``predict(frame)``, or the one that a class or function makes."""
    if isinstance(found, type) or not hasattr(found, "predict"):
        try:
            inspect.signature(found).bind(*words)
        except TypeError as error:
            raise ModelError(f"the model {name!r}: {error}") from error
        found = found(*words)
    elif words:
        raise ModelError(f"the model {name!r}: nothing stands behind the colon of this one")
    if not callable(getattr(found, "predict", None)):
        raise ModelError(f"{name!r} is no model: it has no predict(frame)")
    return found


def from_python(name: str) -> Any:
    """Return the predictor "MODULE.NAME": an object, or what a class or function without arguments
    makes.

    Raises
    ------
    ModelError
        If there is no such name, or it is no predictor.
    """
    try:
        found = pkgutil.resolve_name(name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ModelError(
            f"python:{name}: {error}; write python:MODULE.NAME, of a module that is installed or "
            "in a folder of PYTHONPATH"
        ) from error
    return _made(f"python:{name}", found)


def model_identity(source: Any, model: Any) -> str:
    """Name and content hash of a model file, a name as the user gave it, the class of an object;
    those of each model of a mixture.

    Parameters
    ----------
    source : str, path or object
        What the user gave.
    model : object
        What it became.
    """
    if isinstance(model, Mixture):
        return "; ".join(f"{name}: {one}" for name, one in identities(source, model).items())
    path = getattr(model, "path", None)
    if path is not None:
        return f"{Path(path).stem} (sha256 {io.file_hash(path)[:16]})"
    if not isinstance(source, str):
        return type(source).__name__
    file = io.file_of(source)
    if file is None:
        return source
    word = source.partition(":")[0]
    return f"{word}:{Path(file).name} (sha256 {io.file_hash(file)[:16]})"


def identities(source: Any, mixture: Mixture) -> dict[str, str]:
    """Return the `model_identity` of each model of a mixture, by its selection."""
    names = source if isinstance(source, Mapping) else mixture.models
    return {name: model_identity(names[name], own) for name, own in mixture.models.items()}


def model_path(name: str | os.PathLike[str]) -> Path:
    """Return the file of a bundled model's name, or of a path.

    Raises
    ------
    ModelError
        If there is neither; lists the names that there are.
    """
    path = Path(name)
    if path.is_file():
        return path.absolute()
    bundled = BUNDLED / f"{name}.h5"
    if path.name == str(name) and bundled.is_file():
        return bundled
    # the folder holds labels and a trajectory as well, so that not every file in it is a name
    models = sorted(file.stem for file in BUNDLED.glob("*.h5") if io.kind_of(file) == "model")
    names = ", ".join(models) or "none"
    raise ModelError(
        f"no model {str(name)!r}: there is no such file, and the bundled models are: {names}; "
        f"other names begin with {', '.join(f'{word}:' for word in MODELS)}"
    )
