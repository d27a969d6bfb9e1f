"""tblite in fields: its own keyword (0.8.0) hands C an array of numpy, which cffi refuses."""

from ase.units import Bohr, Hartree
from tblite.ase import TBLite, _create_api_calculator


class InField(TBLite):
    """`efield` in V/Å."""

    def __init__(self, efield=None, **keywords):
        super().__init__(**keywords)
        self.efield = efield

    def calculate(self, atoms=None, properties=None, system_changes=()):
        self.atoms = atoms.copy()
        self._xtb = _create_api_calculator(self.atoms, self.parameters)
        if self.efield is not None:
            self._xtb.add("electric-field", (self.efield * Bohr / Hartree).tolist())
        super().calculate(atoms, properties, [])


class Against(InField):
    """The other sign, as some programs understand a field."""

    def __init__(self, efield=None, **keywords):
        super().__init__(None if efield is None else -efield, **keywords)


class Unconverged(TBLite):
    """As a calculator of a program whose output says so: ASE's VASP goes on."""

    converged = False
