"""Several series in one folder are several runs; a lone name has a place only if its content states one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from builders import random_walk, save_weights
from commands import weightlapse
from stored import alarms, found, names, places

import analyzer
from analyzer.errors import NoCheckpointsError
from analyzer.layouts import find_runs
from analyzer.model.run import Run


def saved(folder: Path, *file_names: str, seed: int = 0, metadata: dict[str, dict[str, str]] | None = None) -> Path:
    """Files of one network's series, in order of time."""
    for name, weights in zip(file_names, random_walk(len(file_names), seed=seed), strict=True):
        save_weights(folder / name, weights, (metadata or {}).get(name, {}))
    return folder


def runs(folder: Path) -> dict[str, list[str]]:
    return {run.name: names(run) for run in analyzer.open_runs(folder)}


def unplaced(run: Run) -> list[str]:
    return [one.name for one in run.unplaced]


def test_two_networks_in_one_folder_are_two_runs(tmp_path: Path) -> None:
    generators = [f"{epoch}_net_G_A.safetensors" for epoch in (5, 10, 15)]
    others = [f"{epoch}_net_G_B.safetensors" for epoch in (5, 10, 15)]
    saved(tmp_path / "gan", *generators)
    saved(tmp_path / "gan", *others, seed=1)
    saved(tmp_path / "gan", "latest_net_G_A.safetensors", seed=2)
    assert runs(tmp_path / "gan") == {"gan/net_G_A": generators, "gan/net_G_B": others}
    first, second = analyzer.open_runs(tmp_path / "gan")
    assert unplaced(first) == ["latest_net_G_A.safetensors"] and not second.unplaced
    assert "net_G_A (3) and net_G_B (3)" in found(first, "several_series")[0].sentence


def test_series_of_one_folder_are_measured_apart(tmp_path: Path) -> None:
    saved(tmp_path / "run", "seed0-step100.safetensors", "seed0-step200.safetensors")
    saved(tmp_path / "run", "seed1-step100.safetensors", "seed1-step200.safetensors", seed=1)
    done = weightlapse("report", tmp_path / "run", "--out", tmp_path / "report", "--metrics", "motion")
    assert done.code == 0
    rows = (tmp_path / "report" / "data" / "measurements.csv").read_text().splitlines()
    compared = [row for row in rows if ",step_distance," in row]
    assert len(compared) > 2
    assert all(("seed0-" in row) != ("seed1-" in row) for row in compared)


def test_an_average_has_no_place_even_with_an_epoch(tmp_path: Path) -> None:
    saved(tmp_path, "1epoch.safetensors", "2epoch.safetensors", "10epoch.safetensors")
    saved(tmp_path, "valid.acc.ave_10best.safetensors", seed=3)
    saved(tmp_path, "swa_model.safetensors", seed=4, metadata={"swa_model.safetensors": {"epoch": "11"}})
    run = analyzer.open_run(tmp_path)
    assert [epoch for epoch, _ in places(run)] == [1, 2, 10]
    assert unplaced(run) == ["swa_model.safetensors", "valid.acc.ave_10best.safetensors"]


def test_a_lone_name_has_the_place_that_its_content_states(tmp_path: Path) -> None:
    """kohya saves the last epoch without a number."""
    files = ["style-000001.safetensors", "style-000002.safetensors", "style.safetensors"]
    steps = {name: {"ss_epoch": str(epoch), "ss_steps": str(100 * epoch)} for epoch, name in enumerate(files, start=1)}
    run = analyzer.open_run(saved(tmp_path, *files, metadata=steps))
    assert names(run) == files and places(run) == [(1, 100), (2, 200), (3, 300)]
    assert not any(one.scores for one in run.checkpoints)
    assert not alarms(analyzer.audit(run))


def test_another_network_never_joins_a_series_by_its_place(tmp_path: Path) -> None:
    saved(tmp_path, "G_1.safetensors", "G_2.safetensors")
    save_weights(tmp_path / "critic.safetensors", {"other": np.ones((3, 5), np.float32)}, {"epoch": "3"})
    run = analyzer.open_run(tmp_path)
    assert names(run) == ["G_1.safetensors", "G_2.safetensors"]
    assert unplaced(run) == ["critic.safetensors"]


def test_the_best_ones_beside_a_series_are_no_second_run(tmp_path: Path) -> None:
    """Coqui keeps several best models: copies of states that the series may have, too."""
    saved(tmp_path, "checkpoint_100.safetensors", "checkpoint_200.safetensors")
    saved(tmp_path, "best_model_50.safetensors", "best_model_150.safetensors", seed=1)
    run = analyzer.open_run(tmp_path)
    assert names(run) == ["checkpoint_100.safetensors", "checkpoint_200.safetensors"]
    assert unplaced(run) == ["best_model_150.safetensors", "best_model_50.safetensors"]


