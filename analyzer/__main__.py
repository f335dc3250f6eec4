"""``python -m analyzer`` is ``weightlapse``: the command line, started so that Ctrl-C finds no moment unprepared."""

import os
import sys

# A job has one BLAS thread. OpenBLAS starts as many as there are cores when numpy is loaded, and they spin for a while.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def main() -> None:
    """Run the command line; Ctrl-C while it is being loaded ends it as it does later."""
    try:
        from analyzer.cli import main as command

        command()
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted.\n")
        sys.exit(130)


if __name__ == "__main__":
    main()
