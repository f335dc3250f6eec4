"""Sign sketches of steps, from which the distance between any two checkpoints follows without reading them again.

Element i is counted with a random sign in bucket i mod k. The sketch is linear, and its inner products are unbiased
estimates (Alon, Matias & Szegedy, The space complexity of approximating the frequency moments, 1999; Charikar, Chen &
Farach-Colton, Finding frequent items in data streams, 2004): the relative error of a norm is 1/√(2k) rms.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from hashlib import sha256, shake_256

import numpy as np

from analyzer.model.run import FloatArray
from analyzer.model.trajectory import StepSketch
from analyzer.numerics.blocks import CHUNK

# Prime, so that no column of a matrix falls into one bucket: (most tensors in a run, buckets for each tensor).
BUCKETS = ((32, 4099), (128, 1031))
BUCKETS_OF_MANY = 257
# Offsets into the table of signs: a prime number of them, and the step from one chunk's offset to the next.
OFFSETS, OFFSET_STEP = 65521, 40503
# The signs of a row of buckets begin this share of a row after those of the row before. Rows share signs, which are
# then few enough for the cache; only steps of which all elements move alike are estimated less exactly for it.
ROW_SHARE = 8


@dataclass(frozen=True, slots=True)
class SketchKey:
    """The key from which the buckets and signs of a tensor's elements follow, the same at all checkpoints.

    The sketches of a run's tensors are added up. Tensors begin at different buckets and at different signs, so that
    short tensors fill all buckets, and tensors that move alike do not add up as if they were one.
    """

    buckets: int
    first: int
    offset: int

    @classmethod
    def of(cls, name: str, tensors: int) -> SketchKey:
        """Return the key of a tensor by name, in a run whose first checkpoint has this many tensors."""
        buckets = next((buckets for most, buckets in BUCKETS if tensors <= most), BUCKETS_OF_MANY)
        digest = sha256(name.encode(errors="surrogatepass")).digest()
        first, offset = (int.from_bytes(part, "little") for part in (digest[:8], digest[8:16]))
        return cls(buckets, first % buckets, offset % OFFSETS)


class Sketcher:
    """Accumulates the sketch of one tensor's step from its chunks, which must be cut by its shape and come in order."""

    def __init__(self, key: SketchKey) -> None:
        self.key, self.position, self.chunks = key, 0, 0
        self.sums = np.zeros(key.buckets)  # of element 0, 1, ... mod buckets

    def add(self, step: FloatArray) -> None:
        """Add the next chunk of the step, (length,), length ≤ :data:`.blocks.CHUNK`, as rows of buckets."""
        buckets, stride = self.key.buckets, self.key.buckets // ROW_SHARE
        rows, rest = divmod(len(step), buckets)
        offset = (self.key.offset + self.chunks * OFFSET_STEP) % OFFSETS
        whole, end = rows * buckets, offset + rows * stride
        signs = _signs()
        of_rows = np.ndarray((rows, buckets), np.float64, signs, offset * _ITEM, (stride * _ITEM, _ITEM))
        sums = np.einsum("ij,ij->j", step[:whole].reshape(rows, buckets), of_rows)
        sums[:rest] += step[whole:] * signs[end : end + rest]
        phase = self.position % buckets
        self.sums[phase:] += sums[: buckets - phase]
        self.sums[:phase] += sums[buckets - phase :]
        self.position += len(step)
        self.chunks += 1

    def sketch(self) -> StepSketch:
        """Return the sketch of all elements so far."""
        return StepSketch(self.key.buckets, self.key.first, self.sums[: self.position])


_ITEM = np.dtype(np.float64).itemsize


@cache
def _signs() -> FloatArray:
    """Return the table of signs, −1 or 1; it is the same on every machine and with every version of numpy."""
    count = OFFSETS + CHUNK // ROW_SHARE + max(buckets for _, buckets in BUCKETS)
    bits = np.frombuffer(shake_256(b"weightlapse").digest(-(-count // 8)), dtype=np.uint8)
    return 1.0 - 2.0 * np.unpackbits(bits)[:count].astype(np.float64)