def test_the_best_ones_alone_are_a_run(tmp_path: Path) -> None:
    files = ["best_model_50.safetensors", "best_model_150.safetensors"]
    assert names(analyzer.open_run(saved(tmp_path, *files))) == files


def test_networks_without_any_number_are_runs_of_one(tmp_path: Path) -> None:
    saved(tmp_path / "run", "G.safetensors")
    save_weights(tmp_path / "run" / "D.safetensors", {"other": np.ones((3, 5), np.float32)})
    assert runs(tmp_path / "run") == {"run/D": ["D.safetensors"], "run/G": ["G.safetensors"]}


@pytest.mark.parametrize("word", ["fold", "seed", "client_", "agent_"])
def test_one_checkpoint_of_each_fold_is_no_series(tmp_path: Path, word: str) -> None:
    files = [f"best_model_{word}{number}.safetensors" for number in range(3)]
    saved(tmp_path / "run", *files)
    assert sorted(runs(tmp_path / "run").values()) == [[name] for name in files]


def test_two_series_of_one_network_are_one_run(tmp_path: Path) -> None:
    """kohya saves by steps and by epochs; the files state both."""
    files = ["st-step00000100", "st-step00000200", "st-000001", "st-000002"]
    metadata = {
        f"{name}.safetensors": {"ss_epoch": str(epoch), "ss_steps": str(steps)}
        for name, epoch, steps in zip(files, (0, 0, 1, 2), (100, 200, 250, 500), strict=True)
    }
    run = analyzer.open_run(saved(tmp_path / "run", *metadata, metadata=metadata))
    assert places(run) == [(0, 100), (0, 200), (1, 250), (2, 500)]
    metadata["st-000002.safetensors"] = metadata["st-step00000200.safetensors"]
    assert len(analyzer.open_runs(saved(tmp_path / "twice", *metadata, metadata=metadata))) == 2


def test_numbers_tell_the_files_of_one_epoch_apart(tmp_path: Path) -> None:
    """They are steps if they rise with the epochs."""
    files = [f"G_{step}.safetensors" for step in (0, 200, 400)]
    metadata = {name: {"epoch": str(epoch)} for name, epoch in zip(files, (1, 1, 2), strict=True)}
    run = analyzer.open_run(saved(tmp_path / "run", *files, metadata=metadata))
    assert places(run) == [(1, 0), (1, 200), (2, 400)]
    metadata = {name: {"epoch": str(epoch)} for name, epoch in zip(files, (2, 2, 1), strict=True)}
    assert found(analyzer.open_run(saved(tmp_path / "falling", *files, metadata=metadata)), "contradicting_files")


def test_numbers_in_names_that_have_nothing_in_common_are_no_order(tmp_path: Path) -> None:
    run = analyzer.open_run(saved(tmp_path, "b2.safetensors", "a10.safetensors", "start.safetensors"))
    assert run.ordered_by == "modification time"
    assert found(run, "order_by_age")


@pytest.mark.parametrize(
    ("files", "steps"),
    [
        (["step-480k", "step-1M"], [480_000, 1_000_000]),
        (["step-50K-105b", "step-100K-210b"], [50_000, 100_000]),
        (["rl_model_1000_steps", "rl_model_20000_steps"], [1000, 20000]),
        (["0000100_adapters", "0000200_adapters"], [100, 200]),
        (["checkpoint-105b", "checkpoint-1T"], [None, None]),
        (["learned_embeds-steps-500", "learned_embeds-steps-1000"], [500, 1000]),
        (["ep0-ba1000", "ep0-ba2000", "ep1-ba3000"], [1000, 2000, 3000]),
        (["ckpt_20240105_103000", "ckpt_20240105_113000"], [None, None]),
        (["900k", "1.5M"], [None, None]),
    ],
)
def test_suffixes_are_scales_and_tokens_are_no_steps(tmp_path: Path, files: list[str], steps: list[int | None]) -> None:
    full = [f"{name}.safetensors" for name in files]
    run = analyzer.open_run(saved(tmp_path, *full))
    assert names(run) == full
    assert [step for _, step in places(run)] == steps


