"""The errors that weightlapse raises; each message names the path, the cause and the remedy."""


class WeightlapseError(Exception):
    """Base of every error that a user can meet; the command line turns it into an exit code."""


class CheckpointError(WeightlapseError):
    """A checkpoint file is damaged, hostile, or of a kind that is not read."""


class NoCheckpointsError(WeightlapseError):
    """Nothing that could be recognised as a series of checkpoints was found."""


class LayoutError(WeightlapseError):
    """A folder's arrangement is ambiguous or contradicts itself."""


class MetricError(WeightlapseError):
    """A metric is declared wrongly, or a user's metric file cannot be used."""


class WorkerError(WeightlapseError):
    """A process that measures ended before its work did."""


class StoreError(WeightlapseError):
    """A measurement store cannot be read or written."""


class UnreadableStoreError(StoreError):
    """A file is no measurement store, a damaged one, or one of another version of the format."""


class ReportError(WeightlapseError):
    """A report folder cannot be written where it was asked for."""


class DeviceError(WeightlapseError):
    """The device that was asked for is not to be had."""
