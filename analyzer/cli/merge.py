"""``weightlapse merge``: join stores that several machines measured."""

from __future__ import annotations

import click

from analyzer.cli.measure import exit_code
from analyzer.cli.options import metrics_from_option
from analyzer.cli.terminal import EXIT_SERIOUS, answer, say


@click.command("merge")
@click.argument("stores", metavar="STORE...", nargs=-1, required=True)
@click.option("--store", metavar="FILE.sqlite", required=True, help="The store to merge into.")
@metrics_from_option
def merge_command(stores: tuple[str, ...], store: str, metrics_from: str | None) -> int:
    """Merge stores that several machines measured.

    They must rest on the same files, such as the shards of measure --shard. Merging a store twice changes nothing.
    Exit code 3 if a shard is missing.
    """
    from analyzer import workflow
    from analyzer.metrics.registry import load_installed_metrics, load_metrics_file

    load_installed_metrics()
    if metrics_from:
        load_metrics_file(metrics_from)
    missing = workflow.merge(stores, store)
    answer(store)
    for one in missing:
        say(f"Warning: {one}; measure it and merge again.")
    return EXIT_SERIOUS if missing else exit_code([*workflow.find(store).items()])
