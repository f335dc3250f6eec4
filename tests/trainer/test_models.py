import math

import pytest
import torch
from torch import nn

from trainer.config import INIT_SCHEMES
from trainer.models import INITIALIZERS, NORMAL_STANDARD_DEVIATION, build_model

WIDE = (400, 300)


def test_layers_are_named_and_shaped_as_the_contract_says() -> None:
    shapes = {
        name: tuple(tensor.shape) for name, tensor in build_model((64, 32, 16), "pytorch", 0).state_dict().items()
    }
    assert shapes == {
        "fc1.weight": (64, 784),
        "fc1.bias": (64,),
        "fc2.weight": (32, 64),
        "fc2.bias": (32,),
        "fc3.weight": (16, 32),
        "fc3.bias": (16,),
        "out.weight": (10, 16),
        "out.bias": (10,),
    }


def test_hidden_decides_the_layers() -> None:
    assert list(build_model((5,), "normal", 0).state_dict()) == [
        "fc1.weight",
        "fc1.bias",
        "out.weight",
        "out.bias",
    ]


def test_between_the_layers_is_a_relu() -> None:
    model = build_model((7, 6), "pytorch", 3)
    weights = model.state_dict()
    images = torch.randn(4, 784)
    hidden = torch.relu(images @ weights["fc1.weight"].T + weights["fc1.bias"])
    hidden = torch.relu(hidden @ weights["fc2.weight"].T + weights["fc2.bias"])
    torch.testing.assert_close(model(images), hidden @ weights["out.weight"].T + weights["out.bias"])


def test_every_scheme_of_the_command_line_exists() -> None:
    assert tuple(INITIALIZERS) == INIT_SCHEMES


@pytest.mark.parametrize("init", INIT_SCHEMES)
def test_weights_come_from_the_seed_alone(init: str) -> None:
    first = build_model((20, 10), init, 1).state_dict()
    state = torch.get_rng_state()
    again = build_model((20, 10), init, 1).state_dict()
    other = build_model((20, 10), init, 2).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["fc1.weight"], other["fc1.weight"])
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("init", [init for init in INIT_SCHEMES if init != "orthogonal"])
def test_variance_is_what_the_paper_says(init: str) -> None:
    for layer in build_model(WIDE, init, 0):
        if not isinstance(layer, nn.Linear) or layer.out_features == 10:
            continue
        fan_out, fan_in = layer.weight.shape
        variance = {
            "pytorch": 1 / (3 * fan_in),
            "xavier-uniform": 2 / (fan_in + fan_out),
            "xavier-normal": 2 / (fan_in + fan_out),
            "kaiming-uniform": 2 / fan_in,
            "kaiming-normal": 2 / fan_in,
            "normal": NORMAL_STANDARD_DEVIATION**2,
        }[init]
        weights = layer.weight.detach().double()
        # 120 000 draws or more: the variance's own relative deviation is below √(2/n) = 0.4 %
        assert float(weights.var()) == pytest.approx(variance, rel=0.02)
        assert abs(float(weights.mean())) < 5 * math.sqrt(variance / weights.numel())
        largest = float(weights.abs().max()) / math.sqrt(variance)
        if "uniform" in init or init == "pytorch":
            assert 1.72 < largest <= math.sqrt(3) * (1 + 1e-6)
        else:
            assert 3.5 < largest < 7


@pytest.mark.parametrize("init", INIT_SCHEMES)
def test_biases_start_at_zero_except_the_librarys_own(init: str) -> None:
    biases = torch.cat([t for name, t in build_model(WIDE, init, 0).state_dict().items() if name.endswith("bias")])
    assert bool((biases == 0).all()) == (init != "pytorch")


def test_pytorch_is_what_the_library_does_by_default() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        expected = nn.Linear(784, 12)
    layer = build_model((12,), "pytorch", 5).get_submodule("fc1")
    assert torch.equal(layer.weight, expected.weight)
    assert torch.equal(layer.bias, expected.bias)


def test_orthogonal_has_singular_values_of_one() -> None:
    for name, weights in build_model((64, 100), "orthogonal", 0).state_dict().items():
        if name.endswith("weight"):
            values = torch.linalg.svdvals(weights.double())
            torch.testing.assert_close(values, torch.ones_like(values), atol=1e-5, rtol=0)
