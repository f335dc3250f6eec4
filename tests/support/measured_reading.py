"""Index hostile files in a process of its own, and print what each took: ``python measured_reading.py PATH...``.

Prints one JSON object per path: how it ended, CPU seconds, and the peak of the process's memory in MB so far.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from analyzer.errors import CheckpointError
from analyzer.layouts.weights.checkpoint import weights_of


def peak() -> float:
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1000


def main() -> None:
    for path in sys.argv[1:]:
        started, refused = time.process_time(), None
        try:
            weights_of(path)
        except CheckpointError as error:
            refused = str(error)[:2000]
        seconds = time.process_time() - started
        print(json.dumps({"path": path, "refused": refused, "seconds": seconds, "megabytes": peak()}), flush=True)


if __name__ == "__main__":
    main()
