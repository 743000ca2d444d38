"""What every family must do, with every kind of positions."""

from __future__ import annotations

import pickle
import re
import runpy
from pathlib import Path

import pytest
import torch

from compact_vit import CompactTransformer, UsageError, create_model
from compact_vit.layers import sine_positions


def same(model: CompactTransformer) -> CompactTransformer:
    """The model in training, without what is drawn at random."""
    for module in model.modules():
        if hasattr(module, "attention_dropout"):
            module.attention_dropout = 0.0
        if hasattr(module, "rate"):
            module.rate = 0.0
    return model.train()


def test_one_by_one_equals_together(build, positions) -> None:
    model = build(positional_embedding=positions).double().eval()
    x = torch.randn(5, 3, 32, 32, dtype=torch.float64)
    torch.testing.assert_close(model(x), torch.cat([model(one[None]) for one in x]))


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        (
            (3, 32, 32),
            "pictures must be [B, C, H, W], got 3 dimensions: one picture is x[None]",
        ),
        ((2, 3, 32, 32, 1), "pictures must be [B, C, H, W], got 5 dimensions"),
        ((1, 1, 32, 32), "pictures must have 3 channels, got 1: a model of others is made with in"),
        ((1, 32, 32, 3), "pictures must have 3 channels, got 32"),
    ],
)
def test_pictures_of_another_form_are_said_to_be_so(build, shape, said) -> None:
    model, x = build(), torch.zeros(shape)
    for use in (model, model.embed, model.forward_features, model.forward_intermediates):
        with pytest.raises(AssertionError, match=re.escape(said)):
            use(x)


def test_evaluation_is_deterministic_and_training_is_not(build) -> None:
    model, x = build(dropout=0.1, drop_path=0.5), torch.randn(8, 3, 32, 32)
    assert not torch.equal(model(x), model(x))
    model.eval()
    assert torch.equal(model(x), model(x))


def test_dropout_acts_on_the_embedded_tokens(build) -> None:
    model, x = build(dropout=0.5), torch.randn(4, 3, 32, 32)
    assert (model.embed(x) == 0).double().mean().item() == pytest.approx(0.5, abs=0.05)
    assert (model.eval().embed(x) != 0).any(dim=-1).all()


def test_gradients_reach_every_parameter(build, positions) -> None:
    model = same(build(positional_embedding=positions))
    model(torch.randn(4, 3, 32, 32)).square().sum().backward()
    for name, parameter in model.named_parameters():
        if name == "positions.table" and positions == "sine":
            assert not parameter.requires_grad
            assert parameter.grad is None
        elif name == "pool.attention.bias":
            # softmax takes no notice of what is added to all of its arguments
            assert parameter.grad.abs().max() < 1e-4
        else:
            assert parameter.requires_grad
            assert parameter.grad.abs().max() > 0, name


def test_every_token_reads_its_own_position(build) -> None:
    model = same(build())
    model(torch.randn(2, 3, 32, 32)).square().sum().backward()
    assert (model.positions.table.grad != 0).any(dim=-1).all()


def test_each_kind_of_positions_is_really_that(build) -> None:
    learnable, sine, none = (
        build(positional_embedding=kind) for kind in ("learnable", "sine", "none")
    )
    names = {name for name, _ in none.named_parameters()}
    assert not any("position" in name for name in (*names, *none.state_dict()))
    for model in (learnable, sine):
        assert {name for name, _ in model.named_parameters()} == names | {"positions.table"}
    tokens = 16 + learnable.num_prefix_tokens if learnable.config.kernel_size == 8 else 64
    assert learnable.positions.table.shape == (1, tokens, 128)
    assert torch.equal(sine.positions.table, sine_positions(tokens, 128))
    assert not torch.allclose(learnable.positions.table, sine.positions.table, atol=0.1)


def test_without_positions_the_order_of_patches_is_not_seen() -> None:
    x = torch.randn(2, 3, 32, 32)
    moved = torch.roll(x, shifts=(8, 16), dims=(2, 3))  # whole patches
    blind = create_model("cvt_2_8", positional_embedding="none").eval()
    torch.testing.assert_close(blind(moved), blind(x))
    for kind in ("learnable", "sine"):
        seeing = create_model("cvt_2_8", positional_embedding=kind).eval()
        assert not torch.allclose(seeing(moved), seeing(x), atol=1e-3)


