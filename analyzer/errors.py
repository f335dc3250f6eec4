"""The errors that weightlapse raises; each message names the path, the cause and the remedy."""


class WeightlapseError(Exception):
    """Base of every error that a user can cause or see; the command line turns it into an exit code."""


class CheckpointError(WeightlapseError):
    """A checkpoint file is damaged, hostile, or of an unsupported kind."""


class NotACheckpointError(CheckpointError):
    """A file is not a checkpoint, such as the state of an optimizer that a trainer saves next to the weights."""


class ArgumentError(WeightlapseError):
    """The arguments of a command or call cannot be used: a pattern that matches nothing, a single run to compare."""


class NoCheckpointsError(WeightlapseError):
    """No series of checkpoints was found; the message may have several lines, none of which contains a line break."""

    def __init__(self, *lines: str) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines


class LayoutError(WeightlapseError):
    """A folder's arrangement is ambiguous or contradicts itself."""


class MetricError(WeightlapseError):
    """A metric is declared incorrectly, or a user's metric file cannot be used."""


class WorkerError(WeightlapseError):
    """A worker process ended before its task was done."""


class StoreError(WeightlapseError):
    """A measurement store cannot be read or written."""


class UnreadableStoreError(StoreError):
    """A file is not a measurement store, is damaged, or has an unsupported version of the format."""


class ReportError(WeightlapseError):
    """A report folder cannot be written at the requested path."""


class OutputError(WeightlapseError):
    """Standard output is closed, or takes no more."""


class DeviceError(WeightlapseError):
    """The requested device is not available."""
