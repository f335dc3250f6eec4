"""The SQLite file that measurements are kept in: what was measured, from which bytes, by which code.

A report is always drawn from here, never from checkpoints.
"""

from analyzer.store.reader import Asked, Reader, RowKey
from analyzer.store.schema import looks_like_store
from analyzer.store.store import Store, open_store
from analyzer.store.writer import Observation, Writer

__all__ = ["Asked", "Observation", "Reader", "RowKey", "Store", "Writer", "looks_like_store", "open_store"]
