"""Turn a folder's arrangement into a :class:`analyzer.model.run.Run`.

Each module in :mod:`analyzer.layouts.kinds` is one layout and defines

- ``NAME``: the name that ``--layout`` accepts;
- ``SPECIFICITY``: the layout with the higher number wins if two match;
- ``LOOKS_LIKE``: a description of the arrangement for messages;
- ``recognize(folder)``: the reason why the folder has this layout, or None;
- ``read(folder)``: a list of :class:`analyzer.layouts.ordering.CheckpointSeries`, one for each branch in the folder.

All layouts share the rest: :mod:`analyzer.layouts.weights.checkpoint` finds the weights of one checkpoint,
:mod:`analyzer.layouts.ordering` orders the checkpoints and rejects contradictions, :mod:`analyzer.layouts.search` walks
the folders.
"""

from analyzer.layouts.opening import open_runs
from analyzer.layouts.search import LAYOUTS, FoundRuns, find_runs

__all__ = ["LAYOUTS", "FoundRuns", "find_runs", "open_runs"]
