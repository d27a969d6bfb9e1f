"""Methods whose code stands in a package above this one."""

from __future__ import annotations

import importlib
import types
from typing import Any


class LateMethod:
    """A method whose function is imported when it is asked for.

    A user looks for ``series.spectrum()``, and `mda_aptnn.flux` must know nothing of
    `mda_aptnn.spectra`. On the class it is the function itself: ``help(FluxSeries.spectrum)`` shows
    its own signature and docstring. Other packages may add methods in the same way.

    Parameters
    ----------
    function : str
        ``"package.module:name"``; its first parameter is the object.
    of : str, optional
        Attribute of the object that the function gets instead of the object itself.
    """

    def __init__(self, function: str, of: str | None = None) -> None:
        self._module, self._name = function.split(":")
        self._of = of

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        function = getattr(importlib.import_module(self._module), self._name)
        if instance is None:
            return function
        subject = instance if self._of is None else getattr(instance, self._of)
        return types.MethodType(function, subject)
