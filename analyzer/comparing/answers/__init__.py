"""Answer questions about a comparison: one finding per question, with its numbers and its certainty."""

from __future__ import annotations

from analyzer.comparing.answers.certainty import certainty, own_weights
from analyzer.comparing.answers.ranking import effect_on_accuracy, extreme
from analyzer.comparing.answers.shared_start import shared_starts
from analyzer.comparing.answers.wording import at_end, number, place
from analyzer.comparing.quantities import by_name
from analyzer.model.comparison import Comparison
from analyzer.model.run import Finding

__all__ = ["QUESTIONS", "answers", "at_end", "number", "place"]

QUESTIONS = {
    "moved_most": "Which moved most?",
    "best_conditioned": "Which is best conditioned?",
    "mattered_for_accuracy": "Did it matter for accuracy?",
    "how_sure": "How sure is that?",
    "own_weights": "Does a run’s accuracy correlate with its own weights?",
    "divergence": "Where do runs with the same start diverge?",
}


def answers(comparison: Comparison) -> tuple[Finding, ...]:
    """Return the answers to :data:`QUESTIONS`, as far as the runs allow."""
    quantities = by_name(comparison.quantities)
    found: list[Finding] = []
    if "initial_distance" in quantities:
        found += extreme(comparison, "moved_most", quantities["initial_distance"], largest=True)
    if "condition_number" in quantities:
        found += extreme(comparison, "best_conditioned", quantities["condition_number"], largest=False)
    found.append(effect_on_accuracy(comparison))
    found.append(certainty(comparison))
    found += own_weights(comparison)
    found += shared_starts(comparison)
    return tuple(found)
