"""Compute singular values on a graphics card through torch, by the method of :mod:`.singular_values`.

A matrix is sent in its stored dtype and widened to float64 block by block on the device. Values that the Gram matrix
does not determine, and tiny matrices, are left to LAPACK on the CPU, as without a graphics card. Tests run the
same code with torch on the CPU (device ``cpu``).
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from analyzer.errors import DeviceError
from analyzer.model.observed import Spectrum
from analyzer.model.run import Array, FloatArray
from analyzer.numerics.gram import Solve, power_of_two, stored_blocks
from analyzer.numerics.singular_values import SMALL_WORK, decompose_with_numpy, spectrum, values_from_gram

# Stored dtypes that torch can widen. Any other is widened before it is sent.
SENT_AS_STORED = frozenset({"float64", "float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2"})
# Up to this many columns a decomposition leaves most of a graphics card idle, so several are done together, up to this
# many elements of Gram matrices. Both are estimates, not yet measured.
BATCHED_COLUMNS = 512
BATCH_ELEMENTS = 1 << 25

# Jobs are threads that share one device; running one at a time keeps its memory and the order of its work the same.
_device_lock = threading.Lock()


def _torch() -> Any:
    import torch

    return torch


def check_device(device: str) -> None:
    """Check that torch and the device (``cuda``, ``cuda:1``, ``cpu``) are available.

    Raises:
        DeviceError: one of them is not.
    """
    try:
        torch = _torch()
    except (ImportError, OSError) as error:  # OSError: one of its shared libraries is missing
        raise DeviceError(
            f"the device {device} needs PyTorch, which cannot be imported here ({error}); "
            "install it with pip install 'weightlapse[gpu]', or measure on the CPU (--device cpu)"
        ) from error
    with warnings.catch_warnings(record=True) as caught:  # torch warns of a driver that is too old
        warnings.simplefilter("always")
        missing = torch.device(device).type == "cuda" and not torch.cuda.is_available()
    if missing:
        reason = f" ({caught[0].message})" if caught else ""
        raise DeviceError(
            f"PyTorch {torch.__version__} finds no CUDA device{reason}; measure on the CPU (--device cpu)"
        )


def spectra(matrices: Sequence[Array], device: str) -> list[Spectrum]:
    """Compute what :func:`analyzer.numerics.singular_values.spectrum` returns for each matrix, on a device.

    Small matrices of the same width are decomposed together, so the last bits may depend on which matrices these are.
    If the device runs out of memory, the CPU takes over with a warning.

    Raises:
        DeviceError: the device is not available.
        numpy.linalg.LinAlgError: neither of LAPACK's two SVD algorithms converged.
    """
    check_device(device)
    known = _batched_eigenvalues(matrices, device)
    return [
        spectrum(matrix, partial(_decompose_with_torch, device=device, eigenvalues=known.get(number)))
        for number, matrix in enumerate(matrices)
    ]


def _batched_eigenvalues(matrices: Sequence[Array], device: str) -> Mapping[int, FloatArray]:
    """Return the eigenvalues of the Gram matrices of small matrices, by number, where several have the same width."""
    torch = _torch()

    groups: dict[int, list[int]] = {}
    for number, matrix in enumerate(matrices):
        n = min(matrix.shape)
        if n <= BATCHED_COLUMNS and matrix.size * n > SMALL_WORK:
            groups.setdefault(n, []).append(number)
    known: dict[int, FloatArray] = {}
    for n, numbers in groups.items():
        most = max(1, BATCH_ELEMENTS // n**2)
        for start in range(0, len(numbers) if len(numbers) > 1 else 0, most):
            batch = numbers[start : start + most]
            try:
                with _device_lock:
                    # Products are computed one by one: cuBLAS may sum a batch of another size in another order.
                    grams = [_TorchBackend(matrices[one], power_of_two(matrices[one]), device).gram() for one in batch]
                    found = torch.linalg.eigvalsh(torch.stack(grams)).cpu().numpy()
            except RuntimeError as error:
                if not (isinstance(error, torch.linalg.LinAlgError) or _is_out_of_memory(error)):
                    raise
                continue  # each is then tried alone
            known |= dict(zip(batch, found, strict=True))
    return known


def _decompose_with_torch(
    matrix: Array, exponent: int, device: str, eigenvalues: FloatArray | None = None
) -> tuple[FloatArray | None, float | None]:
    """Do what :func:`analyzer.numerics.singular_values.decompose_with_numpy` does; ``eigenvalues`` of G if known."""
    torch = _torch()

    for resident in (True, False):
        try:
            with _device_lock:
                return values_from_gram(_TorchBackend(matrix, exponent, device, resident, eigenvalues))
        except torch.linalg.LinAlgError:
            return None, None
        except RuntimeError as error:
            if not _is_out_of_memory(error):
                raise
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()
    rows, columns = matrix.shape
    warnings.warn(
        f"the device {device} has too little memory for a matrix of {rows} × {columns}; the CPU decomposes it",
        RuntimeWarning,
        stacklevel=2,
    )
    return decompose_with_numpy(matrix, exponent)


def _is_out_of_memory(error: RuntimeError) -> bool:
    """Check for torch's own error class, and for the messages of the libraries that torch calls."""
    torch = _torch()

    text = str(error)
    return isinstance(error, torch.OutOfMemoryError) or "out of memory" in text or "ALLOC_FAILED" in text


