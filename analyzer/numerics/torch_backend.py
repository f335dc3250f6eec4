"""Compute singular values on a graphics card through torch, by the method of :mod:`.singular_values`.

A matrix is sent as it is stored and widened to float64 block by block on the device. What the Gram matrix cannot give
(and what is tiny) is left to LAPACK here, as without a graphics card. torch on the CPU
(device ``cpu``) runs the same code under test.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from analyzer.errors import DeviceError
from analyzer.model.observed import Spectrum
from analyzer.numerics.gram import Matrix, power_of_two, slabs_of
from analyzer.numerics.singular_values import SMALL_WORK, Solve, by_numpy, from_gram, spectrum

Array = npt.NDArray[Any]

# Stored types that torch widens itself. Any other is widened before it is sent.
SENT_AS_STORED = frozenset({"float64", "float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2"})
# Up to this many columns a decomposition leaves most of a graphics card idle, so several are done at a time: as many
# as have Gram matrices of so many elements together. An estimate, not yet measured.
BATCHED_COLUMNS = 512
BATCH_ELEMENTS = 1 << 25

# Jobs are threads that share one device; one at a time keeps its memory and the order of its work the same.
_turn = threading.Lock()


def _torch() -> Any:
    import torch

    return torch


def check_device(device: str) -> None:
    """Raise a :class:`DeviceError` where torch or the device (``cuda``, ``cuda:1``, ``cpu``) is not to be had."""
    try:
        torch = _torch()
    except (ImportError, OSError) as error:  # OSError: one of its shared libraries is missing
        raise DeviceError(
            f"the device {device} needs PyTorch, which cannot be imported here ({error}); "
            "install it with pip install 'weightlapse[gpu]', or measure on the CPU (--device cpu)"
        ) from error
    with warnings.catch_warnings(record=True) as told:  # a driver that is too old is told as a warning
        warnings.simplefilter("always")
        missing = torch.device(device).type == "cuda" and not torch.cuda.is_available()
    if missing:
        reason = f" ({told[0].message})" if told else ""
        raise DeviceError(
            f"PyTorch {torch.__version__} finds no CUDA device{reason}; measure on the CPU (--device cpu)"
        )


def spectra(matrices: Sequence[Array], device: str) -> list[Spectrum]:
    """What :func:`analyzer.numerics.singular_values.spectrum` says of each matrix, computed on a device.

    Small ones of as many columns are decomposed together, so the last bits may depend on which matrices these are.
    Where the device runs out of memory, the CPU takes over, with a warning.

    Raises:
        DeviceError: the device is not to be had.
        numpy.linalg.LinAlgError: neither of LAPACK's two SVD algorithms converged.
    """
    check_device(device)
    known = _eigenvalues_together(matrices, device)
    return [
        spectrum(matrix, partial(_by_torch, device=device, eigenvalues=known.get(number)))
        for number, matrix in enumerate(matrices)
    ]


def _eigenvalues_together(matrices: Sequence[Array], device: str) -> Mapping[int, Matrix]:
    """Those of the Gram matrices of small matrices by their number in the sequence, where there are several."""
    torch = _torch()

    groups: dict[int, list[int]] = {}
    for number, matrix in enumerate(matrices):
        n = min(matrix.shape)
        if n <= BATCHED_COLUMNS and matrix.size * n > SMALL_WORK:
            groups.setdefault(n, []).append(number)
    known: dict[int, Matrix] = {}
    for n, numbers in groups.items():
        most = max(1, BATCH_ELEMENTS // n**2)
        for start in range(0, len(numbers) if len(numbers) > 1 else 0, most):
            batch = numbers[start : start + most]
            try:
                with _turn:
                    # Products are taken singly: cuBLAS may sum a batch of another size in another order.
                    grams = [_TorchProducts(matrices[one], power_of_two(matrices[one]), device).gram() for one in batch]
                    found = torch.linalg.eigvalsh(torch.stack(grams)).cpu().numpy()
            except RuntimeError as error:
                if not (isinstance(error, torch.linalg.LinAlgError) or _is_out_of_memory(error)):
                    raise
                continue  # each is tried alone then
            known |= dict(zip(batch, found, strict=True))
    return known


def _by_torch(
    matrix: Array, exponent: int, device: str, eigenvalues: Matrix | None = None
) -> tuple[Matrix | None, float | None]:
    """The same as :func:`analyzer.numerics.singular_values.by_numpy`; ``eigenvalues`` of G where they are known."""
    torch = _torch()

    for resident in (True, False):
        try:
            with _turn:
                return from_gram(_TorchProducts(matrix, exponent, device, resident, eigenvalues))
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
    return by_numpy(matrix, exponent)


def _is_out_of_memory(error: RuntimeError) -> bool:
    """Torch has a class of its own for this, but its libraries report it in their own words."""
    torch = _torch()

    text = str(error)
    return isinstance(error, torch.OutOfMemoryError) or "out of memory" in text or "ALLOC_FAILED" in text


class _TorchProducts:
    """:class:`analyzer.numerics.singular_values.Products` by torch on a device.

    Args:
        matrix: W, (rows, columns), in memory here.
        exponent: of the power of two to divide by.
        device: torch's name of it.
        resident: keep W on the device once it was sent, in its stored dtype, rather than send it for each product.
        eigenvalues: of G, where they are known.
    """

    def __init__(
        self,
        matrix: Array,
        exponent: int,
        device: str,
        resident: bool = False,
        eigenvalues: Matrix | None = None,
    ) -> None:
        self.torch = _torch()
        self.matrix, self.exponent, self.device = matrix, exponent, device
        self._resident, self._kept = resident, list[Any]()
        self._eigenvalues = eigenvalues
        self._gram: Any = None

    def gram(self) -> Any:
        """G = WᵀW on the device, shape (n, n)."""
        if self._gram is None:
            n = min(self.matrix.shape)
            self._gram = self.torch.zeros((n, n), dtype=self.torch.float64, device=self.device)
            for block in self._blocks():
                self._gram.addmm_(block.mT, block)
        return self._gram

    def eigenvalues(self) -> Matrix:
        """Those of G, rising, shape (n,)."""
        if self._eigenvalues is None:
            self._eigenvalues = _here(self.torch.linalg.eigvalsh(self.gram()))
        return self._eigenvalues

    def solver(self, shift: float) -> Solve | None:
        """X ↦ (G + shift·I)⁻¹·X, by Cholesky's factor; None where that does not exist."""
        diagonal = self.gram().diagonal()
        unshifted = diagonal.clone()
        diagonal += shift
        factor, failed = self.torch.linalg.cholesky_ex(self.gram())
        diagonal.copy_(unshifted)
        if int(failed):
            return None

        def solve(right: Matrix) -> Matrix:
            half = self.torch.linalg.solve_triangular(factor, self._there(right), upper=False)
            return _here(self.torch.linalg.solve_triangular(factor.mT, half, upper=True))

        return solve

    def triangle(self, right: Matrix) -> Matrix:
        """R of the QR decomposition of W·X, shape (k, k)."""
        sent = self._there(right)
        image = self.torch.cat([block @ sent for block in self._blocks()])
        return _here(self.torch.linalg.qr(image, mode="r")[1])

    def there_and_back(self, right: Matrix) -> tuple[Matrix, Matrix]:
        """‖W·x‖² for each column x of X, shape (k,), and Wᵀ·(W·X), shape (n, k)."""
        sent = self._there(right)
        squares, back = self.torch.zeros_like(sent[0]), self.torch.zeros_like(sent)
        for block in self._blocks():
            image = block @ sent
            squares += (image**2).sum(dim=0)
            back.addmm_(block.mT, image)
        return _here(squares), _here(back)

    def _there(self, array: Matrix) -> Any:
        return self.torch.from_numpy(np.ascontiguousarray(array)).to(self.device)

    def _blocks(self) -> Iterator[Any]:
        """The matrix the tall way round, some rows at a time in float64 on the device."""
        # In two steps, since the power itself may be out of float64's range.
        half = self.exponent // 2
        if self._resident and not self._kept:
            self._kept = list(self._sent())
        for piece in self._kept or self._sent():
            wide = piece.to(self.torch.float64)
            yield wide * 2.0**-half * 2.0 ** (half - self.exponent) if self.exponent else wide

    def _sent(self) -> Iterator[Any]:
        """The matrix the tall way round, some rows at a time as stored, on the device."""
        tall = self.matrix.shape[0] >= self.matrix.shape[1]
        name = self.matrix.dtype.name
        for piece in slabs_of(self.matrix):
            array = piece if tall else piece.T
            if name not in SENT_AS_STORED:
                array = array.astype(np.float64)
            array = np.require(array, requirements=["C", "W"])  # torch wants no other; the engine's are read-only
            if array.dtype.isbuiltin == 1:
                sent = self.torch.from_numpy(array).to(self.device)
            else:  # a type that numpy knows through ml-dtypes
                bits = self.torch.from_numpy(array.view(f"i{array.itemsize}")).to(self.device)
                sent = bits.view(getattr(self.torch, name))
            yield sent if tall else sent.mT


def _here(tensor: Any) -> Matrix:
    return np.asarray(tensor.cpu().numpy(), dtype=np.float64)
