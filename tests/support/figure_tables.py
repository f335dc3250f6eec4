"""Tables of made-up but lifelike runs: accuracy saturates, steps shrink, condition numbers drift."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from analyzer.model.run import Status
from analyzer.model.spectra import SpectrumThroughTime, spectrum_through_time
from analyzer.model.tables import ChangePair, CheckpointRow, Correlation, Curve, MetricRow, Tables, TensorRow
from analyzer.model.trajectory import trajectory_of

BLOCK = (
    "self_attn.q_proj",
    "self_attn.k_proj",
    "self_attn.v_proj",
    "self_attn.o_proj",
    "mlp.up_proj",
    "mlp.down_proj",
)
OWN = ("first_direction_share", "a_metric_with_a_name_that_is_longer_than_its_panel", "third", "fourth", "fifth")


def layer_names(count: int) -> list[str]:
    if count <= 10:
        return [*(f"fc{i + 1}.weight" for i in range(count - 1)), "out.weight"]
    return [f"model.layers.{i // len(BLOCK)}.{BLOCK[i % len(BLOCK)]}.weight" for i in range(count)]


def make_tables(
    layers: int | Sequence[str] = 4,
    checkpoints: int = 51,
    *,
    run: str = "mnist-seed0",
    missing: Sequence[int] = (),
    axis: Sequence[float] | None = None,
    axis_label: str = "epoch",
    seed: int = 0,
) -> Tables:
    """Return the tables of a run, without the epochs in ``missing``."""
    rng = np.random.default_rng(seed)
    names = layer_names(layers) if isinstance(layers, int) else list(layers)
    epochs = np.array([e for e in range(checkpoints + len(missing)) if e not in missing], float)
    places = epochs if axis is None else np.array(axis, float)
    rows = tuple(CheckpointRow(f"epoch_{int(e)}.safetensors", e, int(e) * 157, "p", 1) for e in epochs)
    rate = np.exp(-epochs / max(4.0, checkpoints / 6))
    curves: dict[tuple[str, str, str], Curve] = {}

    def add(name: str, metric: str, values: np.ndarray, compared: bool = False, scope: str = "tensor") -> None:
        statuses: list[Status | None] = ["ok"] * len(values)
        references: list[str | None] = [None] * len(values)
        if compared:
            values[0], statuses[0] = np.nan, None
            references = [None, *(row.name for row in rows[:-1])][: len(values)]
        curves[scope, name, metric] = Curve(scope, name, metric, values, tuple(statuses), tuple(references))

    def noisy(values: np.ndarray, by: float = 0.05) -> np.ndarray:
        return values * np.exp(by * rng.standard_normal(len(values)))

    for name in names:
        size = 2 ** rng.uniform(0, 3)
        add(name, "step_distance", noisy(size * (0.02 + 0.4 * rate)), True)
        add(name, "initial_distance", noisy(size * (1 - rate) * 3, 0.01) * (np.arange(len(epochs)) > 0))
        add(name, "condition_number", noisy(10 ** rng.uniform(0.5, 3) * (1 + 2 * (1 - rate))))
        add(name, "effective_rank", noisy(size * 6 * (1 + 0.3 * rate), 0.01))
        add(name, "stable_rank", noisy(size * 1.5 * (1 + rate), 0.02))
        add(name, "dead_row_count", np.round(size * (1 - rate)))
        add(name, "dead_column_count", np.zeros(len(epochs)))
        add(name, "changed_fraction", 1 - 0.1 * rng.random(len(epochs)), True)
        add(name, "zero_fraction", np.zeros(len(epochs)))
        add(name, "near_zero_fraction", noisy(0.01 * size * (2 - rate)))
        add(name, "frobenius_norm", noisy(size * (3 + rate), 0.01))
        add(name, "alpha", noisy(2 + 4 * rate))
        add(name, "alpha_hill", noisy(2 + rate))
        add(name, "mp_outlier_count", np.round(8 * (1 - rate)))
        add(name, "rotation", noisy(0.01 + 0.3 * rate), True)
        add(name, "norm_change", noisy(size * rate) - 0.3 * size, True)
        add(name, "update_cosine", np.tanh(rng.standard_normal(len(epochs))), True)
    add(f"{names[0].removesuffix('.weight')}.bias", "zero_fraction", np.ones(len(epochs)))
    for metric in ("step_distance", "condition_number"):
        stack = np.stack([curves["tensor", name, metric].values for name in names])
        add("", metric, stack.mean(axis=0), metric == "step_distance", "mean")
    for name in names:
        add(name, "overlap_previous", noisy(1 - rate / 2, 0.02), True)
        add(name, "overlap_initial", noisy(0.1 + 0.9 * rate, 0.02))
        add(name, "update_effective_rank", noisy(0.4 + 0.5 * rate), True)
        add(name, "update_stable_rank", noisy(0.2 + 0.4 * rate), True)
        add(name, "mask_churn", noisy(0.3 * rate), True)
        for share in (10, 50, 90):
            add(name, f"magnitude_share_{share}", noisy(share / 200 * (2 - rate), 0.01))
        for metric in OWN:
            add(name, metric, noisy(0.2 + rate / 2))
    for name in names:
        add(name, "relative_step_distance", noisy(0.002 + 0.2 * rate, 0.1), True)
    scalars = {
        "train_accuracy": np.where(epochs == 0, np.nan, noisy(0.99 - 0.7 * rate, 0.004)),
        "test_accuracy": noisy(0.965 - 0.6 * rate, 0.004),
        "train_loss": np.where(epochs == 0, np.nan, noisy(0.05 + 2.2 * rate)),
        "test_loss": noisy(0.12 + 2.1 * rate),
    }
    tensors = tuple(TensorRow(n, n.rpartition(".")[0], "matrix", (8, 8), (8, 8), "linear", "float32") for n in names)
    bias = TensorRow(f"{names[0].removesuffix('.weight')}.bias", "fc1", "vector", (8,), None, "vector", "float32")
    steps = curves["mean", "", "step_distance"].values
    spectra = {name: spectrum(name, curves["tensor", name, "frobenius_norm"].values) for name in names}
    pairs = tuple(change_pair(n, places, scalars[n], steps) for n in ("train_accuracy", "test_accuracy"))
    metrics = {
        name: MetricRow(name, "mine" if name in OWN else "motion", "share of ‖W‖²", "d", "s", 1)
        for name in dict.fromkeys(metric for _, _, metric in curves)
    }
    way = np.cumsum(rate[:, None] * (rng.standard_normal((len(epochs), 30)) + 1), axis=0)
    path = trajectory_of([None, *enumerate(np.diff(way, axis=0))], 30)
    known = Tables(run, places, axis_label, rows, (*tensors, bias), metrics, scalars, curves, {}, pairs, ())
    related = {metric: [correlation(metric, name) for name in ["", *names]] for metric in ("step_distance", "alpha")}
    return dataclasses.replace(known, spectra=spectra, trajectory=path, correlations=related)


def correlation(metric: str, tensor: str, coefficient: float = -0.217, p_value: float | None = 0.494) -> Correlation:
    """Return what was tested of a tensor, or without a name of the mean, against the test accuracy."""
    return Correlation(
        *(
            "tensor" if tensor else "mean",
            tensor,
            metric,
            "test_accuracy",
            "differences …, trend removed",
            0,
            "pearson",
        ),
        *(coefficient, -0.43, 0.081, 45, 41.6, p_value, p_value, "ok", (-0.3, -0.128), 0.786, 0.981),
    )


def spectrum(tensor: str, norm: np.ndarray, count: int = 64) -> SpectrumThroughTime:
    """Return falling singular values of a matrix with the Frobenius norms ``norm`` (checkpoints,)."""
    shape = np.exp(-np.linspace(0, 3, count))
    values = [each * shape / np.sqrt(np.square(shape).sum()) for each in norm]
    return spectrum_through_time(tensor, values, 0.3 * norm)


def change_pair(scalar: str, places: np.ndarray, score: np.ndarray, steps: np.ndarray) -> ChangePair:
    change, moved = np.diff(score), steps[1:]
    both = np.isfinite(change) & np.isfinite(moved)
    x, y, n = moved[both], change[both], int(both.sum())
    if n < 2 or x.std() == 0 or y.std() == 0:
        nothing = np.full(n, np.nan)
        return ChangePair(scalar, places[1:][both], nothing, nothing, None, n, "too_few" if n < 2 else "undefined")
    x, y = (x - x.mean()) / x.std(), (y - y.mean()) / y.std()
    stationary = dataclasses.replace(correlation("step_distance", ""), scalar=scalar)
    return ChangePair(scalar, places[1:][both], y, x, float((x * y).mean()), n, "ok", stationary)


def with_curve(
    tables: Tables, tensor: str, metric: str, edit: Callable[[np.ndarray, list[Status | None]], None]
) -> Tables:
    """Return the tables with one curve edited in place by ``edit(values, statuses)``."""
    key = ("tensor", tensor, metric)
    curve = tables.curves[key]
    values, statuses = curve.values.copy(), list(curve.statuses)
    edit(values, statuses)
    changed = dataclasses.replace(curve, values=values, statuses=tuple(statuses))
    return dataclasses.replace(tables, curves={**tables.curves, key: changed})


def with_marks(tables: Tables) -> Tables:
    """Return the tables with singular, non-finite, undefined and missing condition numbers in them."""
    names = [row.name for row in tables.tensors if row.kind == "matrix"]

    def mark(status: Status, where: slice) -> Callable[[np.ndarray, list[Status | None]], None]:
        def edit(values: np.ndarray, statuses: list[Status | None]) -> None:
            values[where] = np.nan
            statuses[where] = [status] * len(values[where])

        return edit

    for name, status, where in (
        (names[0], "singular", slice(3, 9)),
        (names[1 % len(names)], "nonfinite", slice(20, 24)),
        (names[2 % len(names)], "undefined", slice(0, 1)),
        (names[-1], "missing", slice(30, 35)),
    ):
        tables = with_curve(tables, name, "condition_number", mark(status, where))
    return tables
