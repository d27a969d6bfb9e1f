"""Implementations by name: those of this package, and those that other packages add to it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, TypeVar

from mda_aptnn.errors import AptnnError

T = TypeVar("T")


class Plugins(Generic[T]):
    """Named implementations of one kind. Each is imported when it is first asked for.

    Another package adds one in its pyproject.toml, under the group's name::

        [project.entry-points."mda_aptnn.architectures"]
        my-network = "my_package.network:ARCHITECTURE"

    Parameters
    ----------
    group : str
        Entry point group.
    own : mapping of str to str
        This package's implementations, each as "module:name".
    kind : str
        What they are, for error messages: "architecture".
    error : type of AptnnError
        Raised for an unknown name.
    """

    def __init__(
        self, group: str, own: Mapping[str, str], kind: str, error: type[AptnnError]
    ) -> None:
        self.group, self.kind, self.error = group, kind, error
        self._found: dict[str, str | T] = dict(own)
        self._complete = False

    def register(self, name: str, item: T) -> None:
        """Add an implementation, for this process.

        Raises
        ------
        AptnnError
            If there is another of this name.
        """
        if self._all().setdefault(name, item) is not item:
            raise self.error(f"there is another {self.kind} {name!r}: choose another name")

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __contains__(self, name: object) -> bool:
        return name in self._all()

    def __getitem__(self, name: str) -> T:
        found = self._all().get(name)
        if found is None:
            raise self.error(f"unknown {self.kind} {name!r}: known are {', '.join(self)}")
        if isinstance(found, str):
            try:
                found = self._found[name] = EntryPoint(name, found, self.group).load()
            except (ImportError, AttributeError) as error:
                raise self.error(f"{self.kind} {name!r} cannot be imported: {error}") from error
        return found

    def _all(self) -> dict[str, str | T]:
        if not self._complete:
            # their texts: the objects may be of the package importlib_metadata instead
            for point in entry_points(group=self.group):
                self._found.setdefault(point.name, point.value)
            self._complete = True
        return self._found
