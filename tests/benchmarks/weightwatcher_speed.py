"""Spectrum, tail and random_matrix of the block matrices of one GPT-2-shaped checkpoint: weightlapse and WeightWatcher.

    python tests/benchmarks/weightwatcher_speed.py --python /path/to/venv/bin/python [--repeats 3]

``--python`` is an interpreter in whose environment WeightWatcher 0.7.7, torch and safetensors are installed. Both are
timed as whole processes in turn, with all cores free to both.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from series import gpt2_shapes, in_turn, measure_command, seconds, write_series

CONTENDER = """
import sys
import torch
import weightwatcher
from safetensors.torch import load_file

model = torch.nn.Module()
for name, weight in load_file(sys.argv[1]).items():
    layer = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    layer.weight.data = weight
    model.add_module(name.replace(".", "_"), layer)
print(weightwatcher.WeightWatcher(model=model).analyze(mp_fit=True))
"""


def main() -> None:
    """Print both times and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", required=True)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = write_series(Path(temporary) / "series", gpt2_shapes(vocabulary=0), 1)
        (checkpoint,) = folder.iterdir()
        script = Path(temporary) / "contender.py"
        script.write_text(CONTENDER)
        store = Path(temporary) / "store.sqlite"
        ours, theirs, ratio = in_turn(
            lambda: seconds(measure_command(folder, store, "--metrics", "spectrum,tail,random_matrix")),
            lambda: seconds([options.python, str(script), str(checkpoint)]),
            options.repeats,
        )
    print(f"weightlapse {ours:.2f} s, WeightWatcher analyze(mp_fit=True) {theirs:.2f} s: {ratio} as fast")


if __name__ == "__main__":
    main()
