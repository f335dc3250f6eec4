"""The options that several commands share, as click options and as one typed object."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from math import inf
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from analyzer.errors import MetricError

if TYPE_CHECKING:
    from analyzer.engine.update import MeasureRequest


@dataclass(frozen=True, slots=True)
class MeasureOptions:
    """The options that ``measure``, ``report`` and ``compare`` share."""

    store: str | None
    metrics: str | None
    metrics_from: str | None
    scalars: str | None
    layout: str | None
    files: tuple[str, ...]
    tensors: tuple[str, ...]
    spectra_every: int
    jobs: int | None
    max_memory: int | None
    device: str
    dry_run: bool

    def arguments(self) -> dict[str, Any]:
        """Return the options by name, for a manifest."""
        return asdict(self)

    def request(self) -> MeasureRequest:
        """Return what is to be measured and how, with metrics from files and plug-ins loaded.

        Raises:
            click.UsageError: an unknown family or metric.
            MetricError: a metric file or plug-in fails.
            DeviceError: the device is not available.
        """
        from analyzer.engine.update import MeasureRequest
        from analyzer.metrics import select_metrics
        from analyzer.metrics.registry import load_installed_metrics, load_metrics_file

        if self.device != "cpu":
            from analyzer.numerics.torch_backend import check_device

            check_device(self.device)
        load_installed_metrics()
        added = load_metrics_file(self.metrics_from) if self.metrics_from else []
        try:
            chosen = select_metrics([*self.metrics.split(","), *added] if self.metrics is not None else None)
        except MetricError as error:
            raise click.UsageError(str(error), click.get_current_context()) from None
        return MeasureRequest(chosen, self.spectra_every, self.jobs, self.max_memory, self.device)


def measure_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of ``measure`` to a command, which gets them as ``options``."""

    @functools.wraps(function)
    def with_options(**arguments: Any) -> Any:
        chosen = {field.name: arguments.pop(field.name) for field in fields(MeasureOptions)}
        return function(**arguments, options=MeasureOptions(**chosen))

    decorated: Callable[..., Any] = with_options
    for option in reversed(_MEASURE_OPTIONS):
        decorated = option(decorated)
    return decorated


def reject_measure_options(path: str) -> None:
    """Raise click.UsageError if an option of ``measure`` was given for a store, which is drawn as it is."""
    context = click.get_current_context()
    given = [
        f"--{field.name.replace('_', '-')}"
        for field in fields(MeasureOptions)
        if context.get_parameter_source(field.name) is ParameterSource.COMMANDLINE
    ]
    if given:
        raise click.UsageError(
            f"{path} is drawn again as it was measured, without any checkpoint, so {', '.join(given)} cannot be used; "
            "name the folder of the checkpoints to measure more",
            context,
        )


def _parse_size(context: click.Context, parameter: click.Parameter, text: str | None) -> int | None:
    """Parse a size such as ``500MB``, ``4GB`` or ``2GiB`` into bytes."""
    from analyzer.model.sizes import parse_size

    try:
        return None if text is None else parse_size(text)
    except ValueError as error:
        raise click.BadParameter(str(error), context, parameter) from None


def parse_time(context: click.Context, parameter: click.Parameter, text: str | None) -> float | None:
    """Parse a time such as ``90s``, ``30m`` or ``2h`` into seconds."""
    if text is None:
        return None
    units = {"s": 1, "m": 60, "h": 3600, "d": 86400}
    try:
        if 0 <= (seconds := float(text[:-1]) * units[text[-1:]]) < inf:
            return seconds
        raise ValueError
    except (KeyError, ValueError):
        raise click.BadParameter(f"{text!r} is not a time; write 90s, 30m or 2h", context, parameter) from None


def _check_layout(context: click.Context, parameter: click.Parameter, name: str | None) -> str | None:
    """Check a layout's name; the layouts are imported only where one is named."""
    if name is not None:
        from analyzer.layouts import LAYOUTS

        click.Choice(list(LAYOUTS)).convert(name, parameter, context)
    return name


layout_option = click.option(
    "--layout", metavar="NAME", callback=_check_layout, help="What the folder is, where that is ambiguous."
)
files_option = click.option(
    "--files",
    metavar="GLOB",
    multiple=True,
    help="Only files or folders with matching names are checkpoints, such as '*_net_G_A.pth'; may be repeated.",
)
out_option = click.option("--out", metavar="DIR", help="The folder to write; reports/NAME by default.")
force_option = click.option("--force", is_flag=True, help="Write over another report, or beside foreign files.")
metrics_from_option = click.option(
    "--metrics-from",
    metavar="FILE.py",
    type=click.Path(exists=True, dir_okay=False),
    help="A Python file of your own with decorated metrics; it runs as your code.",
)
_MEASURE_OPTIONS = (
    click.option("--store", metavar="FILE.sqlite", help="Keep the measurements in this file."),
    click.option(
        "--metrics",
        metavar="FAMILY,...",
        help="Families or single metrics: motion, trajectory, size, spectrum, tail, random_matrix (the default), "
        "subspace, update, pruning.",
    ),
    metrics_from_option,
    click.option(
        "--scalars",
        metavar="FILE",
        type=click.Path(exists=True),
        help="A table (CSV, JSON), an event file or an MLflow run with scores by epoch or step that the run lacks.",
    ),
    layout_option,
    files_option,
    click.option(
        "--tensors",
        metavar="GLOB",
        multiple=True,
        help="Only tensors with matching names, such as 'layers.*.weight'; may be repeated.",
    ),
    click.option(
        "--spectra-every",
        metavar="N",
        type=click.IntRange(min=1),
        default=1,
        help="Measure spectra of every N-th checkpoint only, and of the last one.",
    ),
    click.option("--jobs", type=click.IntRange(min=1), help="Tasks at a time; by default as many as there are cores."),
    click.option(
        "--max-memory",
        metavar="SIZE",
        callback=_parse_size,
        help="Run fewer tasks at a time to stay below, say, 4GB; a bare number means bytes.",
    ),
    click.option(
        "--device",
        type=click.Choice(["cpu", "cuda"]),
        default="cpu",
        help="Where spectra are computed; cuda needs PyTorch and a GPU.",
    ),
    click.option("--dry-run", is_flag=True, help="Print what was found and would be measured, and stop."),
)
