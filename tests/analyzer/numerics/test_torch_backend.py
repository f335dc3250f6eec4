"""Spectra through torch, on its CPU device, beside those of the ordinary way; and what happens without a device."""

from __future__ import annotations

import sys
import threading
from functools import partial

import ml_dtypes
import numpy as np
import pytest
from builders import random_walk
from threadpoolctl import threadpool_limits

import analyzer
from analyzer.cli import main
from analyzer.engine.planning import plan
from analyzer.engine.walk import walk
from analyzer.errors import DeviceError, WeightlapseError
from analyzer.metrics import select_metrics
from analyzer.numerics import gram
from analyzer.numerics import singular_values as decomposition
from analyzer.numerics import torch_backend as gpu
from analyzer.numerics.singular_values import spectrum

torch = pytest.importorskip("torch")

EPSILON = np.finfo(np.float64).eps
SHAPES = [(130, 130), (500, 100), (100, 500), (2000, 67), (2000, 13)]


@pytest.fixture(autouse=True)
def one_thread_as_in_a_job():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with threadpool_limits(limits=1):
        yield
    torch.set_num_threads(before)


def planted(values, shape, dtype=np.float64, seed=0):
    """A matrix of a shape with these singular values (but for rounding to the dtype)."""
    generator = np.random.default_rng(seed)
    n = min(shape)
    left = np.linalg.qr(generator.standard_normal((max(shape), n)))[0]
    right = np.linalg.qr(generator.standard_normal((n, n)))[0]
    tall = (left * values) @ right.T
    return np.ascontiguousarray(tall if shape[0] >= shape[1] else tall.T).astype(dtype)


def with_small_end(n, kappa):
    return np.r_[np.linspace(1, 0.5, n - 2), 2 / kappa, 1 / kappa]


def assert_same(found, expected):
    """Each σ within 1e-9, or what rounding in float64 allows: eps·κ of W itself, eps·(σ₁/σ)² where G was trusted."""
    assert (found.rows, found.columns, found.noise) == (expected.rows, expected.columns, expected.noise)
    assert (found.bound or 0.0) <= max(10 * (expected.bound or 0.0), 1e-8)
    largest = expected.values[0]
    for one, other in zip(found.values, expected.values, strict=True):
        share = other / largest if largest else 0.0
        trusted = 20 * EPSILON / share**2 if decomposition.TRUSTED < share < 0.002 else 0.0
        assert one == pytest.approx(other, rel=max(1e-9, 4 * EPSILON / share if share else 0.0, trusted), abs=0)
    assert found.values[-1] == pytest.approx(
        expected.values[-1], rel=max(1e-9, 4 * EPSILON * largest / max(expected.values[-1], 1e-300))
    )


@pytest.fixture
def svds(monkeypatch):
    """One entry for each matrix that was left to LAPACK's SVD."""
    calls = []
    plain = decomposition._svd
    monkeypatch.setattr(decomposition, "_svd", lambda *a: calls.append(1) or plain(*a))
    return calls


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn])
def test_random_matrices_in_every_stored_type(shape, dtype):
    matrix = np.random.default_rng(3).standard_normal(shape).astype(dtype)
    (found,) = gpu.spectra([matrix], "cpu")
    assert_same(found, spectrum(matrix))


def test_a_type_that_torch_does_not_know():
    matrix = np.random.default_rng(3).standard_normal((200, 100)).astype(ml_dtypes.float8_e3m4)
    assert_same(gpu.spectra([matrix], "cpu")[0], spectrum(matrix))


@pytest.mark.parametrize("shape", SHAPES[:4])
@pytest.mark.parametrize("exponent", [0, 2, 3, 4, 6, 7, 8])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_planted_condition_numbers(shape, exponent, dtype, svds):
    matrix = planted(with_small_end(min(shape), 10.0**exponent), shape, dtype)
    (found,) = gpu.spectra([matrix], "cpu")
    assert svds == []  # the way by the Gram matrix is what is tested here
    assert_same(found, spectrum(matrix))
    true = np.linalg.svd(matrix.astype(np.float64), compute_uv=False)
    assert found.values == pytest.approx(true, rel=1e-6)


def test_a_falling_spectrum_that_the_gram_matrix_does_not_hold_is_left_to_lapack(svds):
    matrix = planted(np.logspace(0, -7, 100), (300, 100))
    (found,) = gpu.spectra([matrix], "cpu")
    assert len(svds) == 1
    assert np.array_equal(found.values, spectrum(matrix).values)


