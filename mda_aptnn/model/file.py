"""The model file: everything that a model is, in HDF5, and nothing that runs when it is opened.

Layout of a file of kind ``model``::

    attributes   architecture, network (JSON), target (JSON; a list if the network has several
    heads),
                 training (JSON), card (JSON), and who made it: creator, command, created, format
    numbers      [n_species] atomic numbers, in the order of the species inside the network
    shared/      optional: the arrays of the networks' state that all members have in common
    members/0/   one group for each member of a committee (a single model has one)
        weights/     one data set for each other array of the network's state, the best ones last/
        the same at the end of training; empty for last layers on one body learning/    the learning
        curve: step, validation, ...; of last layers on one body the first has the body's

The state of member k is that of `shared` and of ``members/k/weights`` together. There are two kinds
of committees: independent networks, with nothing in `shared`, and last layers on one body, where
`shared` has every array but those of the readout (``readout.*``), so that the body is stored once
and computed once (`ModelFile.shares_body`).
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import h5py
import numpy as np
import torch
from numpy.typing import NDArray
from torch.overrides import TorchFunctionMode

from mda_aptnn import io
from mda_aptnn.elements import SYMBOLS
from mda_aptnn.errors import FileFormatError, ModelError
from mda_aptnn.model.architectures import ARCHITECTURES, DEFAULT
from mda_aptnn.tensors import AnyTarget, JointTarget, Target

Arrays = dict[str, NDArray[Any]]

#: How the names of the last layer's arrays begin, in every network whose last layer is linear.
READOUT = "readout."

#: Number of an older format -> function that turns what such a file says into the next format.
UPGRADES: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {}


@dataclasses.dataclass(frozen=True)
class Member:
    """One trained network.

    Attributes
    ----------
    weights : dict of str to ndarray
        The network's state with the lowest validation error; without what all members of a
        committee share.
    last : dict of str to ndarray
        The state at the end of training; may be empty.
    learning : dict of str to ndarray
        The learning curve, every array of the same length.
    """

    weights: Arrays
    last: Arrays = dataclasses.field(default_factory=dict)
    learning: Arrays = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class ModelFile(io.Stored):
    """The contents of a model file.

    Attributes
    ----------
    network : dict
        Settings of the network, as its configuration class takes them (lengths in Å).
    numbers : list of int
        Atomic numbers that the model knows, in the order of the network's species.
    target : Target or JointTarget
        What is predicted.
    members : list of Member
    training : dict
        Settings of the training.
    card : dict
        Level of theory, data, domain, accuracy: what a user must know before trusting it.
    architecture : str
        Key of `ARCHITECTURES`.
    shared : dict of str to ndarray
        What all members have in common of the network's state; empty for independent members.
    """

    kind: ClassVar[str] = "model"

    network: dict[str, Any]
    numbers: list[int]
    target: AnyTarget
    members: list[Member]
    training: dict[str, Any] = dataclasses.field(default_factory=dict)
    card: dict[str, Any] = dataclasses.field(default_factory=dict)
    architecture: str = DEFAULT
    shared: Arrays = dataclasses.field(default_factory=dict)

    def _write(self, file: h5py.File) -> None:
        file.attrs["architecture"] = self.architecture
        file.attrs["target"] = json.dumps(as_json(self.target))
        for name in ("network", "training", "card"):
            file.attrs[name] = json.dumps(getattr(self, name))
        io.write_array(file, "numbers", np.asarray(self.numbers, dtype=np.int64))
        if self.shared:
            write_arrays(file, "shared", self.shared)
        for index, member in enumerate(self.members):
            for part in dataclasses.fields(member):
                write_arrays(file, f"members/{index}/{part.name}", getattr(member, part.name))

    @classmethod
    def _read(cls, file: h5py.File) -> ModelFile:
        """Read this or an older format; the arrays must be those of the network that the file
        describes.
        """
        contents: dict[str, Any] = {
            name: io.read_json(file, name, (dict, list) if name == "target" else dict)
            for name in ("network", "target", "training", "card")
        }
        contents["architecture"] = str(file.attrs["architecture"])
        numbers = io.find_array(file, "numbers", shape=(None,), kinds="iu")
        known = numbers[()].tolist() if len(numbers) < len(SYMBOLS) else []
        if len({*known} & {*range(1, len(SYMBOLS))}) != len(numbers) or not known:
            raise FileFormatError(
                f"{file.filename}: its {len(numbers)} numbers are not those of different elements"
            )
        contents["numbers"] = known
        contents["shared"] = read_arrays(file, "shared") if "shared" in file else {}
        names = [part.name for part in dataclasses.fields(Member)]
        contents["members"] = [
            {name: read_arrays(file, f"members/{index}/{name}") for name in names}
            for index in range(len(file["members"]))
        ]
        for version in range(int(file.attrs["format"]), io.FORMAT):
            contents = UPGRADES[version](contents)
        contents["card"] |= {name: str(file.attrs[name]) for name in ("creator", "created")}
        contents["target"] = from_json(contents["target"])
        contents["members"] = [Member(**member) for member in contents["members"]]
        if not contents["members"]:
            raise FileFormatError(f"{file.filename} holds no weights")
        result = cls(**contents)
        for index in range(len(result.members)):
            try:
                result.build(index)
            except ModelError as error:
                raise FileFormatError(f"{file.filename}, member {index}: {error}") from error
        return result

    @property
    def shares_body(self) -> bool:
        """Whether the members are last layers on one body, which needs to be computed only once."""
        own = self.members[0].weights
        return bool(self.shared) and all(name.startswith(READOUT) for name in own)

    def single(self, member: int) -> ModelFile:
        """Return one member of a committee as a model of its own."""
        whole = dataclasses.replace(
            self.members[member], weights=self.shared | self.members[member].weights
        )
        return dataclasses.replace(self, members=[whole], shared={})

    @property
    def config(self) -> Any:
        """Settings of the network, as the class of the architecture.

        Raises
        ------
        ModelError
            If the architecture is unknown or its settings are not.
        """
        shape = ARCHITECTURES[self.architecture].config
        try:
            return shape(**self.network)
        except TypeError as error:
            raise ModelError(f"the settings of its network cannot be read: {error}") from error

    def build(self, member: int = 0, dtype: torch.dtype = torch.float32) -> Any:
        """Return the network of a member with its weights, in `dtype` and ready to predict.

        Raises
        ------
        ModelError
            If the architecture is unknown or settings and arrays do not belong together.
        """
        config, weights = self.config, self.shared | self.members[member].weights
        with _NoMoreThan(sum(array.size for array in weights.values())):
            network = ARCHITECTURES[self.architecture].network(config, self.numbers, self.target)
        network = network.to(dtype)
        load_state(network, weights)
        network.eval().requires_grad_(False)
        return network

    def networks(self, dtype: torch.dtype) -> list[Any]:
        """Return the networks of all members, as `build` does."""
        return [self.build(member, dtype) for member in range(len(self.members))]


class _NoMoreThan(TorchFunctionMode):
    """Refuse to make a network that is larger than the weights that there are for it.

    The settings in a file from elsewhere may ask for more than the memory has.
    """

    #: Of constants, and of what fits in memory anyway.
    _SMALL = 10_000_000
    _MAKERS = (torch.randn, torch.rand, torch.zeros, torch.ones, torch.empty)

    def __init__(self, n_weights: int) -> None:
        super().__init__()
        self._left, self._n_weights = n_weights + self._SMALL, n_weights

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if function in self._MAKERS:
            sizes = args or (kwargs or {}).get("size", ())
            self._left -= int(np.prod([float(n) for n in np.ravel(sizes)]))
            if self._left < 0:
                raise ModelError(
                    f"its settings are those of a network with many more weights than the "
                    f"{self._n_weights} it has"
                )
        return function(*args, **(kwargs or {}))


def as_json(target: AnyTarget) -> Any:
    """Return a target as JSON has it: a dictionary, or a list of them for several heads."""
    parts = [dataclasses.asdict(part) for part in target.parts]
    return parts if isinstance(target, JointTarget) else parts[0]


def from_json(values: Any) -> AnyTarget:
    """Return what `as_json` was given.

    Raises
    ------
    FileFormatError
        If a tensor has more than four indices: its symmetries would take for ever.
    """
    parts = values if isinstance(values, list) else [values]
    for formula in (str(part["formula"]) for part in parts):
        if len(formula.split("=")[0]) > 4:
            raise FileFormatError(
                f"the model predicts a tensor {formula[:20]!r} of too many indices"
            )
    targets = tuple(Target(**part) for part in parts)
    return JointTarget(targets) if isinstance(values, list) else targets[0]


def state_arrays(network: torch.nn.Module) -> Arrays:
    """Return the state of a network as arrays (copies)."""
    return {
        name: value.detach().cpu().numpy().copy() for name, value in network.state_dict().items()
    }


def load_state(network: torch.nn.Module, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Copy arrays into a network, which must have exactly these, of these shapes.

    Raises
    ------
    ModelError
        If one is missing, unknown, of another shape, not of floating-point numbers where it should
        be, or not finite.
    """
    state = network.state_dict()
    missing, unknown = sorted(set(state) - set(arrays)), sorted(set(arrays) - set(state))
    if missing or unknown:
        raise ModelError(
            f"weights do not fit the network: missing {missing[:3]}, unknown {unknown[:3]}"
        )
    for name, value in state.items():
        array = arrays[name]
        if array.shape != tuple(value.shape):
            raise ModelError(
                f"weights {name} have shape {array.shape}, the network needs {tuple(value.shape)}"
            )
        if np.issubdtype(array.dtype, np.floating) != value.dtype.is_floating_point:
            raise ModelError(f"weights {name} are {array.dtype}, the network needs {value.dtype}")
        if not np.isfinite(array).all():
            raise ModelError(f"weights {name} are not finite")
        value.copy_(torch.as_tensor(array))


def write_arrays(file: h5py.File, name: str, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write each array as a data set of the group `name`."""
    group = file.create_group(name)
    for key, values in arrays.items():
        io.write_array(group, key, values)


def read_arrays(file: h5py.File, name: str) -> Arrays:
    """Read the group that `write_arrays` wrote."""
    return {key: np.asarray(io.read_array(file[name], key, kinds="fiub")) for key in file[name]}
