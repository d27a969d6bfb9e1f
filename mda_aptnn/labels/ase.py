"""ASE calculators as a labelling code: any that gives dipoles, or also forces in fields."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import importlib.metadata
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from mda_aptnn.errors import CampaignError, LabelError
from mda_aptnn.frame import Frame
from mda_aptnn.labels.protocol import InProcess, Output, Run, Settings
from mda_aptnn.units import factor


@dataclasses.dataclass(frozen=True)
class Calculator:
    """Which calculator, and how it is made.

    Attributes
    ----------
    calculator : str
        Its class, as it is imported: "tblite.ase.TBLite".
    field : str
        Its keyword for a uniform electric field (a vector in V/Å); "" if it has none.
    keywords : dict
        All others that it takes, its charge among them.
    """

    calculator: str
    field: str = ""
    keywords: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def make(self, field: NDArray[np.float64]) -> Any:
        """Return the calculator in a field (atomic units); CampaignError if it cannot be made."""
        module, _, name = self.calculator.rpartition(".")
        keywords = dict(self.keywords)
        if field.any():
            keywords[self.field] = field * factor("hartree/e/bohr", "V/angstrom")
        try:
            return getattr(importlib.import_module(module), name)(**keywords)
        except Exception as error:  # of whatever package
            said = " ".join(str(error).split()) or type(error).__name__
            raise CampaignError(f"{self.calculator} cannot be made: {said}") from error


class ASE(InProcess):
    """Dipoles, and forces in fields, of any calculator."""

    name: ClassVar[str] = "ase"
    title: ClassVar[str] = "ASE"
    package: ClassVar[str | None] = "ase"
    kind: ClassVar[type | None] = Calculator
    # in a cell some give the dipole of wrapped atoms: charge that flows between two of them changes
    # it by a cell vector's part, and the sum rule is kept
    isolated: ClassVar[bool] = True

    def recipe(self, path: str | os.PathLike[str]) -> Settings:
        """Read the settings and make the calculator once; CampaignError if it has no dipole."""
        recipe = super().recipe(path)
        settings: Calculator = recipe.settings
        given = settings.make(np.zeros(3)).implemented_properties
        if "dipole" not in given:
            raise CampaignError(
                f"{settings.calculator} gives no dipole, only {', '.join(given)}: labels need one"
            )
        return recipe

    def level_of_theory(self, settings: Calculator) -> str:
        """Return the calculator and its keywords in one line."""
        words = (f"{name}={value}" for name, value in settings.keywords.items())
        return " ".join([settings.calculator, *words])

    def check(self, frame: Frame, runs: Sequence[Run], settings: Calculator) -> None:
        """Refuse fields for a calculator that was not given a keyword for them."""
        if any(any(run.field) for run in runs) and not settings.field:
            raise CampaignError(
                f"the settings do not say how {settings.calculator} takes a field: add field = "
                '"its keyword" (a vector in V/Å), or choose --route displacement'
            )

    def calculate(
        self,
        frame: Frame,
        field: NDArray[np.float64],
        wanted: frozenset[str],
        settings: Calculator,
    ) -> Output:
        """Compute what is wanted, and the energy if there is one."""
        import ase

        calculator = settings.make(field)
        atoms = ase.Atoms(frame.numbers, frame.positions)
        atoms.calc = calculator
        with tempfile.TemporaryDirectory() as folder:
            # programs that are run by files would share the current one
            calculator.directory = Path(folder)
            forces = None
            if "forces" in wanted:
                forces = atoms.get_forces() * factor("eV/angstrom", "hartree/bohr")
            dipole = atoms.get_dipole_moment()
            energy = np.nan
            if "energy" in calculator.implemented_properties:
                energy = atoms.get_potential_energy() * factor("eV", "hartree")
        if getattr(calculator, "converged", True) is False:
            raise LabelError("the SCF did not converge")
        return Output(
            project="",
            version=_versions(settings.calculator.partition(".")[0], "ase"),
            energy=float(energy),
            numbers=atoms.numbers,
            positions=atoms.positions,
            cell=frame.cell,
            forces=forces,
            dipole=np.asarray(dipole),
        )


@functools.cache
def _versions(*packages: str) -> str:
    """Names and versions of what was installed, by what is imported."""
    installed = importlib.metadata.packages_distributions()
    names = dict.fromkeys(name for package in packages for name in installed.get(package, []))
    return ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names)
