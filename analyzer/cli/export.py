"""``weightlapse export``: write every measurement as one table."""

from __future__ import annotations

from pathlib import Path

import click

from analyzer.cli.measure import exit_code
from analyzer.cli.terminal import answer, write_out


@click.command("export")
@click.argument("path")
@click.option("--format", "kind", type=click.Choice(["csv", "json"]), required=True, help="What to write.")
@click.option("--out", metavar="PATH", help="The file to write; standard output by default.")
def export_command(path: str, kind: str, out: str | None) -> int:
    """Write every measurement of a report or a store as one table."""
    from analyzer import workflow
    from analyzer.errors import StoreError

    stored = workflow.stored_in(path)
    if stored is None:
        what = "is neither a store nor a report folder" if Path(path).exists() else "does not exist"
        raise StoreError(f"{path}: {what}; name a store or a report folder, which weightlapse report makes")
    data, found = workflow.export(str(stored), kind)
    if out:
        from analyzer.store.files import write_whole

        write_whole(Path(out), data)
        answer(out)
    else:
        write_out(data)
    return exit_code([*found.items()])