@pytest.mark.parametrize("matrix", [np.zeros((200, 100)), np.ones((200, 100)), np.zeros((3, 2)), np.eye(120)])
def test_zero_and_singular_matrices(matrix):
    assert_singular = spectrum(matrix)
    (found,) = gpu.spectra([matrix], "cpu")
    assert found.values == pytest.approx(assert_singular.values, rel=1e-9, abs=1e-12)
    assert found.bound == assert_singular.bound


@pytest.mark.parametrize("scale", [-1060, -900, -500, 500, 1000])
def test_powers_of_two_change_nothing(scale):
    matrix = planted(with_small_end(90, 1e3), (200, 90))
    scaled = np.ldexp(matrix, scale)
    assert_same(gpu.spectra([scaled], "cpu")[0], spectrum(scaled))


def test_views_that_torch_would_not_take():
    matrix = planted(with_small_end(90, 1e5), (200, 90), np.float32)
    read_only = matrix.copy()
    read_only.setflags(write=False)
    strided = np.repeat(matrix, 2, axis=1)[:, ::2]
    for same in (read_only, strided, matrix[::-1][::-1], np.asfortranarray(matrix)):
        assert np.array_equal(gpu.spectra([same], "cpu")[0].values, gpu.spectra([matrix], "cpu")[0].values)


@pytest.mark.parametrize("elements", [1, 100_000])
def test_a_batch_of_small_matrices_beside_each_alone(elements, monkeypatch):
    batches = []
    plain = torch.linalg.eigvalsh
    monkeypatch.setattr(torch.linalg, "eigvalsh", lambda grams: batches.append(tuple(grams.shape)) or plain(grams))
    monkeypatch.setattr(gpu, "BATCH_ELEMENTS", elements)
    shapes = [(100, 80), (80, 100), (300, 80), (5, 4), (90, 90), (100, 80), (600, 600)]
    kappas = [10, 1e6, 1e4, 10, 10, 1e8, 10]
    matrices = [
        planted(with_small_end(min(s), k), s, seed=i) for i, (s, k) in enumerate(zip(shapes, kappas, strict=True))
    ]
    found = gpu.spectra(matrices, "cpu")
    assert batches[0] == ((1, 80, 80) if elements == 1 else (4, 80, 80))
    for matrix, one in zip(matrices, found, strict=True):
        assert_same(one, spectrum(matrix))
        assert_same(one, gpu.spectra([matrix], "cpu")[0])
    assert gpu.spectra([], "cpu") == []


def test_threads_that_share_the_device_get_the_same_bits():
    matrices = [planted(with_small_end(100, 1e5), (400, 100), np.float32, seed) for seed in range(8)]
    expected = [one.values for one in gpu.spectra(matrices, "cpu")]
    results = {}

    def work(number):
        results[number] = gpu.spectra(matrices, "cpu")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    for found in results.values():
        assert all(np.array_equal(one.values, other) for one, other in zip(found, expected, strict=True))


# ------------------------------------------------------------------------------------------ boundaries and terms


@pytest.mark.parametrize(
    ("shapes", "batches"),
    [
        ([(600, 512)] * 2, [(2, 512)]),
        ([(600, 513)] * 2, []),
        ([(512, 600), (600, 512)], [(2, 512)]),
        ([(600, 512), (600, 511)], []),
        ([(3000, 10)] * 2, []),
        ([(3001, 10)] * 2, [(2, 10)]),
        ([(600, 512)] * 129, [(128, 512), (1, 512)]),  # 2^25 elements of Gram matrices
        ([(600, 512)] * 128, [(128, 512)]),
    ],
)
def test_gram_matrices_of_up_to_512_columns_are_decomposed_together(shapes, batches, monkeypatch):
    found = []

    def eigvalsh(grams):
        found.append(tuple(grams.shape[:2]))
        return torch.zeros(grams.shape[:2])

    monkeypatch.setattr(torch.linalg, "eigvalsh", eigvalsh)
    monkeypatch.setattr(gpu._TorchBackend, "gram", lambda self: torch.empty(0, 1).expand(0, 1))
    monkeypatch.setattr(torch, "stack", lambda grams: torch.empty(1).expand(len(grams), min(shapes[0]), 1))
    matrices = [np.broadcast_to(np.float32(1), shape) for shape in shapes]
    known = gpu._batched_eigenvalues(matrices, "cpu")
    assert found == batches
    assert sorted(known) == (list(range(len(shapes))) if batches else [])


