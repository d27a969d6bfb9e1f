"""Methods whose code stands in a package above this one."""

from __future__ import annotations

import functools
import importlib
import operator
import types
from typing import Any


class LateMethod:
    """A method whose function is imported when it is asked for.

    A user looks for ``series.spectrum()``, and `mda_aptnn.flux` must know nothing of
    `mda_aptnn.spectra`. On the class it is the function: ``help(FluxSeries.spectrum)`` shows its
    own signature and docstring. Other packages may add methods in the same way.

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
        of = operator.attrgetter(self._of) if self._of else None
        if instance is not None:
            return types.MethodType(function, of(instance) if of else instance)
        if of is None:
            return function
        # called through the class, it gets the object as its first argument
        return functools.wraps(function)(
            lambda instance, *args, **options: function(of(instance), *args, **options)
        )
