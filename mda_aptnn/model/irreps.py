"""Irreducible parts of features: their notation, their coupling, and linear maps and products of
them.

Irreps are written as in e3nn: ``16x1o`` are 16 polar vectors. Features are kept as a dictionary
from irrep (l, parity) to a tensor [2l+1, n_atoms, channels], components first, so that a coupling
is one matrix product.
"""

from __future__ import annotations

import collections
import contextlib
import math
from collections.abc import Callable, Iterable, Mapping

import torch

from mda_aptnn.errors import ModelError
from mda_aptnn.tensors import wigner_3j

# e3nn 0.4, which MACE asks for, has slices in a file of constants; torch from 2.6 on would refuse
with getattr(torch.serialization, "safe_globals", contextlib.nullcontext)([slice]):
    from e3nn import o3 as o3

Irrep = tuple[int, int]
Features = dict[Irrep, torch.Tensor]

#: Of irreps and spherical harmonics: polar tensors have 2, and the cost of couplings grows with its
#: sixth power.
LARGEST_DEGREE = 6


def irreps_of(text: str) -> dict[Irrep, int]:
    """Return the channels of each irrep of a string such as ``"16x0e+8x1o"``.

    Raises
    ------
    ModelError
        If the string is not e3nn's notation.
    """
    try:
        found = o3.Irreps(text)
    except (ValueError, TypeError) as error:
        raise ModelError(f"{text!r} are not irreps; write them like '16x0e+8x1o'") from error
    if any(irrep.l > LARGEST_DEGREE for _, irrep in found):
        raise ModelError(f"{text!r}: irreps of a degree above {LARGEST_DEGREE} are not supported")
    channels: dict[Irrep, int] = collections.Counter()
    for count, irrep in found:
        channels[irrep.l, irrep.p] += count
    return dict(channels)


def name_of(irrep: Irrep) -> str:
    """Return the name of an irrep, such as "1o"."""
    return f"{irrep[0]}{'e' if irrep[1] == 1 else 'o'}"


class ExactModule(torch.nn.Module):
    """A module whose constants follow its dtype and device, rounded from float64 each time."""

    def __init__(self) -> None:
        super().__init__()
        self._exact: dict[str, torch.Tensor] = {}

    def hold(self, name: str, values: torch.Tensor) -> None:
        """Keep a float64 constant, which is then `self.name` in the module's dtype."""
        self._exact[name] = values
        self.register_buffer(name, values.to(torch.float32), persistent=False)

    def _apply(
        self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True
    ) -> ExactModule:
        super()._apply(fn, recurse)
        for name, values in self._exact.items():
            buffer = getattr(self, name)
            setattr(self, name, values.to(device=buffer.device, dtype=buffer.dtype))
        return self


class Coupling(ExactModule):
    """Clebsch-Gordan coupling of two irreps to all irreps that are kept.

    irreps_in: l₁ ⊗ l₂; irreps_out: the kept l₃, each normalised to unit variance for independent
    inputs.

    Attributes
    ----------
    outputs : list of Irrep
        In the order of the columns of `matrix`, [(2l₁+1)(2l₂+1), Σ(2l₃+1)].
    """

    matrix: torch.Tensor

    def __init__(self, first: Irrep, second: Irrep, keep: Iterable[Irrep]) -> None:
        super().__init__()
        (l1, p1), (l2, p2) = first, second
        self.outputs = [
            (l3, p3) for l3, p3 in keep if abs(l1 - l2) <= l3 <= l1 + l2 and p3 == p1 * p2
        ]
        blocks = [
            math.sqrt(2 * l3 + 1) * torch.tensor(wigner_3j(l1, l2, l3)).reshape(-1, 2 * l3 + 1)
            for l3, _ in self.outputs
        ]
        if blocks:
            self.hold("matrix", torch.cat(blocks, dim=1))

    def forward(self, outer: torch.Tensor) -> torch.Tensor:
        """Couple an outer product [(2l₁+1)(2l₂+1), ...] to [Σ(2l₃+1), ...]."""
        coupled: torch.Tensor = (self.matrix.T @ outer.flatten(1)).unflatten(1, outer.shape[1:])
        return coupled

    def split(self, coupled: torch.Tensor) -> list[tuple[Irrep, torch.Tensor]]:
        """Return the part of each output."""
        widths = [2 * degree + 1 for degree, _ in self.outputs]
        return list(zip(self.outputs, coupled.split(widths), strict=True))


class Kinds(torch.nn.Module):
    """What each element is made of, as a centre and as a neighbour: combinations of `rank` kinds of
    atoms, so that what is learned of one element helps others.

    Attributes
    ----------
    centre, neighbour : Parameter, shape [n_species, rank]
    """

    def __init__(self, n_species: int, rank: int) -> None:
        super().__init__()
        self.rank = rank
        self.centre, self.neighbour = (
            torch.nn.Parameter(torch.randn(n_species, rank) / math.sqrt(rank)) for _ in range(2)
        )


