"""Registry of metrics. A declaration is validated at once, so that an error names the function at fault."""

from __future__ import annotations

import inspect
import runpy
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from hashlib import sha256
from importlib.metadata import entry_points
from pathlib import Path
from typing import TypeVar

from analyzer.errors import MetricError
from analyzer.metrics.needs import NEEDS, STEP_SKETCH, Need
from analyzer.model.network import role_of
from analyzer.model.observed import Role
from analyzer.model.run import Value
from analyzer.model.tables import MetricRow

MetricFunction = Callable[..., "float | Value"]
FunctionT = TypeVar("FunctionT", bound=MetricFunction)
ON_REQUEST = frozenset({"subspace", "pruning", "update"})


@dataclass(frozen=True, slots=True)
class Metric:
    """A registered metric: its table row, its function, and the needs that the function's parameters name."""

    row: MetricRow
    function: MetricFunction
    needs: tuple[Need, ...]
    roles: frozenset[Role]  # the states that it depends on
    reference: Role | None  # the state that W_t is compared with
    matrix_only: bool  # whether it has a value for each matrix of a tensor rather than one for the tensor
    any_bits: bool  # whether it is defined for NaN and Inf too
    any_dtype: bool  # whether it is defined for integers too
    tensor_roles: frozenset[str]  # the roles in the network that it is defined for, all if empty
    digest: str  # of its name, its version and, for a user's metric, its file: stored values depend on them

    @property
    def is_additive(self) -> bool:
        """Whether it can be computed for all parameters together, from summed needs."""
        return all(need.is_additive for need in self.needs)

    @property
    def is_sketch(self) -> bool:
        """Whether the store keeps the sketch that it needs, in a table of its own, instead of its value."""
        return self.row.name == STEP_SKETCH.name

    def concerns(self, tensor: str) -> bool:
        """Check whether it is defined for a tensor of this name."""
        return not self.tensor_roles or role_of(tensor) in self.tensor_roles


METRICS: dict[str, Metric] = {}
_LOADED_FILES: dict[str, list[str]] = {}


def metric(
    *, family: str, unit: str, definition: str, source: str, version: int = 1
) -> Callable[[FunctionT], FunctionT]:
    """Register a function as the metric of its name.

    The function's parameters name its needs, from :data:`analyzer.metrics.needs.NEEDS`: ``current``, ``previous`` and
    ``initial`` are the tensor's arrays as stored, ``singular_values`` its float64 spectrum in descending order, and so
    on. The function returns a number, or a :class:`analyzer.Value` with a status.

    Args:
        family: the group by which ``--metrics`` selects it.
        unit: for the axis of a figure, for example ``"weight units"``, or ``"1"`` for a pure number.
        definition: the formula, with its convention.
        source: paper, book or section; for a metric of your own, its name is enough.
        version: increase it when the number changes, so that stored values are measured again.

    Returns:
        a decorator that returns the function unchanged.

    Raises:
        MetricError: an unknown need, an empty description, or a name that is taken.
    """

    def register(function: FunctionT) -> FunctionT:
        name = function.__name__
        where = f"metric {name} ({inspect.getsourcefile(function)})"
        if name in METRICS:
            raise MetricError(f"{where}: a metric of this name exists already; rename the function")
        for label, text in {"family": family, "unit": unit, "definition": definition, "source": source}.items():
            if not text.strip():
                raise MetricError(f"{where}: its {label} is empty")
        names = list(inspect.signature(function).parameters)
        unknown = [parameter for parameter in names if parameter not in NEEDS]
        if unknown or not names:
            raise MetricError(
                f"{where}: its parameters must name what it needs, one or more of {', '.join(NEEDS)}; "
                f"unknown: {', '.join(unknown) or 'none given at all'}"
            )
        row = MetricRow(name, family, unit, definition, source, version)
        needs = tuple(NEEDS[parameter] for parameter in names)
        roles = frozenset[Role]().union(*(need.roles for need in needs))
        METRICS[name] = Metric(
            row,
            function,
            needs,
            roles,
            reference=next((role for role in (Role.INITIAL, Role.PREVIOUS) if role in roles), None),
            matrix_only=any(need.matrix_only for need in needs),
            any_bits=all(need.any_bits for need in needs),
            any_dtype=all(need.any_dtype for need in needs),
            tensor_roles=frozenset[str]().union(*(need.tensor_roles for need in needs)),
            digest=_digest(f"{name}:{version}"),
        )
        return function

    return register


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:8]


def load_metrics_file(path: str) -> list[str]:
    """Run a user's Python file and register the metrics that it declares; loading it again replaces them.

    Stored values depend on the whole file: after any edit, its metrics are measured again.

    Returns:
        the names of the metrics.

    Raises:
        MetricError: the file cannot be read, fails, or declares no metric.
    """
    where = Path(path).resolve()
    for name in _LOADED_FILES.pop(str(where), []):
        METRICS.pop(name, None)
    known = set(METRICS)
    try:
        code = where.read_bytes()
        namespace = runpy.run_path(str(where), run_name=f"weightlapse_metrics_{where.stem}")
    except BaseException as error:
        for name in METRICS.keys() - known:
            del METRICS[name]
        if isinstance(error, (MetricError, KeyboardInterrupt)):
            raise
        raise MetricError(f"--metrics-from {path}: {type(error).__name__}: {error}") from error
    added = [name for name in METRICS if name not in known]
    if not added:
        raise MetricError(
            f"--metrics-from {path}: declares no metric; decorate a function with analyzer.metric(...) "
            f"(the file defines {', '.join(key for key in namespace if not key.startswith('_')) or 'nothing'})"
        )
    for name in added:
        METRICS[name] = replace(METRICS[name], digest=_digest(f"{METRICS[name].digest}:{sha256(code).hexdigest()}"))
    _LOADED_FILES[str(where)] = added
    return added


def load_installed_metrics() -> None:
    """Import the metrics that installed packages offer under the entry point ``weightlapse.metrics``.

    Raises:
        MetricError: a plug-in fails.
    """
    for entry_point in entry_points(group="weightlapse.metrics"):
        try:
            entry_point.load()
        except Exception as error:  # report the broken plug-in by name rather than by a traceback
            raise MetricError(f"the plug-in {entry_point.name} ({entry_point.value}) fails: {error}") from error


def select_metrics(families: Iterable[str] | None = None) -> list[Metric]:
    """Return the metrics of the given families (or single metrics by name); by default all but those on request.

    Raises:
        MetricError: a name that is neither a family nor a metric.
    """
    if families is None:
        return [one for one in METRICS.values() if one.row.family not in ON_REQUEST]
    wanted = set(families)
    known = {one.row.family for one in METRICS.values()} | METRICS.keys()
    if unknown := sorted(wanted - known):
        from difflib import get_close_matches

        near = [close for name in unknown for close in get_close_matches(name, known, n=1)]
        raise MetricError(
            f"--metrics {','.join(unknown)}: no such family or metric"
            + (f"; did you mean {', '.join(near)}? " if near else ". ")
            + f"Families are {', '.join(sorted({one.row.family for one in METRICS.values()}))}"
        )
    return [one for name, one in METRICS.items() if one.row.family in wanted or name in wanted]
