"""The report folder: tables, figures, summary and a page that reads without JavaScript, all drawn from a store."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from analyzer.errors import ReportError
from analyzer.model.names import listed, printable, slug
from analyzer.model.run import Tables
from analyzer.model.score_names import best_place
from analyzer.report import csv_tables as tabular
from analyzer.report.figure_files import draw_figures
from analyzer.report.page import FigureOnPage, render_page, stylesheet
from analyzer.statistics import is_tested
from analyzer.store.files import STORE_NAME, flush_folder, report_errors, sweep, write_whole
from analyzer.store.store import Store

SCHEMA_VERSION = 1
UNREADABLE = ".unreadable"  # is added to the name of a store that is set aside
MANIFEST = "manifest.json"
OUR_NAMES = frozenset({"index.html", "report.css", "summary.json", MANIFEST, STORE_NAME, "figures", "data"})
PACKAGES = ("numpy", "scipy", "matplotlib", "safetensors", "ml-dtypes", "jinja2", "blake3")
SUMMARY_METRICS = ("step_distance", "initial_distance", "condition_number", "effective_rank", "stable_rank")


@dataclass(frozen=True, slots=True)
class Provenance:
    """How a report came about: the command's arguments, and the seconds that each part took so far."""

    arguments: Mapping[str, Any] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)


def claim_folder(out: Path, runs: Mapping[str, str], force: bool = False, kind: str = "report") -> None:
    """Make sure that a report of these runs may be written to ``out``, and make the folder.

    Args:
        out: the report folder.
        runs: run name -> folder of its checkpoints.
        force: write even beside other people's files or over the report of another run.
        kind: what is to be written, as its manifest calls it.

    Raises:
        ReportError: the folder holds the checkpoints themselves, foreign files, another kind of report, or the report
            of another run.
    """
    for name, path in runs.items():
        if path and (_same(out, Path(path)) or _inside(Path(path), out)):
            raise ReportError(f"{out}: holds the checkpoints of {name!r}; choose another folder with --out")
    try:
        out.mkdir(parents=True, exist_ok=True)
        present = {entry.name for entry in out.iterdir() if not entry.name.startswith(".")}
    except OSError as error:
        raise ReportError(f"{out}: cannot be used as a report folder: {error.strerror}; choose --out") from error
    if force or not present:
        return
    if foreign := sorted(name for name in present if not _is_ours(name)):
        raise ReportError(
            f"{out}: holds files that are not weightlapse's ({listed(foreign)}); "
            "choose another folder with --out, or write beside them with --force"
        )
    if (held := _kind_of(out / MANIFEST)) not in (kind, None):
        raise ReportError(
            f"{out}: holds a {held}, not a {kind}; choose another folder with --out, or replace it with --force"
        )
    earlier = _runs_of(out / STORE_NAME)
    if earlier is not None and _differ(earlier, runs):
        raise ReportError(
            f"{out}: holds the report of {_described(earlier)}, not of {_described(runs)}; "
            "choose another folder with --out, or replace it with --force"
        )


def _is_ours(name: str) -> bool:
    """Also SQLite's journal, which a killed process leaves, and a store that was set aside."""
    return name in OUR_NAMES or name.startswith(f"{STORE_NAME}-") or name == f"{STORE_NAME}{UNREADABLE}"


def _kind_of(manifest: Path) -> str | None:
    """What lies in a folder; None where no manifest tells it."""
    with suppress(OSError, ValueError, RecursionError):
        content = json.loads(manifest.read_bytes())
        return printable(str(content.get("kind", "report")), 40) if isinstance(content, dict) else None
    return None


def _runs_of(store: Path) -> dict[str, str] | None:
    from analyzer.errors import StoreError
    from analyzer.store.store import open_store

    with suppress(StoreError), open_store(str(store)) as opened:
        return {name: opened.about(name)["path"] for name in opened.runs()}
    return None