@pytest.mark.parametrize(
    ("files", "tokens"),
    [
        (["step-50K-105b", "step-100K-210b"], [105_000_000_000, 210_000_000_000]),
        (["checkpoint-105b", "checkpoint-1T"], [105_000_000_000, 1_000_000_000_000]),
        (["step1000-tokens3B", "step20000-tokens42B"], [3_000_000_000, 42_000_000_000]),
        (["step1-2.5Btokens", "step2-900M_tokens"], [None, None]),  # a training never forgets tokens
        (["step1-900M_tokens", "step2-2.5Btokens"], [900_000_000, 2_500_000_000]),
        (["step1_tokens512", "step2_tokens1024"], [512, 1024]),
        (["pythia-1.4b-step1000", "pythia-1.4b-step2000"], [None, None]),  # a model's size
        (["step1-3B", "step2"], [None, None]),
        (["step1-tokens0B", "step2-tokens0B", "step3-tokens1B"], [0, 0, 1_000_000_000]),
        (["step1-tokens9007200T", "step2-tokens9007201T"], [None, None]),  # more than a float counts exactly
        (["llama7b_step1", "llama13b_step2"], [None, None]),
    ],
)
def test_tokens_are_kept_where_they_rise_along_the_run(
    tmp_path: Path, files: list[str], tokens: list[int | None]
) -> None:
    run = analyzer.open_run(saved(tmp_path, *(f"{name}.safetensors" for name in files)))
    assert [one.tokens for one in run.checkpoints] == tokens


def test_chosen_files_are_the_only_checkpoints(tmp_path: Path) -> None:
    saved(tmp_path, "1_G.safetensors", "2_G.safetensors", "1_D.safetensors", "2_D.safetensors")
    run = analyzer.open_run(tmp_path, files=["*_G.safetensors"])
    assert names(run) == ["1_G.safetensors", "2_G.safetensors"]
    with pytest.raises(NoCheckpointsError, match="--files nothing"):
        find_runs(str(tmp_path), files=["nothing*"])
    done = weightlapse("audit", tmp_path, "--files", "1_*", "--files", "2_G*")
    assert "1_D" in done.out and "2_D" not in done.out


def test_folders_are_grouped_like_files(tmp_path: Path) -> None:
    for seed in (0, 1):
        for step, weights in zip((100, 200), random_walk(2, seed=seed), strict=True):
            save_weights(tmp_path / "runs" / f"seed{seed}-step{step}" / "model.safetensors", weights)
    assert runs(tmp_path / "runs") == {
        f"runs/seed{seed}": [f"seed{seed}-step100", f"seed{seed}-step200"] for seed in (0, 1)
    }


def test_each_component_of_a_checkpoint_is_a_run(tmp_path: Path) -> None:
    """LeRobot's folders; the optimizer's is no component."""
    for step, weights in zip(("000500", "001000"), random_walk(2), strict=True):
        save_weights(tmp_path / "one" / step / "pretrained_model" / "model.safetensors", weights)
        save_weights(tmp_path / "one" / step / "training_state" / "optimizer_state.safetensors", weights)
        for name, size in (("policy", 1), ("critic", 2)):
            half = {key: value[:size] for key, value in weights.items()}
            save_weights(tmp_path / "two" / f"checkpoint-{int(step)}" / name / "model.safetensors", half)
    assert runs(tmp_path / "one") == {"one": ["000500", "001000"]}
    assert runs(tmp_path / "two") == {
        "two/policy": ["checkpoint-500", "checkpoint-1000"],
        "two/critic": ["checkpoint-500", "checkpoint-1000"],
    }


def test_batches_that_restart_order_the_checkpoints_of_an_epoch(tmp_path: Path) -> None:
    files = [f"model_epoch{epoch}_batch{batch}.safetensors" for epoch in (1, 2) for batch in (100, 1000)]
    run = analyzer.open_run(saved(tmp_path, *files))
    assert names(run) == files
    assert places(run) == [(1, None), (1, None), (2, None), (2, None)]


def test_a_score_is_no_order(tmp_path: Path) -> None:
    run = analyzer.open_run(saved(tmp_path, "model_loss_0.52.safetensors", "model_loss_0.41.safetensors"))
    assert found(run, "order_by_age")


def test_the_only_file_of_a_checkpoint_may_have_any_name(tmp_path: Path) -> None:
    """LitGPT's step-00000100/lit_model.pth; a name with the step again; a run's folder with its best checkpoint."""
    for step, weights in zip((100, 200), random_walk(2), strict=True):
        save_weights(tmp_path / "one" / f"step-{step:08}" / "lit_model.safetensors", weights)
        save_weights(tmp_path / "two" / f"epoch_{step}" / f"net_{step}.safetensors", weights)
        save_weights(tmp_path / "runs" / f"step-{step}" / "best.safetensors", weights)
    assert runs(tmp_path / "one") == {"one": ["step-00000100", "step-00000200"]}
    assert runs(tmp_path / "two") == {"two": ["epoch_100", "epoch_200"]}
    assert runs(tmp_path / "runs") == {"step-100": ["best.safetensors"], "step-200": ["best.safetensors"]}


