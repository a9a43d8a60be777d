"""API errors: a code and its parameters, all text, as they travel to a client."""

from dataclasses import dataclass


class ApiError(Exception):
    """A failure a client sees as ``ErrorDescription = [code, *params]``.

    Every parameter is text.  Raise one through an ``ErrorCode`` of
    ``xapi_py.datamodel.errors``, so that a typo does not import; build one
    directly only for codes that come from outside, such as a storage driver.
    """

    def __init__(self, code: str, *params: str) -> None:
        super().__init__(code, *params)
        self.code = code
        self.params = params

    @property
    def description(self) -> list[str]:
        """The ``ErrorDescription`` array."""
        return [self.code, *self.params]


@dataclass(frozen=True, slots=True)
class ErrorCode:
    """An error of the data model; calling it makes the exception to raise.

    ``params`` are the parameter names in order, or ``None`` where the model
    does not declare them.  Servers send more parameters than the model
    declares for some codes, never fewer: calling with fewer is a programming
    error and raises ``TypeError``.
    """

    code: str
    params: tuple[str, ...] | None

    def __call__(self, *params: object) -> ApiError:
        if self.params is not None and len(params) < len(self.params):
            raise TypeError(f"{self.code} takes {list(self.params)}, got {list(params)}")
        return ApiError(self.code, *(str(p) for p in params))