def _differ(earlier: Mapping[str, str], now: Mapping[str, str]) -> bool:
    """Another run: another name, or the same name in another folder while the first one is still there."""
    if not earlier:
        return False
    if earlier.keys() != now.keys():
        return True
    return any(now[name] and _is_elsewhere(path, now[name]) for name, path in earlier.items())


def _is_elsewhere(earlier: str, now: str) -> bool:
    if "://" in earlier:  # a server is not asked whether it is still there
        return earlier != now
    return Path(earlier).exists() and not _same(Path(earlier), Path(now))


def _described(runs: Mapping[str, str]) -> str:
    return ", ".join(f"{name} ({path})" if path else name for name, path in sorted(runs.items()))


def _same(a: Path, b: Path) -> bool:
    return a.resolve() == b.resolve()


def _inside(inner: Path, outer: Path) -> bool:
    return inner.resolve().is_relative_to(outer.resolve())


def write_report(store: Store, runs: Sequence[Tables], out: Path, provenance: Provenance | None = None) -> None:
    """Draw the report of some runs; the folder was claimed before.

    The manifest is taken away first and written last: a folder without it is an unfinished report.

    Args:
        store: where the runs were measured to.
        runs: the tables of each run.
        out: the report folder.
        provenance: goes to the manifest.

    Raises:
        ReportError: a file cannot be written; what stood there before is unchanged.
    """
    provenance = provenance or Provenance()
    started = time.perf_counter()
    with report_errors(out):
        (out / MANIFEST).unlink(missing_ok=True)
        for folder in (out / "figures", out / "data"):
            folder.mkdir(exist_ok=True)
            sweep(folder)
        sweep(out, below=False)
    for name in tabular.HEADERS:
        write_whole(out / "data" / f"{name}.csv", tabular.to_csv(name, tabular.rows(name, store, runs)))
    figures = {tables.run: _draw_figures(tables, out, _prefix(tables, runs)) for tables in runs}
    summary = summarise(store, runs)
    write_whole(out / "summary.json", _json(summary))
    write_whole(out / "report.css", stylesheet())
    write_whole(out / "index.html", render_page(summary, runs, figures))
    seconds = {**provenance.seconds, "draw": round(time.perf_counter() - started, 3)}
    with report_errors(out):
        manifest = _manifest(store, runs, provenance, seconds, out)
        for written in (out / "figures", out / "data", out):
            flush_folder(written)
        write_whole(out / MANIFEST, _json(manifest))
        flush_folder(out)


def _prefix(tables: Tables, runs: Sequence[Tables]) -> str:
    """Where a run's figures lie: in ``figures/`` itself, or in a folder for each of several runs."""
    if len(runs) == 1:
        return ""
    number = [one.run for one in runs].index(tables.run) + 1
    return f"{number:02d}-{slug(tables.run)}".rstrip("-") + "/"


def _draw_figures(tables: Tables, out: Path, prefix: str) -> list[FigureOnPage]:
    from analyzer.figures import FIGURES

    return draw_figures(FIGURES, tables, out, prefix)


def summarise(store: Store, runs: Sequence[Tables]) -> dict[str, Any]:
    """The content of ``summary.json``: findings, final values, best scores and a few correlations of each run."""
    return {
        "schema_version": SCHEMA_VERSION,
        "runs": [
            {
                "run": tables.run,
                **store.about(tables.run),
                "checkpoints": len(tables.checkpoints),
                "tensors": sum("[" not in row.name for row in tables.tensors),
                "final": _final_values(tables),
                "best": _best_scores(tables),
                "correlations": _tested(tables),
                "uncorrelated": list(tables.uncorrelated),
            }
            for tables in runs
        ],
        "findings": [
            {
                "run": tables.run,
                "rule": finding.rule,
                "severity": finding.severity,
                "sentence": finding.sentence,
                "tensor": finding.tensor,
                "checkpoints": list(finding.checkpoints),
                "evidence": dict(finding.evidence),
                "figure": finding.figure,
            }
            for tables in runs
            for finding in tables.findings
        ],
    }


