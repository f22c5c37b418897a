"""What arrays hold, in one word each."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Marks = NDArray[np.bool_]
Counts = NDArray[np.int64]
Indices = NDArray[np.intp]
