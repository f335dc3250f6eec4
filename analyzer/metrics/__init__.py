"""Metrics: pure functions whose parameter names declare what they need; one file per family.

The engine computes each need once per tensor and checkpoint (see :mod:`analyzer.metrics.needs`) and passes it to every
metric that names it. A metric returns a number, or an :class:`analyzer.Value` if it reports a status. If all its needs
are additive, it also has a value for all parameters together.
"""

from __future__ import annotations

# To import a family registers its metrics.
from analyzer.metrics import motion, pruning, random_matrix, size, spectrum, subspace, tail, trajectory, update  # noqa: F401
from analyzer.metrics.registry import METRICS, Metric, metric, select_metrics

__all__ = ["METRICS", "Metric", "metric", "select_metrics"]
