"""What goes wrong with a lab."""


class LabError(Exception):
    """The lab did not do what it was asked to; the text says what and where its logs are."""


class LabUnavailable(LabError):
    """This machine cannot have a lab at all; the text says what is missing."""