@pytest.mark.parametrize("size", [(32, 32), (48, 24), (17, 40), (64, 64)])
def test_any_picture_size_built_for_or_not(build, positions, size) -> None:
    x = torch.randn(2, 3, *size)
    for img_size in (32, size):
        model = build(img_size=img_size, positional_embedding=positions, num_classes=7).eval()
        assert model(x).shape == (2, 7)
        grid = model.tokenizer.grid_size(*size)
        tokens = model.num_prefix_tokens + grid[0] * grid[1]
        assert model.forward_features(x).shape == (2, tokens, 128)


def test_sine_positions_of_another_size_are_the_other_models_own(build) -> None:
    small, large = (build(img_size=s, positional_embedding="sine").eval() for s in (32, 48))
    state = {k: v for k, v in small.state_dict().items() if k != "positions.table"}
    large.load_state_dict(state, strict=False)
    x = torch.randn(2, 3, 48, 48)
    torch.testing.assert_close(small(x), large(x))


def test_other_numbers_of_channels(build) -> None:
    model = build(in_chans=1, img_size=28).eval()
    assert model(torch.randn(2, 1, 28, 28)).shape == (2, 10)
    assert model.in_chans == 1


def test_the_head_and_what_comes_before_it(build) -> None:
    model, x = build(num_classes=7).eval(), torch.randn(2, 3, 32, 32)
    tokens = model.forward_features(x)
    pooled = model.forward_head(tokens, pre_logits=True)
    assert pooled.shape == (2, model.num_features) == (2, model.head_hidden_size)
    assert torch.equal(model.forward_head(tokens), model.get_classifier()(pooled))
    assert torch.equal(model.forward_head(tokens), model(x))
    expected = tokens[:, 0] if model.num_prefix_tokens else model.pool(tokens)
    assert torch.equal(pooled, expected)
    torch.testing.assert_close(tokens.mean(-1), torch.zeros_like(tokens[..., 0]), atol=1e-5, rtol=0)


def test_no_classes_give_the_pooled_features(build) -> None:
    x = torch.randn(2, 3, 32, 32)
    model = build(num_classes=0).eval()
    assert not any(name.startswith("head") for name, _ in model.named_parameters())
    assert torch.equal(model(x), model.forward_head(model.forward_features(x), pre_logits=True))
    assert model(x).shape == (2, 128)


@pytest.mark.parametrize(
    ("wrong", "said"), [(-1, "-1"), (2.0, "2.0"), ("5", "'5'"), (True, "True")]
)
def test_classes_that_there_cannot_be(build, wrong, said) -> None:
    model = build()
    model.pretrained_cfg["label_names"] = ("a",)
    with pytest.raises(
        UsageError, match=f"num_classes must be a whole number, 0 for no classifier, got {said}"
    ):
        model.reset_classifier(wrong)
    assert model.num_classes == model.get_classifier().out_features == 10
    assert model.pretrained_cfg["label_names"] == ("a",)


def test_reset_classifier(build) -> None:
    model, x = build(num_classes=7).bfloat16().eval(), torch.randn(2, 3, 32, 32).bfloat16()
    pooled = model.forward_head(model.forward_features(x), pre_logits=True)
    model.reset_classifier(0)
    assert model.num_classes == 0
    assert torch.equal(model(x), pooled)
    model.reset_classifier(5)
    assert model.num_classes == 5
    assert model(x).shape == (2, 5)
    assert model.get_classifier().weight.dtype == torch.bfloat16
    assert not model.get_classifier().bias.any()
    with pytest.raises(ValueError, match="global_pool='avg'"):
        model.reset_classifier(5, global_pool="avg")


