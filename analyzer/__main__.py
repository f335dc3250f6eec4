"""``python -m analyzer`` is ``weightlapse``: the command line, started so that Ctrl-C finds no moment unprepared."""

import os
import sys

# A job has one BLAS thread. OpenBLAS starts as many as there are cores when numpy is loaded, and they spin for a while.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def _occupy_closed_streams() -> None:
    """Open a stream that goes nowhere in place of a closed stdin, stdout or stderr.

    The next file that is opened would have its number otherwise, and what a library writes on stderr would end in it.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)


def main() -> None:
    """Run the command line; Ctrl-C while it is being loaded ends it as it does later."""
    _occupy_closed_streams()
    try:
        from analyzer.cli import main as command

        command()
    except KeyboardInterrupt:
        if sys.stderr is not None:
            sys.stderr.write("Interrupted.\n")
        sys.exit(130)


if __name__ == "__main__":
    main()
