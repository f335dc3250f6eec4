"""Claim a folder for a report or a comparison: nothing of other people is overwritten, nothing foreign is deleted."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from analyzer.errors import ReportError, StoreError, UnreadableStoreError
from analyzer.model.names import listed, printable
from analyzer.store.files import STORE_NAME, report_errors
from analyzer.store.store import open_store

Kind = Literal["report", "comparison"]

MANIFEST = "manifest.json"
UNREADABLE = ".unreadable"  # is added to the name of a store that is set aside
PAGES = ("index.html", "report.css", "report.js", "explore.html", "explore.js", "data.js", "plotly.min.js")
FOLDERS = ("data", "figures", "layers")
OUR_NAMES = frozenset({*PAGES, *FOLDERS, "summary.json", MANIFEST, STORE_NAME})
_OF_RUN = r"(?:\d{2,}-[^/]*/|\d{2,}/)?"  # the folder of one of several runs


def claim_folder(out: Path, runs: Mapping[str, str], kind: Kind, force: bool = False) -> None:
    """Make sure that a report or comparison of these runs may be written to ``out``, and create the folder.

    Args:
        out: the folder.
        runs: run name -> folder of its checkpoints.
        kind: what is to be written, as its manifest calls it.
        force: write even beside foreign files, or over a report of other runs.

    Raises:
        ReportError: the folder contains the checkpoints themselves, foreign files, another kind of report, or one of
            other runs.
    """
    for name, path in runs.items():
        if path and Path(path).resolve().is_relative_to(out.resolve()):
            raise ReportError(f"{out}: contains the checkpoints of {name!r}; choose another folder with --out")
    try:
        out.mkdir(parents=True, exist_ok=True)
        present = {entry.name for entry in out.iterdir() if not entry.name.startswith(".")}
    except OSError as error:
        raise ReportError(f"{out}: cannot be used as a report folder: {error.strerror}; choose --out") from error
    if force or not present:
        return
    if foreign := sorted(name for name in present if not _is_ours(name)):
        raise ReportError(
            f"{out}: contains files that are not weightlapse's ({listed(foreign)}); "
            "choose another folder with --out, or write beside them with --force"
        )
    earlier_kind, earlier = _earlier(out)
    if earlier_kind not in (kind, None):
        raise ReportError(
            f"{out}: contains a {earlier_kind}, not a {kind}; choose another folder with --out, or replace it with "
            "--force"
        )
    if earlier and _differ(earlier, runs):
        raise ReportError(
            f"{out}: contains the {kind} of {_described(earlier)}, not of {_described(runs)}; "
            "choose another folder with --out, or replace it with --force"
        )


def set_aside_if_unreadable(path: str) -> str | None:
    """Move a damaged store, or one of an unknown version, out of the way; return a warning about it."""
    try:
        if Path(path).exists():
            open_store(path, create=True).close()
    except UnreadableStoreError as error:
        aside = Path(path + UNREADABLE)
        with report_errors(aside):
            Path(path).replace(aside)
        return f"{error}. It is kept as {aside}; everything is measured again."
    return None


def stores_compared_in(folder: Path) -> list[str] | None:
    """Return the stores of the runs that a comparison's folder compares; None for a folder of anything else."""
    manifest = _manifest(folder / MANIFEST)
    if manifest.get("kind") != "comparison":
        return None
    inputs = manifest.get("inputs")
    stores = [one.get("store") for one in inputs if isinstance(one, dict)] if isinstance(inputs, list) else []
    return list(dict.fromkeys(store for store in stores if isinstance(store, str)))


def stale_files(
    out: Path, written: Collection[str], figures: Collection[str], tables: Collection[str]
) -> Iterator[Path]:
    """Yield files that an earlier report of ours left in a folder and that the new one did not write.

    Args:
        out: the folder.
        written: what was written now, as paths relative to the folder.
        figures: the names of all figures that there can be; other pictures are not ours.
        tables: the names of all tables, likewise.
    """
    figure = rf"figures/{_OF_RUN}(?:{'|'.join(map(re.escape, figures))})(?:-\d{{3,}}|-narrow)?\.(?:png|svg|gif)"
    table = rf"data/(?:{'|'.join(map(re.escape, tables))})\.csv(?:\.gz)?"
    ours = re.compile(rf"{'|'.join(map(re.escape, PAGES))}|layers/{_OF_RUN}\d{{3,}}\.html|{figure}|{table}")
    below = (path for name in FOLDERS for path in (out / name).rglob("*"))
    for path in (*out.glob("*"), *below):
        relative = path.relative_to(out).as_posix()
        if relative not in written and ours.fullmatch(relative) and path.is_file():
            yield path


def _is_ours(name: str) -> bool:
    """Check a file's name; SQLite's journal, which a killed process leaves, and a store that was set aside are ours."""
    return name in OUR_NAMES or name.startswith(f"{STORE_NAME}-") or name == f"{STORE_NAME}{UNREADABLE}"


def _earlier(out: Path) -> tuple[str | None, dict[str, str]]:
    """Return what is in a folder and of which runs (name -> path), None and nothing where that is not known."""
    manifest = _manifest(out / MANIFEST)
    with suppress(StoreError), open_store(str(out / STORE_NAME)) as store:
        return "report", {name: store.run(name).path for name in store.runs()}
    runs = manifest.get("runs")
    kind = printable(str(manifest.get("kind", "report")), 40) if manifest else None
    if isinstance(runs, list) and all(isinstance(run, list) and len(run) == 2 for run in runs):
        return kind, {str(name): str(path) for name, path in runs}
    return kind, {}


def _manifest(path: Path) -> dict[str, Any]:
    with suppress(OSError, ValueError, RecursionError):
        content = json.loads(path.read_bytes())
        return content if isinstance(content, dict) else {}
    return {}


def _differ(earlier: Mapping[str, str], now: Mapping[str, str]) -> bool:
    """Check for other runs: another name, or the same name in another folder while the first one still exists."""
    if earlier.keys() != now.keys():
        return True
    return any(now[name] and _is_elsewhere(path, now[name]) for name, path in earlier.items())


def _is_elsewhere(earlier: str, now: str) -> bool:
    if "://" in earlier:  # a server is not asked whether it still exists
        return earlier != now
    return Path(earlier).exists() and Path(earlier).resolve() != Path(now).resolve()


def _described(runs: Mapping[str, str]) -> str:
    return ", ".join(f"{name} ({path})" if path else name for name, path in sorted(runs.items()))
