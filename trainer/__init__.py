"""A minimal training loop that saves every layer's weights and the accuracies after each epoch.

It computes no metric: what the weights did is read from the checkpoints afterwards, by whoever wants to know.
:mod:`trainer.checkpoints` documents the files; start reading at :func:`trainer.training.train`.
"""
