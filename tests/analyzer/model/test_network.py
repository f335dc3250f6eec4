"""Roles and depths of tensors, from names that real checkpoints have."""

from __future__ import annotations

import pytest

from analyzer.model.network import depth_of, leaf_of, role_of

NAMES = """
model.embed_tokens.weight embedding None
model.layers.7.self_attn.q_proj.weight q 7
model.layers.7.self_attn.o_proj.weight o 7
model.layers.7.mlp.gate_proj.weight gate 7
model.layers.7.mlp.up_proj.weight up 7
model.layers.7.mlp.down_proj.weight down 7
model.layers.7.input_layernorm.weight norm 7
model.layers.3.self_attn.q_norm.weight norm 3
model.norm.weight norm None
lm_head.weight head None
model.layers.1.block_sparse_moe.gate.weight router 1
model.layers.1.mlp.experts.gate_up.weight[12] other 1
model.layers.1.mlp.experts.down_proj[12] down 1
tok_embeddings.weight embedding None
layers.0.attention.wq.weight q 0
layers.0.attention.wo.weight o 0
layers.0.feed_forward.w1.weight gate 0
layers.0.feed_forward.w2.weight down 0
layers.0.ffn_norm.weight norm 0
output.weight head None
transformer.wte.weight embedding None
transformer.wpe.weight position None
h.11.attn.c_attn.weight qkv 11
transformer.h.11.attn.c_proj.bias o 11
transformer.h.11.mlp.c_fc.weight up 11
transformer.h.11.mlp.c_proj.weight down 11
transformer.h.11.ln_1.weight norm 11
transformer.ln_f.bias norm None
gpt_neox.embed_in.weight embedding None
gpt_neox.layers.5.attention.query_key_value.weight qkv 5
gpt_neox.layers.5.attention.dense.weight o 5
gpt_neox.layers.5.mlp.dense_h_to_4h.bias up 5
gpt_neox.layers.5.mlp.dense_4h_to_h.weight down 5
embed_out.weight head None
bert.embeddings.word_embeddings.weight embedding None
bert.embeddings.position_embeddings.weight position None
bert.embeddings.token_type_embeddings.weight other None
bert.embeddings.LayerNorm.weight norm None
bert.encoder.layer.2.attention.self.query.weight q 2
bert.encoder.layer.2.attention.output.dense.weight o 2
bert.encoder.layer.2.intermediate.dense.weight up 2
bert.encoder.layer.2.output.dense.weight down 2
bert.pooler.dense.weight other None
classifier.bias head None
cls.predictions.decoder.weight head None
cls.predictions.transform.dense.weight other None
shared.weight embedding None
encoder.block.3.layer.0.SelfAttention.q.weight q 3
encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight position 0
decoder.block.3.layer.1.EncDecAttention.k.weight cross_k 3
encoder.block.3.layer.1.DenseReluDense.wi_0.weight gate 3
encoder.block.3.layer.1.DenseReluDense.wo.weight down 3
encoder.final_layer_norm.weight norm None
vit.embeddings.patch_embeddings.projection.weight patch None
vit.embeddings.cls_token other None
vit.encoder.layer.4.attention.attention.value.bias v 4
vit.encoder.layer.4.layernorm_before.weight norm 4
patch_embed.proj.weight patch None
pos_embed position None
blocks.9.attn.qkv.weight qkv 9
blocks.9.attn.proj.weight o 9
blocks.9.mlp.fc1.weight up 9
blocks.9.norm1.weight norm 9
head.weight head None
heads.head.weight head None
encoder.layers.encoder_layer_3.self_attention.in_proj_weight qkv 3
encoder.layers.encoder_layer_3.mlp.linear_1.weight up 3
conv1.weight conv None
layer3.2.conv2.weight conv 3
layer3.2.bn2.running_mean norm 3
layer3.0.downsample.0.weight other 3
fc.weight head None
stages.2.blocks.1.conv_dw.weight conv 2
decoder.layers.1.multihead_attn.out_proj.weight cross_o 1
encoder.layers.1.linear2.weight down 1
base_model.model.bert.encoder.layer.0.attention.self.query.lora_A.default.weight q 0
fc1.weight other None
q.weight other None
2.bias other 2
weight other None
"""


@pytest.mark.parametrize("line", NAMES.split("\n")[1:-1])
def test_role_and_depth_follow_from_a_name(line):
    name, role, depth = line.split()
    assert (role_of(name), str(depth_of(name))) == (role, depth)


@pytest.mark.parametrize(
    "name", ["", ".", "..", "[3]", "7", "7.", "weight[1]", "\u0663.weight", "9" * 400 + ".w", "\n"]
)
def test_names_without_meaning_are_other(name):
    assert role_of(name) == "other"
    assert depth_of(name) is None or depth_of(name) >= 0


def test_the_leaf_is_the_last_part():
    assert (leaf_of("a.b.bias"), leaf_of("w"), leaf_of("experts.down[3]")) == ("bias", "w", "down")
