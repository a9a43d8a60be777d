"""Names and priorities of the alerts the server itself raises."""

from xapi_py.datamodel.model import Alert, Model


def alert(model: Model, name: str) -> Alert:
    """Give the alert of that name; ``KeyError`` if the profile has none."""
    return model.alerts[name]


def priority_of(model: Model, name: str) -> int:
    """Give the priority of an alert, 1 (urgent) to 5 (information).

    A name the profile does not know counts as information.
    """
    known = model.alerts.get(name)
    return known.priority if known else 5
