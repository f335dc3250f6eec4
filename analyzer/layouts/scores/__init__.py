"""Read scores stored next to checkpoints: tables by step or epoch, logs and trainer states."""
