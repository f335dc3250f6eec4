"""Names of checkpoints are grouped by stem: what remains without the number that gives the place."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzer.layouts.stems import is_average, is_selected, label, order_keys, stems

# What real trainers write: each list is one folder, each inner list one series of it (or a lone name).
FOLDERS = {
    "pytorch-CycleGAN-and-pix2pix": [
        ["5_net_G_A.pth", "10_net_G_A.pth"],
        ["5_net_G_B.pth", "10_net_G_B.pth"],
        ["latest_net_G_A.pth"],
    ],
    "improved-diffusion": [
        ["model000500.pt", "model001000.pt"],
        ["ema_0.9999_000500.pt", "ema_0.9999_001000.pt"],
        ["ema_0.999_000500.pt", "ema_0.999_001000.pt"],
        ["opt000500.pt", "opt001000.pt"],
    ],
    "two sizes of a model": [
        ["resnet50_epoch_1.pt", "resnet50_epoch_2.pt"],
        ["resnet101_epoch_1.pt", "resnet101_epoch_2.pt"],
    ],
    "two sizes whose epochs go on": [
        ["resnet50_epoch_1.pt", "resnet50_epoch_2.pt"],
        ["resnet101_epoch_3.pt", "resnet101_epoch_4.pt"],
    ],
    "sizes with a suffix": [
        ["pythia-70m-step1000.pt", "pythia-70m-step2000.pt"],
        ["pythia-160m-step1000.pt", "pythia-160m-step2000.pt"],
    ],
    "sizes between separators": [["vit_b_16_1.pt", "vit_b_16_2.pt"], ["vit_b_32_1.pt", "vit_b_32_2.pt"]],
    "folds": [["fold0_1.pt", "fold0_2.pt"], ["fold1_1.pt", "fold1_2.pt"]],
    "one checkpoint of each fold": [["fold0_1.pt"], ["fold1_1.pt"]],
    "seeds": [["seed0-step100.pt", "seed0-step200.pt"], ["seed1-step100.pt", "seed1-step200.pt"]],
    "one checkpoint of each seed": [["seed0.pt"], ["seed1.pt"], ["seed2.pt"]],
    "learning rates": [["lr1e-4_step100.pt", "lr1e-4_step200.pt"], ["lr1e-3_step100.pt", "lr1e-3_step200.pt"]],
    "clients of federated rounds": [
        ["round_1_client_0.pt", "round_2_client_0.pt"],
        ["round_1_client_1.pt", "round_2_client_1.pt"],
    ],
    "numbers without words": [["model_1_2.pt", "model_1_4.pt"], ["model_2_2.pt", "model_2_4.pt"]],
    "ESPnet": [["1epoch.pth", "2epoch.pth", "10epoch.pth"], ["valid.acc.ave_10best.pth"]],
    "fairseq by updates": [["checkpoint_1_500.pt", "checkpoint_1_1000.pt", "checkpoint_2_1500.pt"]],
    "kohya": [["style-000001.safetensors", "style-000002.safetensors"], ["style.safetensors"]],
    "Lightning": [["epoch=0-step=100.ckpt", "epoch=1-step=200.ckpt"], ["last.ckpt"]],
    "Lightning, twice": [
        ["epoch=0-step=100.ckpt", "epoch=1-step=200.ckpt"],
        ["epoch=0-step=100-v1.ckpt", "epoch=1-step=200-v1.ckpt"],
    ],
    "Lightning with a score": [["epoch=0-step=100-val_loss=0.35.ckpt", "epoch=1-step=200.ckpt"]],
    "VITS and so-vits-svc": [["G_100.pth", "G_200.pth"], ["D_100.pth", "D_200.pth"]],
    "BasicSR": [["net_g_5000.pth", "net_g_10000.pth"], ["net_d_5000.pth", "net_d_10000.pth"], ["net_g_latest.pth"]],
    "scores in names": [["checkpoint-230500-loss-1.2531.pt", "checkpoint-240500-loss-1.1.pt"]],
    "a bare score in names": [["epoch_3_0.8512.pt", "epoch_4_0.8613.pt"]],
    "suffixes": [["step-480k.pt", "step-1M.pt"]],
    "tokens": [["step-50K-105b.pt", "step-100K-210b.pt"]],
    "RVC": [["name_e10_s1000.pth", "name_e20_s2000.pth"]],
    "stable-baselines3": [["rl_model_1000_steps.pt", "rl_model_2000_steps.pt"]],
    "rl_games": [["last_Cart_ep_100_rew_250.1.pth", "last_Cart_ep_200_rew_270.5.pth"], ["Cart.pth"]],
    "Isaac Lab": [["model_0.pt", "model_50.pt", "model_100.pt"]],
    "Coqui": [
        ["checkpoint_100.pth", "checkpoint_200.pth"],
        ["best_model_100.pth", "best_model_150.pth"],
        ["best_model.pth"],
    ],
    "detectron2": [["model_0004999.pth", "model_0009999.pth"], ["model_final.pth"]],
    "mmengine": [["epoch_1.pth", "epoch_2.pth"], ["best_coco_bbox_mAP_epoch_2.pth"]],
    "OpenNMT": [["foo_step_1000.pt", "foo_step_2000.pt"]],
    "MAE and SimCLR": [
        ["checkpoint-0.pth", "checkpoint-20.pth"],
        ["checkpoint_0100.pth.tar", "checkpoint_0200.pth.tar"],
    ],
    "mlx-lm": [["0000100_adapters.safetensors", "0000200_adapters.safetensors"], ["adapters.safetensors"]],
    "dates": [["model_2024-01-05_epoch_1.pt", "model_2024-01-06_epoch_2.pt"]],
    "dates and times alone": [["ckpt_20240105_103000.pt", "ckpt_20240105_113000.pt"]],
    "bare numbers": [["1.pt", "2.pt", "10.pt"]],
    "dreambooth": [["learned_embeds-steps-500.bin", "learned_embeds-steps-1000.bin"], ["learned_embeds.bin"]],
    "nanoGPT forks": [["ckpt_1000.pt", "ckpt_2000.pt"], ["ckpt.pt"]],
    "two networks without numbers": [["G.pth"], ["D.pth"]],
    "Composer": [["ep0-ba1000-rank0.pt", "ep0-ba2000-rank0.pt", "ep1-ba3000-rank0.pt"], ["latest-rank0.pt"]],
    "AllenNLP": [["model_state_e0_b0.th", "model_state_e0_b500.th", "model_state_e1_b0.th"], ["best.th"]],
    "batches of epochs": [["model_epoch1_batch100.pt", "model_epoch1_batch200.pt", "model_epoch2_batch100.pt"]],
    "sizes of batches": [["batch32_epoch1.pt", "batch32_epoch2.pt"], ["batch64_epoch1.pt", "batch64_epoch2.pt"]],
    "iterations of epochs": [["ep1_it500.pt", "ep1_it1000.pt", "ep2_it500.pt"]],
    "skrl": [["agent_1000.pt", "agent_2000.pt"], ["best_agent.pt"]],
    "several agents": [["agent_0.pt"], ["agent_1.pt"], ["agent_2.pt"]],
    "several agents with a gap": [["agent_0.pt"], ["agent_1.pt"], ["agent_5.pt"]],
    "trainings of two dates": [
        ["20240101-120000_epoch1.pt", "20240101-120000_epoch2.pt"],
        ["20240202-120000_epoch1.pt", "20240202-120000_epoch2.pt"],
    ],
    "only a score": [["model_loss_0.52.pt", "model_loss_0.41.pt", "model_loss_0.31.pt"]],
    "Ignite": [["best_model_3_val_acc=0.9000.pt", "best_model_12_val_acc=0.9500.pt"]],
    "Catalyst": [["train.1.pth", "train.2.pth"], ["best_full.pth"], ["last.pth"]],
    "actor and critic": [["actor_1000.pth", "actor_2000.pth"], ["critic_target_1000.pth", "critic_target_2000.pth"]],
}


@pytest.mark.parametrize("kind", FOLDERS)
def test_each_series_has_a_stem_of_its_own(kind: str) -> None:
    series = FOLDERS[kind]
    assert sorted(map(sorted, stems([name for names in series for name in names]).values())) == sorted(
        map(sorted, series)
    )


# Each in its order, given in another one.
ORDERS = {
    "a score before the number": ["0.5123_3.pth", "0.6_12.pth", "0.31_20.pth"],
    "a score after the number": ["best_model_3_val_acc=0.97.pt", "best_model_12_val_acc=0.95.pt"],
    "scales": ["900k.pt", "1.5M.pt", "10M.pt"],
    "dates and times": ["ckpt_20240105_103000.pt", "ckpt_20240105_113000.pt", "ckpt_20240106_093000.pt"],
    "glued": ["G2.pth", "G10.pth"],
}


@pytest.mark.parametrize("kind", ORDERS)
def test_names_are_ordered_by_the_number_that_gives_the_place(kind: str) -> None:
    keys = order_keys(sorted(ORDERS[kind], reverse=True))
    assert keys is not None
    assert sorted(keys, key=lambda name: keys[name]) == ORDERS[kind]


def test_scores_and_several_stems_are_no_order() -> None:
    assert order_keys(["model_loss_0.52.pt", "model_loss_0.41.pt"]) is None
    assert order_keys(["G_1.pth", "G_2.pth", "D_1.pth"]) is None


@given(st.lists(st.text(alphabet="ab_-.=019eks", max_size=12), unique=True, max_size=8))
def test_every_name_has_exactly_one_stem(names: list[str]) -> None:
    grouped = [name for members in stems(names).values() for name in members]
    assert sorted(grouped) == sorted(names)


def test_long_names_take_no_time() -> None:
    """Names are untrusted: matching must not backtrack."""
    names = [f"{'1_' * 100}{'a' * 50}{number}{'.9' * 20}" for number in range(300)]
    assert len(stems(names)) >= 1


@pytest.mark.parametrize(
    ("stem", "expected"),
    [
        ("*_net_G_A", "net_G_A"),
        ("epoch=*-step=*-v1", "v1"),
        ("resnet50_epoch_*", "resnet50"),
        ("ema_0.9999_*", "ema_0.9999"),
        ("*", "numbered"),
        ("seed0-step*", "seed0"),
        ("best", "best"),
    ],
)
def test_a_run_is_named_after_its_stem(stem: str, expected: str) -> None:
    assert label(stem) == expected


def test_copies_and_averages_are_known_by_their_words() -> None:
    assert is_selected("best_model_*") and is_selected("G_latest") and not is_selected("blast_*")
    assert is_average("valid.acc.ave_10best") and is_average("swa_model") and not is_average("wave_*")
