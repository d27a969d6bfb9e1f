"""The routes from CP2K runs to labels, with one interface and one orientation.

Every route says which runs one snapshot needs, what it asks of the input of each, and turns the
outputs into polar tensors ``P[i, a, b] = ∂M_a/∂r_ib`` and, where its name ends in "-raman",
polarizability gradients ``G[i, a, b, c] = ∂α_ab/∂r_ic`` as well:

- `FieldRoute`: forces in finite fields, ``P[i, a, b] = ∂F_ib/∂E_a``; six runs whatever the size.
- `FieldRamanRoute`: those six and six more, ``G[i, a, b, c] = ∂²F_ic/∂E_a∂E_b``.
- `DisplacementRoute`: dipoles of displaced atoms, ``∂M_a/∂r_ib`` itself; six runs an atom.
- `DisplacementRamanRoute`: polarizabilities of the same displaced atoms.
- `AnalyticRoute`: what CP2K computes by response theory (or by its own finite fields).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mda_aptnn.errors import CampaignError
from mda_aptnn.labels.cp2k.analytic_route import AnalyticRoute
from mda_aptnn.labels.cp2k.displacement_routes import DisplacementRamanRoute, DisplacementRoute
from mda_aptnn.labels.cp2k.field_routes import FieldRamanRoute, FieldRoute

Route = FieldRoute | DisplacementRoute | AnalyticRoute
ROUTES: dict[str, type[FieldRoute] | type[DisplacementRoute] | type[AnalyticRoute]] = {
    kind.name: kind
    for kind in (
        FieldRoute,
        FieldRamanRoute,
        DisplacementRoute,
        DisplacementRamanRoute,
        AnalyticRoute,
    )
}


def make_route(name: str, parameters: Mapping[str, Any]) -> Route:
    """Return a route by its name, as it stands in a manifest.

    Raises
    ------
    CampaignError
        If there is no such route, or it has no such parameter.
    """
    if name not in ROUTES:
        raise CampaignError(f"no route {name!r}: choose {', '.join(ROUTES)}")
    try:
        return ROUTES[name](**parameters)
    except TypeError as error:
        raise CampaignError(f"the route {name} has no parameter {', '.join(parameters)}") from error
