"""CP2K as a labelling code: its input follows a template of the user's, its output is read back."""

from __future__ import annotations

from typing import ClassVar

from mda_aptnn.labels.cp2k.output import last_lines, parse_output
from mda_aptnn.labels.cp2k.template import Template
from mda_aptnn.labels.protocol import Job, LabellingCode


class CP2K(LabellingCode):
    """The program CP2K: forces in fields, dipoles, response to fields and displacements."""

    name: ClassVar[str] = "cp2k"
    title: ClassVar[str] = "CP2K"
    command: ClassVar[str | None] = "cp2k.psmp"
    offers: ClassVar[frozenset[str]] = frozenset({"forces", "dipole", "apt", "polarizability"})

    recipe = staticmethod(Template.read)
    read = staticmethod(parse_output)
    last_lines = staticmethod(last_lines)

    def compute(self, job: Job) -> int:
        """Run the program on the input of this run, and return its exit code."""
        return job.call([*job.command, "-i", job.run.input])

    def leaves(self, project: str) -> str | None:
        """Return the name of the wavefunction, which the other runs start from."""
        return f"{project}-RESTART.wfn"
