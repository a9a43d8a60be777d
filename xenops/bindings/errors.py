"""What goes wrong between us and Xen's C libraries."""

import os


class XenError(Exception):
    """A C function failed; ``text`` is what the library said about it, if anything."""

    def __init__(self, function: str, number: int, text: str = "") -> None:
        super().__init__(function, number, text)
        self.function = function
        self.number = number
        self.text = text

    def __str__(self) -> str:
        if not self.number:
            return f"{self.function}: {self.text or 'failed'}"
        reason = os.strerror(self.number)
        return f"{self.function}: {reason}" + (f" ({self.text})" if self.text else "")


class BindingError(Exception):
    """Xen cannot be used on this machine; the text says what to do about it."""
