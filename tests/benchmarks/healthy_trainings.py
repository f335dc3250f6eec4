"""Train ten recipes with four seeds each, measure them, and print the findings: at most two warnings are wanted."""

from __future__ import annotations

import argparse
import csv
import json
import sys
import time
from collections import Counter
from pathlib import Path

import torch
from safetensors.torch import save_file

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
from healthy_recipes import RECIPES
from kept_tables import keep, kept

import analyzer
from analyzer.findings import find
from analyzer.model.tables import Tables
from analyzer.report.reading import read_tables
from analyzer.store.store import open_store

SEEDS = range(4)
ADAPTER = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["c_attn", "c_fc"]}
METRICS = (  # that rules read, of those that are measured by default
    "alpha",
    "alpha_ks_distance",
    "alpha_tail_count",
    "changed_fraction",
    "condition_number",
    "dead_column_count",
    "dead_row_count",
    "effective_rank",
    "energy_rank_95",
    "frobenius_norm",
    "initial_distance",
    "mp_outlier_count",
    "mp_soft_rank",
    "numerical_rank",
    "relative_step_distance",
    "rms",
    "smallest_singular_value",
    "spectral_norm",
    "stable_rank",
    "step_distance",
    "update_cosine",
    "zero_fraction",
)


def train(recipe: str, seed: int, folder: Path) -> None:
    """Write one training: ``epoch_NNN.safetensors`` (a folder as PEFT writes it for an adapter) and ``metrics.csv``."""
    torch.manual_seed(seed)
    folder.mkdir(parents=True)
    rows = []
    for epoch, (state, scores) in enumerate(RECIPES[recipe]()):
        tensors = {name: values.detach().clone().contiguous() for name, values in state.items()}
        if recipe == "lora":
            place = folder / f"epoch_{epoch:03d}"
            place.mkdir()
            save_file(tensors, place / "adapter_model.safetensors")
            (place / "adapter_config.json").write_text(json.dumps(ADAPTER))
        else:
            save_file(tensors, folder / f"epoch_{epoch:03d}.safetensors")
        rows.append({"epoch": epoch, **scores})
    with (folder / "metrics.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)


def tables_in(path: Path) -> Tables:
    """Return the tables of the only run in a store."""
    with open_store(str(path)) as store:
        (run,) = store.runs()
        return read_tables(store, run)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where trainings and their stores are, or will be, written")
    parser.add_argument("--keep", type=Path, help="write the tables that rules read into this file")
    parser.add_argument("--recipes", nargs="+", default=list(RECIPES), choices=list(RECIPES))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    counts: Counter[str] = Counter()
    runs = {}
    for seed in SEEDS:
        for recipe in arguments.recipes:
            name = f"{recipe}_{seed}"
            folder, store = arguments.folder / name, arguments.folder / f"{name}.sqlite"
            started = time.monotonic()
            if not folder.exists():
                train(recipe, seed, folder)
            if not store.exists():
                for run in analyzer.open_runs(folder):
                    analyzer.measure(run, store, jobs=1)
            runs[name] = tables_in(store)
            found = find(runs[name])
            print(f"== {name} ({time.monotonic() - started:.0f} s)", flush=True)
            for one in found:
                print(f"   {one.severity.upper():8} {one.rule}: {one.sentence}")
            counts.update(one.severity for one in found)
    print(dict(counts))
    if arguments.keep:
        keep(arguments.keep, runs, METRICS)
        for name, tables in kept(arguments.keep).items():
            said = [[(one.severity, one.rule) for one in find(version)] for version in (runs[name], tables)]
            if said[0] != said[1]:
                sys.exit(f"{name}: the kept tables do not say the same: {said}")
        print(f"{arguments.keep}: {arguments.keep.stat().st_size} bytes")


if __name__ == "__main__":
    main()
