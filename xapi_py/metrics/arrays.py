"""numpy, which is loaded once clients are served: it takes a sixth of a second."""

from typing import TYPE_CHECKING, Any

from xapi_py.base.lazy import LazyModule

__all__ = ["Floats", "np"]

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
else:
    np = LazyModule("numpy")
    Floats = Any
