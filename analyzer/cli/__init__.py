"""The command line ``weightlapse``: one file per command, and here the one place where errors become exit codes.

Nothing but :mod:`analyzer.workflow` does the work.

Exit codes: 0 done; 1 failed; 2 usage (an unknown family or layout, a pattern that matches nothing); 3 finished but
parts could not be measured, or a serious defect was found; 4 no checkpoints found; 130 interrupted (what was measured
is kept).
"""

from __future__ import annotations

import errno
import sys
from contextlib import suppress
from typing import NoReturn

import click

from analyzer.cli.audit import audit_command
from analyzer.cli.compare import compare_command
from analyzer.cli.export import export_command
from analyzer.cli.measure import measure_command
from analyzer.cli.merge import merge_command
from analyzer.cli.report import report_command
from analyzer.cli.terminal import say
from analyzer.errors import ArgumentError, NoCheckpointsError, WeightlapseError

EXIT_FAILED, EXIT_USAGE, EXIT_NOTHING_FOUND, EXIT_INTERRUPTED = 1, 2, 4, 130


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="weightlapse", prog_name="weightlapse")
def command() -> None:
    """Analyze what happened to the weights, from the checkpoints that a training run left behind."""


for _command in (audit_command, measure_command, merge_command, report_command, compare_command, export_command):
    command.add_command(_command)


def main() -> NoReturn:
    """Run the command line and exit with its code."""
    try:
        code = command.main(standalone_mode=False)
    except click.exceptions.Abort:
        say("Interrupted.")
        code = EXIT_INTERRUPTED
    except click.ClickException as error:
        code = _show_usage(error)
    except ArgumentError as error:
        say(f"Error: {error}")
        code = EXIT_USAGE
    except NoCheckpointsError as error:
        for line in (f"Error: {error.lines[0]}", *error.lines[1:]):
            say(line)
        code = EXIT_NOTHING_FOUND
    except WeightlapseError as error:
        say(f"Error: {error}")
        code = EXIT_FAILED
    except MemoryError:
        say("Error: not enough memory. Run fewer tasks at a time (--jobs 1).")
        code = EXIT_FAILED
    except OSError as error:  # that no layer below could explain better
        say(f"Error: {_described(error)}")
        code = EXIT_FAILED
    sys.exit(code)


def _show_usage(error: click.ClickException) -> int:
    """Print a wrong usage on stderr, with the untrusted characters of the arguments escaped; return the exit code."""
    from analyzer.model.names import printable

    error.message = printable(error.message)  # type: ignore[misc]  # Final, but read only when it is shown
    with suppress(OSError):
        error.show()
    return error.exit_code


def _described(error: OSError) -> str:
    """Return an error of the operating system with the path, the cause and the remedy."""
    cause = error.strerror or str(error)
    where = f"{error.filename}: " if error.filename else ""
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return f"{where}{cause}. Allow more open files (ulimit -n), or run fewer tasks at a time (--jobs 1)."
    return f"{where}{cause}. Check the disk, the rights and the limits of this session, then run again."