@pytest.mark.parametrize("shape", [(11, 4), (4, 11), (5, 5)])
@pytest.mark.parametrize("exponent", [0, 1, 4, -3])
@pytest.mark.parametrize("resident", [False, True])
def test_the_backend_computes_what_numpy_does(shape, exponent, resident, monkeypatch):
    monkeypatch.setattr(gram, "block_rows", lambda columns: columns)
    matrix = np.random.default_rng(0).standard_normal(shape)
    tall = (matrix if shape[0] >= shape[1] else matrix.T) * 2.0**-exponent
    n = tall.shape[1]
    total, right = tall.T @ tall, np.arange(3.0 * n).reshape(n, 3)
    backend = gpu._TorchBackend(matrix, exponent, "cpu", resident)
    sent, plain = [], gpu._TorchBackend._sent
    monkeypatch.setattr(gpu._TorchBackend, "_sent", lambda self: sent.append(1) or plain(self))
    np.testing.assert_allclose(backend.gram(), total, rtol=1e-12, atol=1e-12)
    assert backend.gram() is backend.gram()
    np.testing.assert_allclose(backend.eigenvalues(), np.linalg.eigvalsh(total), rtol=1e-10)
    scale = float(np.trace(total))
    shifted = total + scale * np.eye(n)
    np.testing.assert_allclose(backend.solver(scale)(right), np.linalg.solve(shifted, right), rtol=1e-10)
    assert backend.solver(-2 * scale) is None
    np.testing.assert_allclose(backend.gram(), total, rtol=1e-12, atol=1e-12)  # without the shift
    triangle = backend.triangle(right)
    np.testing.assert_allclose(triangle.T @ triangle, right.T @ total @ right, rtol=1e-9, atol=1e-9 * scale)
    squares, back = backend.norms_and_gram_product(right)
    np.testing.assert_allclose(squares, ((tall @ right) ** 2).sum(axis=0), rtol=1e-12)
    np.testing.assert_allclose(back, total @ right, rtol=1e-11, atol=1e-11 * scale)
    assert len(sent) == (1 if resident else 3)


def test_eigenvalues_that_are_known_are_not_computed_again():
    backend = gpu._TorchBackend(np.eye(3), 0, "cpu", eigenvalues=np.array([7.0]))
    assert backend.eigenvalues().tolist() == [7]
    assert backend._gram is None