class _TorchBackend:
    """:class:`analyzer.numerics.singular_values.GramBackend` by torch on a device.

    Args:
        matrix: W, (rows, columns), in host memory.
        exponent: of the power of two to divide by.
        device: torch's name for the device.
        resident: keep W on the device in its stored dtype once it is sent, rather than send it for each product.
        eigenvalues: of G, if they are known.
    """

    def __init__(
        self,
        matrix: Array,
        exponent: int,
        device: str,
        resident: bool = False,
        eigenvalues: FloatArray | None = None,
    ) -> None:
        self.torch = _torch()
        self.matrix, self.exponent, self.device = matrix, exponent, device
        self._resident, self._kept = resident, list[Any]()
        self._eigenvalues = eigenvalues
        self._gram: Any = None

    def gram(self) -> Any:
        """Return G = WᵀW on the device, shape (n, n)."""
        if self._gram is None:
            n = min(self.matrix.shape)
            self._gram = self.torch.zeros((n, n), dtype=self.torch.float64, device=self.device)
            for block in self._blocks():
                self._gram.addmm_(block.mT, block)
        return self._gram

    def eigenvalues(self) -> FloatArray:
        """Return the eigenvalues of G in ascending order, shape (n,)."""
        if self._eigenvalues is None:
            self._eigenvalues = _to_host(self.torch.linalg.eigvalsh(self.gram()))
        return self._eigenvalues

    def solver(self, shift: float) -> Solve | None:
        """Return X ↦ (G + shift·I)⁻¹·X by a Cholesky factor; None if that does not exist."""
        diagonal = self.gram().diagonal()
        unshifted = diagonal.clone()
        diagonal += shift
        factor, failed = self.torch.linalg.cholesky_ex(self.gram())
        diagonal.copy_(unshifted)
        if int(failed):
            return None

        def solve(right: FloatArray) -> FloatArray:
            half = self.torch.linalg.solve_triangular(factor, self._to_device(right), upper=False)
            return _to_host(self.torch.linalg.solve_triangular(factor.mT, half, upper=True))

        return solve

    def triangle(self, right: FloatArray) -> FloatArray:
        """Return R of the QR decomposition of W·X, shape (k, k)."""
        sent = self._to_device(right)
        image = self.torch.cat([block @ sent for block in self._blocks()])
        return _to_host(self.torch.linalg.qr(image, mode="r")[1])

    def norms_and_gram_product(self, right: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return ‖W·x‖² for each column x of X, shape (k,), and Wᵀ·(W·X), shape (n, k)."""
        sent = self._to_device(right)
        squares, back = self.torch.zeros_like(sent[0]), self.torch.zeros_like(sent)
        for block in self._blocks():
            image = block @ sent
            squares += (image**2).sum(dim=0)
            back.addmm_(block.mT, image)
        return _to_host(squares), _to_host(back)

    def _to_device(self, array: FloatArray) -> Any:
        return self.torch.from_numpy(np.ascontiguousarray(array)).to(self.device)

    def _blocks(self) -> Iterator[Any]:
        """Yield the matrix as tall, in blocks of rows in float64 on the device."""
        # In two steps, since the power itself may be outside float64's range.
        half = self.exponent // 2
        if self._resident and not self._kept:
            self._kept = list(self._sent())
        for block in self._kept or self._sent():
            wide = block.to(self.torch.float64)
            yield wide * 2.0**-half * 2.0 ** (half - self.exponent) if self.exponent else wide

    def _sent(self) -> Iterator[Any]:
        """Yield the matrix as tall, in blocks of rows in the stored dtype, on the device."""
        tall = self.matrix.shape[0] >= self.matrix.shape[1]
        name = self.matrix.dtype.name
        for block in stored_blocks(self.matrix):
            array = block if tall else block.T
            if name not in SENT_AS_STORED:
                array = array.astype(np.float64)
            array = np.require(array, requirements=["C", "W"])  # torch requires it; the engine's are read-only
            if array.dtype.isbuiltin == 1:
                sent = self.torch.from_numpy(array).to(self.device)
            else:  # a dtype that ml-dtypes adds to numpy
                bits = self.torch.from_numpy(array.view(f"i{array.itemsize}")).to(self.device)
                sent = bits.view(getattr(self.torch, name))
            yield sent if tall else sent.mT


def _to_host(tensor: Any) -> FloatArray:
    return np.asarray(tensor.cpu().numpy(), dtype=np.float64)
