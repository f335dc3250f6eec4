"""Small networks of each common kind, with the names and the initialization that such networks have."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional


def mlp(dropout: float = 0.0) -> nn.Sequential:
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(196, 96),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(96, 48),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(48, 10),
    )


class Convolutions(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(1, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.conv2, self.bn2 = nn.Conv2d(8, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)
        self.fc = nn.Linear(16 * 9, 10)

    def forward(self, images: Tensor) -> Tensor:
        inner = functional.max_pool2d(functional.relu(self.bn1(self.conv1(images[:, None]))), 2)
        inner = functional.max_pool2d(functional.relu(self.bn2(self.conv2(inner))), 2)
        return self.fc(inner.flatten(1))


class Recurrent(nn.Module):
    """Reads a digit row by row."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(14, 48, batch_first=True)
        self.head = nn.Linear(48, 10)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.lstm(images)[0][:, -1])


class Attention(nn.Module):
    def __init__(self, width: int, heads: int, *, causal: bool) -> None:
        super().__init__()
        self.heads, self.causal = heads, causal
        self.c_attn, self.c_proj = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        parts = self.c_attn(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(*parts, is_causal=self.causal)
        return self.c_proj(mixed.transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.c_fc, self.c_proj = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.c_proj(functional.gelu(self.c_fc(x)))


class Block(nn.Module):
    def __init__(self, width: int, heads: int, *, causal: bool) -> None:
        super().__init__()
        self.ln_1, self.attn = nn.LayerNorm(width), Attention(width, heads, causal=causal)
        self.ln_2, self.mlp = nn.LayerNorm(width), FeedForward(width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class CharacterGPT(nn.Module):
    """Names and initialization of GPT-2."""

    def __init__(self, letters: int = 17, context: int = 32, width: int = 48, depth: int = 3) -> None:
        super().__init__()
        self.wte, self.wpe = nn.Embedding(letters, width), nn.Embedding(context, width)
        self.h = nn.ModuleList([Block(width, 4, causal=True) for _ in range(depth)])
        self.ln_f, self.lm_head = nn.LayerNorm(width), nn.Linear(width, letters, bias=False)
        for name, values in self.named_parameters():
            if values.ndim == 2:
                nn.init.normal_(values, std=0.02 / math.sqrt(2 * depth) if name.endswith("c_proj.weight") else 0.02)
            elif name.endswith("bias"):
                nn.init.zeros_(values)

    def forward(self, codes: Tensor) -> Tensor:
        x = self.wte(codes) + self.wpe.weight[: codes.shape[1]]
        for block in self.h:
            x = block(x)
        return self.lm_head(self.ln_f(x))


class VisionTransformer(nn.Module):
    """Names of timm, torch's initialization of linear layers."""

    def __init__(self, width: int = 32, depth: int = 3) -> None:
        super().__init__()
        self.patch_embed = nn.Conv2d(1, width, 2, 2)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(0.02 * torch.randn(1, 50, width))
        self.blocks = nn.ModuleList([Block(width, 4, causal=False) for _ in range(depth)])
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 10)

    def forward(self, images: Tensor) -> Tensor:
        patches = self.patch_embed(images[:, None]).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(len(images), -1, -1), patches], 1) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x)[:, 0])