@pytest.mark.parametrize(
    ("error", "is_memory"),
    [
        (torch.OutOfMemoryError("no text"), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("CUSOLVER_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("memory"), False),
    ],
)
def test_errors_of_memory_are_told_from_others(error, is_memory):
    assert gpu._is_out_of_memory(error) == is_memory


def test_a_device_is_checked_by_its_type(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    gpu.check_device("cpu")
    for device in ("cuda", "cuda:1"):
        with pytest.raises(DeviceError, match=r"finds no CUDA device; measure on the CPU \(--device cpu\)"):
            gpu.check_device(device)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    gpu.check_device("cuda:1")


# ------------------------------------------------------------------------------------------------ what goes wrong


def with_failing_start(monkeypatch, fails):
    """A device on which sending a matrix fails where ``fails(resident)`` gives an error."""
    plain = gpu._TorchBackend._sent

    def sent(self):
        if error := fails(self._resident):
            raise error
        return plain(self)

    monkeypatch.setattr(gpu._TorchBackend, "_sent", sent)


MEMORY_ERRORS = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
]


@pytest.mark.parametrize("error", MEMORY_ERRORS)
def test_a_matrix_that_does_not_fit_is_sent_piece_by_piece(monkeypatch, error):
    matrix = planted(with_small_end(100, 1e5), (3000, 100), np.float32)
    monkeypatch.setattr(gram, "block_rows", lambda columns: 2 * columns)
    expected = gpu.spectra([matrix], "cpu")[0].values
    with_failing_start(monkeypatch, lambda resident: error if resident else None)
    assert np.array_equal(gpu.spectra([matrix], "cpu")[0].values, expected)  # the same bits


@pytest.mark.parametrize("error", MEMORY_ERRORS)
def test_out_of_memory_altogether_the_cpu_takes_over_with_a_warning(monkeypatch, error):
    matrices = [planted(with_small_end(100, 1e5), (300, 100), np.float32, seed) for seed in range(2)]
    with_failing_start(monkeypatch, lambda resident: error)
    with pytest.warns(RuntimeWarning, match="too little memory for a matrix of 300 × 100; the CPU"):
        found = gpu.spectra(matrices, "cpu")
    for one, matrix in zip(found, matrices, strict=True):
        assert np.array_equal(one.values, spectrum(matrix).values)


def test_eigenvalues_that_do_not_converge_are_left_to_lapack(monkeypatch, svds):
    def fail(_):
        raise torch.linalg.LinAlgError("the algorithm failed to converge")

    monkeypatch.setattr(torch.linalg, "eigvalsh", fail)
    matrices = [planted(with_small_end(100, 10), (300, 100), seed=seed) for seed in range(2)]
    found = gpu.spectra(matrices, "cpu")
    assert len(svds) == 2
    assert_same(found[1], spectrum(matrices[1]))


def test_any_other_error_of_the_device_is_not_hidden(monkeypatch):
    with_failing_start(monkeypatch, lambda resident: RuntimeError("CUDA error: an illegal memory access"))
    with pytest.raises(RuntimeError, match="illegal memory access"):
        gpu.spectra([np.random.default_rng(0).standard_normal((100, 100))], "cpu")


def test_without_torch_the_error_names_the_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(DeviceError, match=r"pip install 'weightlapse\[gpu\]'"):
        gpu.check_device("cuda")
    assert issubclass(DeviceError, WeightlapseError)


def test_without_a_graphics_card_the_error_says_so(monkeypatch):
    def is_available():
        import warnings

        warnings.warn("The NVIDIA driver on your system is too old", UserWarning, stacklevel=1)
        return False

    monkeypatch.setattr(torch.cuda, "is_available", is_available)
    with pytest.raises(DeviceError, match=r"finds no CUDA device \(The NVIDIA driver on your system is too old\)"):
        gpu.spectra([np.eye(100)], "cuda")


# ------------------------------------------------------------------------------------------------ through the engine


def test_the_engine_measures_the_same_with_stacks_decomposed_together(make_run):
    shapes = {"w": (90, 80), "v": (400, 70), "bias": (20,), "layer.experts.up": (3, 100, 80), "small": (6, 5)}
    states = random_walk(3, shapes)
    states[1]["v"][3, 4] = np.nan
    run = analyzer.open_run(make_run(states))
    metrics = select_metrics(None)
    tasks = plan(run, metrics, lambda name: {}, 1)
    asked = []

    def decompose(matrices):
        asked.append(len(matrices))
        return gpu.spectra(matrices, "cpu")

    by_name = {metric.row.name: metric for metric in metrics}
    ordinary = [one for task in tasks for one in walk(task, by_name)]
    elsewhere = [one for task in tasks for one in walk(task, by_name, decompose)]
    assert sorted(asked) == [1] * 8 + [3] * 3  # once for each tensor and checkpoint; not for what is not finite
    for one, other in zip(elsewhere, ordinary, strict=True):
        assert one.problems == other.problems
        for row, expected in zip(one.measurements, other.measurements, strict=True):
            assert (row.tensor, row.metric, row.status) == (expected.tensor, expected.metric, expected.status)
            if expected.value is None:
                assert row.value is None
            else:
                assert row.value == pytest.approx(expected.value, rel=1e-9)
        for name, values in other.spectra.items():
            assert one.spectra[name] == pytest.approx(values, rel=1e-9)


def test_measure_asks_for_the_device_before_it_measures(make_run, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(DeviceError, match="finds no CUDA device"):
        analyzer.measure(analyzer.open_run(make_run()), tmp_path / "store.sqlite", device="cuda")


def test_measure_on_a_device_through_all_jobs(make_run, tmp_path, monkeypatch):
    run = analyzer.open_run(make_run(random_walk(3, {"a.weight": (90, 80), "b.weight": (80, 90)})))
    asked = []
    monkeypatch.setattr(gpu, "check_device", asked.append)
    monkeypatch.setattr(gpu, "spectra", partial(on_the_cpu, gpu.spectra))
    ours = analyzer.measure(run, tmp_path / "a.sqlite", jobs=2, device="cuda")
    theirs = analyzer.measure(run, tmp_path / "b.sqlite", jobs=2)
    assert asked[0] == "cuda"
    for name in ("a.weight", "b.weight"):
        found, expected = (one.series(name, "condition_number").values for one in (ours, theirs))
        assert len(found) == 3
        assert found == pytest.approx(expected, rel=1e-9)


def on_the_cpu(spectra, matrices, device):
    assert device == "cuda"
    return spectra(matrices, "cpu")


@pytest.mark.parametrize("verb", ["measure", "report"])
def test_the_command_line_asks_for_the_device_before_it_makes_anything(verb, make_run, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["weightlapse", verb, str(make_run()), "--device", "cuda"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    assert "finds no CUDA device" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