def _final_values(tables: Tables) -> dict[str, Any]:
    last = tables.checkpoints[-1]
    result: dict[str, Any] = {
        "checkpoint": last.name,
        "epoch": last.epoch,
        "step": last.step,
        "scalars": {name: float(values[-1]) for name, values in tables.scalars.items() if values[-1] == values[-1]},
    }
    for scope in ("total", "mean"):
        result[scope] = {
            metric: {"value": None if curve.values[-1] != curve.values[-1] else float(curve.values[-1])}
            | {"status": curve.statuses[-1]}
            for metric in SUMMARY_METRICS
            if (curve := tables.curves.get((scope, "", metric))) is not None and curve.statuses[-1] is not None
        }
    return result


def _best_scores(tables: Tables) -> dict[str, dict[str, Any]]:
    """The best value of each score of which is known whether more is better, and where the run first had it."""
    best = {name: best_place(name, values) for name, values in tables.scalars.items()}
    return {
        name: {"value": float(tables.scalars[name][place])}
        | {"checkpoint": row.name, "epoch": row.epoch, "step": row.step}
        for name, place in best.items()
        if place is not None and (row := tables.checkpoints[place])
    }


def _tested(tables: Tables) -> list[dict[str, Any]]:
    """What was tested of the whole network: the mean's step distance and condition number against every score."""
    return [
        asdict(one)
        for metric in ("step_distance", "condition_number")
        for one in tables.correlations.get(metric, ())
        if one.scope == "mean" and is_tested(one)
    ]


def _manifest(
    store: Store, runs: Sequence[Tables], provenance: Provenance, seconds: Mapping[str, float], out: Path
) -> dict[str, Any]:
    return {
        "schema_version": SCHEMA_VERSION,
        **environment(),
        "arguments": dict(provenance.arguments),
        "seconds": dict(seconds),
        "inputs": [record for tables in runs for record in _inputs(store, tables.run)],
        "files": sorted(
            path.relative_to(out).as_posix()
            for path in out.rglob("*")
            if path.is_file() and path.relative_to(out).parts[0] in OUR_NAMES and path.suffix != ".tmp"
        ),
    }


def environment() -> dict[str, Any]:
    """What a report was made with: versions, BLAS, machine."""
    return {
        "weightlapse": _version("weightlapse"),
        "packages": {name: _version(name) for name in PACKAGES},
        "python": platform.python_version(),
        "blas": _blas(),
        "machine": {
            "system": platform.system(),
            "release": platform.release(),
            "processor": platform.machine(),
        },
    }


def _inputs(store: Store, run: str) -> list[dict[str, Any]]:
    """Each checkpoint's files, and a hash of its measured content: names and bytes of the tensors, however stored."""
    contents = store.contents(run)
    files: dict[str, list[dict[str, Any]]] = {}
    for checkpoint, path, size in store.files(run):
        files.setdefault(checkpoint, []).append({"path": path, "bytes": size})
    return [
        {"run": run, "checkpoint": name, "files": its_files, "content": content_hash(contents.get(name, {}))}
        for name, its_files in files.items()
    ]


def content_hash(tensors: Mapping[str, str]) -> str | None:
    """SHA-256 over the sorted lines "name, tab, BLAKE3 of the tensor's bytes"; None where nothing was read."""
    if not tensors:
        return None
    lines = "".join(f"{name}\t{digest}\n" for name, digest in sorted(tensors.items()))
    return "sha256:" + sha256(lines.encode("utf-8", "surrogatepass")).hexdigest()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _blas() -> list[dict[str, Any]]:
    from threadpoolctl import threadpool_info

    return [
        {key: library.get(key) for key in ("internal_api", "version", "architecture")}
        for library in threadpool_info()
        if library.get("user_api") == "blas"
    ]


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=True, allow_nan=False) + "\n").encode()
