"""Numerical core: sums over elements, Gram matrices, singular values. It accesses no files and no store."""