def test_intermediates_are_the_blocks_outputs(build) -> None:
    model, x = build(img_size=(48, 24)).eval(), torch.randn(2, 3, 48, 24)
    outputs = []
    for block in model.blocks:
        block.register_forward_hook(lambda module, args, out: outputs.append(out))
    final, features = model.forward_intermediates(x)
    assert torch.equal(final, model.forward_features(x))
    height, width = model.tokenizer.grid_size(48, 24)
    prefix = model.num_prefix_tokens
    for feature, out in zip(features, outputs, strict=False):
        assert feature.shape == (2, 128, height, width)
        assert torch.equal(feature[:, :, 1, 0], out[:, prefix + width])  # second row, first column
    only, pairs = (
        model.forward_intermediates(x, 1, norm=norm, output_fmt="NLC", **options)
        for norm, options in (
            (True, {"intermediates_only": True}),
            (False, {"intermediates_only": True, "return_prefix_tokens": True}),
        )
    )
    assert torch.equal(only[0], final[:, prefix:])
    assert torch.equal(pairs[0][0], outputs[1][:, prefix:])
    assert torch.equal(pairs[0][1], outputs[1][:, :prefix])


def test_which_intermediates() -> None:
    model, x = create_model("cct_4_3x2").eval(), torch.randn(1, 3, 32, 32)
    _, every = model.forward_intermediates(x)
    assert len(every) == 4
    for indices, expected in (
        (2, [2, 3]),
        ([0, -1], [0, 3]),
        ((-1, 1, 1), [1, 3]),
        (4, [0, 1, 2, 3]),
    ):
        got = model.forward_intermediates(x, indices, intermediates_only=True)
        assert all(torch.equal(a, every[i]) for a, i in zip(got, expected, strict=True))
    seen = []
    for block in model.blocks:
        block.register_forward_hook(lambda module, args, out: seen.append(module))
    model.forward_intermediates(x, [1], stop_early=True, intermediates_only=True)
    assert seen == list(model.blocks[:2])
    for bad in (5, 0, [4], [-5], []):
        with pytest.raises(ValueError, match="indices must name layers among 4, got"):
            model.forward_intermediates(x, bad)
    with pytest.raises(ValueError, match="'NCHW' or 'NLC', got 'NHWC'"):
        model.forward_intermediates(x, output_fmt="NHWC")


def test_feature_info_tells_the_intermediates_shapes(build) -> None:
    model = build(img_size=64).eval()
    features = model.forward_intermediates(torch.randn(1, 3, 64, 64), intermediates_only=True)
    modules = dict(model.named_modules())
    for i, (info, feature) in enumerate(zip(model.feature_info, features, strict=True)):
        assert modules[info["module"]] is model.blocks[i]
        assert feature.shape[1] == info["num_chs"]
        assert feature.shape[2] == 64 // info["reduction"]


@pytest.mark.parametrize(
    ("name", "side", "reduction"),
    [
        ("cct_6_3x1", 33, 2),
        ("cct_2_3x2", 30, 4),
        ("cct_7_7x2", 250, 16),
        ("cct_2_7x2", 100, 16),
        ("vit_lite_2_8", 15, 8),
        ("cvt_2_4", (30, 33), 4),
    ],
)
def test_feature_info_where_sides_do_not_divide(name, side, reduction) -> None:
    with torch.device("meta"):
        model = create_model(name, img_size=side)
    assert {info["reduction"] for info in model.feature_info} == {reduction}


def test_pruned_models_keep_their_features(build) -> None:
    model, x = build().eval(), torch.randn(2, 3, 32, 32)
    before = model.forward_intermediates(x, [0], intermediates_only=True)
    assert model.prune_intermediate_layers([0], prune_norm=True) == [0]
    assert torch.equal(before[0], model.forward_intermediates(x, [0], intermediates_only=True)[0])
    names = {name.split(".")[0] for name, _ in model.named_parameters()}
    assert not names & {"norm", "pool", "head"}
    assert len(model.blocks) == 1


def test_no_weight_decay_names_parameters_that_exist(build, positions) -> None:
    model = build(positional_embedding=positions)
    names = model.no_weight_decay()
    assert names <= {name for name, _ in model.named_parameters()}
    assert ("positions.table" in names) == (positions != "none")
    assert ("class_token.token" in names) == bool(model.num_prefix_tokens)
    # all else of two dimensions and more is a matrix of the network
    rest = {n for n, p in model.named_parameters() if p.dim() > 1 and n not in names}
    assert all(name.endswith("weight") for name in rest)


