"""Scores beside checkpoints: tables by step or epoch, logs and trainer states."""
