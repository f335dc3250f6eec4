"""Arrays in, numbers out: sums over elements, Gram matrices, singular values. Touches no files and no store."""
