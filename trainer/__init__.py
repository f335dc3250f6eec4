"""A minimal training loop that saves every layer's weights and the scores after each epoch.

It computes no metrics of the weights; those are measured from the checkpoints afterwards. :mod:`trainer.checkpoints`
documents the files; start reading at :func:`trainer.training.train`.
"""
