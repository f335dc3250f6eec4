"""Keep measurements in one SQLite file: what was measured, from which bytes, by which code.

A report is always drawn from here, never from checkpoints.
"""
