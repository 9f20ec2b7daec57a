"""The kinds of array that the recipes work with. Codes, days and instants are all ``Ints``."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Bits = NDArray[np.uint64]
"""Random bits, 64 to an element."""
