"""Tables of nothing but stored elements and scores, for the rules about files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from analyzer.model.describing import describe
from analyzer.model.run import Checkpoint, Run, TensorInfo
from analyzer.model.tables import StoredElements, Tables, TensorRow

SHAPE = (8, 8)
NAN = "nan"  # marks a state of NaN, which is the same at every checkpoint


def tables_of_states(
    states: Mapping[str, Sequence[str]],
    scores: Mapping[str, Sequence[float]] | None = None,
    kinds: Mapping[str, str] | None = None,
) -> Tables:
    """Return tables of a run in which each tensor has the given states, one word per checkpoint.

    Equal words are equal elements. ``kinds`` names the tensors that are no matrices.
    """
    count = len(next(iter(states.values())))
    infos = {name: TensorInfo(name, "float32", SHAPE, ()) for name in states}
    checkpoints = tuple(
        Checkpoint(
            f"c{at}",
            f"c{at}",
            float(at),
            at,
            {name: float(values[at]) for name, values in (scores or {}).items()},
            infos,
            (),
        )
        for at in range(count)
    )
    elements = {
        f"c{at}": {
            name: StoredElements(words[at], *((64, 64) if words[at] == NAN else (0, 0)), is_constant=False)
            for name, words in states.items()
        }
        for at in range(count)
    }
    rows = [
        TensorRow(name, name, (kinds or {}).get(name, "matrix"), SHAPE, SHAPE, "linear", "float32") for name in states
    ]
    return describe(Run("run", "run", "files", "epoch", checkpoints), rows, elements)