class Mixing(torch.nn.Module):
    """Linear map of channels, separate for each irrep and each element of the atom.

    irreps_in: `inputs`; irreps_out: those of `outputs` that also are in `inputs`. The map is
    weights / √inputs: weights of order one everywhere, so that one learning rate and one weight
    decay suit them all.

    Parameters
    ----------
    inputs, outputs : mapping of Irrep to int
        Channels.
    n_species : int
    kinds : Kinds, optional
        What elements have in common: then each has its own combination of a few maps that all
        learn. Each has maps of its own otherwise.
    of_neighbours : bool
        The inputs are densities of each element: combinations of these as well.
    """

    def __init__(
        self,
        inputs: Mapping[Irrep, int],
        outputs: Mapping[Irrep, int],
        n_species: int,
        kinds: Kinds | None = None,
        *,
        of_neighbours: bool = False,
    ) -> None:
        super().__init__()
        self.irreps = [irrep for irrep in outputs if inputs.get(irrep)]
        self.outputs = {irrep: outputs[irrep] for irrep in self.irreps}
        # the network's own, which it holds itself: no further copy in its state
        self._kinds, self._of_neighbours = [kinds], of_neighbours
        shape: tuple[int, ...] = (n_species,)
        if kinds is not None:
            shape = (kinds.rank, kinds.rank) if of_neighbours else (kinds.rank,)
        n_own = n_species if kinds is not None and of_neighbours else 1
        self.weights = torch.nn.ParameterList(
            torch.randn(*shape, inputs[irrep] // n_own, outputs[irrep], dtype=torch.float32)
            for irrep in self.irreps
        )

    def of_elements(self) -> list[torch.Tensor]:
        """Return the weights of each element, [n_species, n_inputs, n_outputs] for each irrep."""
        kinds = self._kinds[0]
        if kinds is None:
            return list(self.weights)
        centre, neighbour = kinds.centre, kinds.neighbour
        if not self._of_neighbours:
            return [torch.einsum("sk,kio->sio", centre, own) for own in self.weights]
        found = (torch.einsum("sk,zl,klio->szio", centre, neighbour, own) for own in self.weights)
        return [weights.flatten(1, 2) for weights in found]

    def forward(self, features: Features, counts: list[int]) -> Features:
        """Return the mixed features of atoms that are sorted by element, `counts` of each."""
        mixed = {}
        for irrep, weights in zip(self.irreps, self.of_elements(), strict=True):
            maps = (weights / math.sqrt(weights.shape[1])).unbind()
            parts = zip(features[irrep].split(counts, dim=1), maps, strict=True)
            mixed[irrep] = torch.cat([values @ matrix for values, matrix in parts], dim=1)
        return mixed


class Products(torch.nn.Module):
    """Channel-wise products of two features of the same atom.

    irreps_in: `left` and `right` with `channels` each; irreps_out: `outputs`, every product that
    has one of `keep`.
    """

    def __init__(
        self, left: Iterable[Irrep], right: Iterable[Irrep], keep: Iterable[Irrep], channels: int
    ) -> None:
        super().__init__()
        terms = [
            (first, second, Coupling(first, second, keep)) for first in left for second in right
        ]
        #: Left irrep, right irrep and their coupling.
        self.terms = [term for term in terms if term[2].outputs]
        self.couplings = torch.nn.ModuleList(coupling for _, _, coupling in self.terms)
        found = collections.Counter(irrep for *_, term in self.terms for irrep in term.outputs)
        self.outputs = {irrep: count * channels for irrep, count in found.items()}

    def forward(self, left: Features, right: Features) -> Features:
        """Return the products, [2l+1, n_atoms, products · channels] for each irrep."""
        return coupled(
            (coupling, (left[first][:, None] * right[second]).flatten(0, 1))
            for first, second, coupling in self.terms
        )


def coupled(pairs: Iterable[tuple[Coupling, torch.Tensor]]) -> Features:
    """Couple outer products, and put the results of each irrep side by side."""
    parts: dict[Irrep, list[torch.Tensor]] = collections.defaultdict(list)
    for coupling, outer in pairs:
        for irrep, values in coupling.split(coupling(outer)):
            parts[irrep].append(values)
    return {irrep: torch.cat(values, dim=2) for irrep, values in parts.items()}


def add(one: Features, other: Features) -> Features:
    """Sum of features, where an irrep may be missing from either."""
    total = dict(one)
    for irrep, values in other.items():
        total[irrep] = total[irrep] + values if irrep in total else values
    return total