def test_networks_side_by_side_in_a_checkpoint_are_runs(tmp_path: Path) -> None:
    """SpeechBrain's CKPT+DATE/encoder.ckpt; folders with a series or shards inside are no checkpoints."""
    for epoch, weights in enumerate(random_walk(2), start=1):
        for network, part in (("encoder", 1), ("decoder", 2)):
            content = {name: value[:part] for name, value in weights.items()}
            save_weights(tmp_path / "save" / f"CKPT+2024-07-0{epoch}+10-00-00+00" / f"{network}.safetensors", content)
        for number in (1, 2):
            save_weights(tmp_path / "runs" / f"epoch_{epoch}" / f"w{number}.safetensors", weights)
    order = [f"CKPT+2024-07-0{epoch}+10-00-00+00" for epoch in (1, 2)]
    assert runs(tmp_path / "save") == {"save/decoder": order, "save/encoder": order}
    assert sorted(runs(tmp_path / "runs")) == ["epoch_1", "epoch_2"]


def test_a_frozen_component_is_a_notice_and_a_run_that_never_changes_is_serious(tmp_path: Path) -> None:
    first, second = random_walk(2)
    for step, weights in ((100, first), (200, second)):
        save_weights(tmp_path / "model" / f"checkpoint-{step}" / "unet" / "model.safetensors", weights)
        save_weights(tmp_path / "model" / f"checkpoint-{step}" / "vae" / "model.safetensors", first)
        save_weights(tmp_path / "alone" / f"checkpoint-{step}" / "vae" / "model.safetensors", first)
    unet, vae = analyzer.open_runs(tmp_path / "model")
    assert not alarms(analyzer.audit(unet))
    assert not alarms(analyzer.audit(vae))
    assert "frozen_component" in [finding.rule for finding in analyzer.audit(vae)]
    alone = analyzer.audit(analyzer.open_run(tmp_path / "alone"))
    assert [finding.rule for finding in alone if finding.severity == "serious"] == ["same_weights"]


def test_speechbrain_states_its_epoch_in_a_file(tmp_path: Path) -> None:
    for epoch, weights in zip((2, 1), random_walk(2), strict=True):
        folder = tmp_path / f"CKPT+2024-07-0{3 - epoch}+10-00-00+00"
        save_weights(folder / "model.safetensors", weights)
        (folder / "CKPT.yaml").write_text(f"epoch: {epoch}\nunixtime: 1720000000.0\n")
    assert places(analyzer.open_run(tmp_path)) == [(1, None), (2, None)]


def hub(parent: Path, *revisions: str) -> Path:
    """A repository as huggingface_hub caches it: links from snapshots into blobs."""
    repository = parent / "models--owner--name"
    for number, (revision, weights) in enumerate(zip(revisions, random_walk(len(revisions)), strict=True)):
        commit = f"{number:040x}"
        blob = save_weights(repository / "blobs" / f"blob{number}", weights)
        snapshot = repository / "snapshots" / commit
        snapshot.mkdir(parents=True)
        (snapshot / "model.safetensors").symlink_to(blob)
        (repository / "refs").mkdir(exist_ok=True)
        (repository / "refs" / revision).write_text(commit)
    return repository


def test_revisions_in_the_hub_cache_are_one_run(tmp_path: Path) -> None:
    repository = hub(tmp_path, "step0", "step1000", "step512")
    (repository / "refs" / "main").write_text(f"{1:040x}")
    run = analyzer.open_run(tmp_path)
    assert run.layout == "hub-cache"
    assert names(run) == ["step0", "step512", "step1000"]
    assert unplaced(run) == ["main"]
    assert not alarms(analyzer.audit(run))


def test_fault_18_a_link_in_the_hub_cache_that_leaves_the_repository_is_not_opened(tmp_path: Path) -> None:
    repository = hub(tmp_path, "step0", "step1")
    secret = save_weights(tmp_path / "secret.safetensors", random_walk(1)[0])
    link = repository / "snapshots" / f"{1:040x}" / "model.safetensors"
    link.unlink()
    link.symlink_to(secret)
    run = analyzer.open_run(repository)
    assert names(run) == ["step0"]
    assert "leaves the repository" in found(run, "refused_file")[0].sentence
