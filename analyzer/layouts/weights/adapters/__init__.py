"""Read low-rank adapters (LoRA) as the update ΔW = scale · up · down of each adapted module.

The two factors are not unique: any invertible r × r matrix can be moved from one to the other. Only their product is
defined, so the product is measured. Sources: Hu et al. (2021), "LoRA"; Kalajdzievski (2023) for the scale of rsLoRA.

PEFT (:mod:`analyzer.layouts.weights.adapters.peft`) states the scale in a file beside the factors; the others
(:mod:`analyzer.layouts.weights.adapters.reading`) are recognized by the names of their tensors.
"""

from analyzer.layouts.weights.adapters.peft import read_index
from analyzer.layouts.weights.adapters.reading import assumed_scales, with_updates

__all__ = ["assumed_scales", "read_index", "with_updates"]