def test_group_matcher_covers_every_parameter_but_the_heads(build, positions) -> None:
    model = build(positional_embedding=positions)
    matcher = model.group_matcher()
    patterns = [matcher["stem"], *(pattern for pattern, _ in matcher["blocks"])]
    for name, _ in model.named_parameters():
        matches = [m for m in (re.match(pattern, name) for pattern in patterns) if m]
        assert len(matches) == (not name.startswith("head.")), name
        for match in matches:  # timm takes every group for a layer's number
            assert all(group.isdigit() for group in match.groups())


@pytest.mark.parametrize("method", ["forward", "forward_intermediates"])
def test_recomputing_layers_gives_the_same_gradients(build, method) -> None:
    model, x = same(build()), torch.randn(2, 3, 32, 32)
    gradients = []
    for enable in (False, True):
        model.set_grad_checkpointing(enable)
        model.zero_grad()
        said = getattr(model, method)(x)
        (said if method == "forward" else said[0]).square().sum().backward()
        reached = model if method == "forward" else model.blocks
        gradients.append([p.grad.clone() for p in reached.parameters()])
    for plain, recomputed in zip(*gradients, strict=True):
        torch.testing.assert_close(recomputed, plain)


def test_recomputed_layers_run_again_in_the_backward_pass(build) -> None:
    model, calls = same(build()), []
    model.blocks[0].attn.register_forward_hook(lambda *args: calls.append(1))
    model.set_grad_checkpointing()
    loss = model(torch.randn(2, 3, 32, 32)).sum()
    assert len(calls) == 1
    loss.backward()
    assert len(calls) == 2


def test_published_and_standard_models_differ_in_the_residual_alone(build) -> None:
    published, standard = (build(residual=form).eval() for form in ("published", "pre_norm"))
    standard.load_state_dict(published.state_dict())
    x, grid = torch.randn(2, 3, 32, 32), published.tokenizer.grid_size(32, 32)
    for model, normed in ((published, True), (standard, False)):
        tokens = model.embed(x)
        for block in model.blocks:
            tokens = tokens + block.attn(block.norm1(tokens))
            branch = block.mlp(block.norm2(tokens), grid)
            tokens = (block.norm2(tokens) if normed else tokens) + branch
        torch.testing.assert_close(model.forward_features(x), model.norm(tokens))
    assert not torch.allclose(published(x), standard(x), atol=1e-3)


@pytest.mark.filterwarnings("ignore:The nodes obtained by tracing")
@pytest.mark.parametrize("positional", ["learnable", "sine", "none"])
@pytest.mark.parametrize("name", ["vit_lite_2_8", "cvt_2_8", "cct_2_3x2", "cct2_2_3x2"])
def test_features_by_torchvision(name, positional) -> None:
    from torchvision.models.feature_extraction import create_feature_extractor

    torch.manual_seed(0)
    model = create_model(name, positional_embedding=positional).eval()
    graph = create_feature_extractor(model, ["blocks.0", "norm", "head"])
    pickle.dumps(graph)
    for size in ((32, 32), (48, 24)):  # a graph that does not freeze the picture's size
        x = torch.randn(2, 3, *size)
        found = graph(x)
        assert torch.equal(found["norm"], model.forward_features(x))
        assert torch.equal(found["head"], model(x))
        (first,) = model.forward_intermediates(
            x, indices=[0], output_fmt="NLC", intermediates_only=True
        )
        assert torch.equal(found["blocks.0"][:, model.num_prefix_tokens :], first)


def test_the_hub_of_torch() -> None:
    here = Path(__file__).parents[2]
    model = torch.hub.load(str(here), "cct_2_3x2", source="local", num_classes=3)
    assert (type(model), model.num_classes) == (CompactTransformer, 3)
    entries = runpy.run_path(str(here / "hubconf.py"))
    assert {"create_model", "vit_lite_6_4", "cvt_6_4", "cct_6_3x1", "cct2_2_3x2"} <= set(entries)
