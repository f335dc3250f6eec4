"""The hash of a checkpoint's content: the same for every file layout and format that stores the same tensors."""

from __future__ import annotations

from collections.abc import Mapping

from blake3 import blake3

from analyzer.model.run import Checkpoint
from analyzer.model.tables import StoredElements
from analyzer.tensors.kinds import is_readable


def content_hash(checkpoint: Checkpoint, elements: Mapping[str, StoredElements]) -> str | None:
    """Return the BLAKE3 hash (32 hexadecimal digits) of the sorted lines "hash of the tensor's bytes, space, name".

    It is what ``audit`` prints and what a report's manifest contains. None where a tensor that can be read was not.
    """
    digests = {name: digest for name, one in elements.items() if (digest := one.digest) is not None}
    readable = [name for name, info in checkpoint.tensors.items() if is_readable(info)]
    if not readable or any(name not in digests for name in readable):
        return None
    lines = sorted(f"{digests[name]} {name}" for name in readable)
    return str(blake3("\n".join(lines).encode("utf-8", "surrogatepass")).hexdigest(length=16))
