"""The masked autoencoder against a loop over pictures and blocks, and against its promises."""

from __future__ import annotations

import copy
import functools
import itertools
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from einops import rearrange
from scipy.stats import chisquare
from torch import Tensor

from compact_vit import CompactTransformer, UsageError, create_model
from compact_vit.layers import sine_positions
from compact_vit.models import MaskedAutoencoder

# name, block: tokens of 8 and 4 and 2 pixels, one and several a block, overlapping or not
CASES = [
    ("vit_lite_2_8", 16),
    ("vit_lite_2_4", 4),
    ("cvt_2_8", 8),
    ("cct_2_3x2", 4),
    ("cct_2_3x1", 4),
    ("cct_2_7x2", 16),
]
SIZES = [(32, 32), (48, 32)]


@pytest.fixture(params=["vit_lite_2_8", "cvt_2_8", "cct_2_3x2"])
def build(request: pytest.FixtureRequest) -> Callable[..., CompactTransformer]:
    """The smallest members whose layers can leave tokens out."""
    return functools.partial(create_model, request.param)


def test_a_convolution_within_the_mlps_is_refused() -> None:
    said = r"got mlp_kernel=3: set mlp_kernel=0 \(--model-options mlp_kernel=0\), here and in the"
    with pytest.raises(UsageError, match=said) as caught:
        MaskedAutoencoder(create_model("cct2_2_3x2"))
    assert "\n" not in str(caught.value)
    MaskedAutoencoder(create_model("cct2_2_3x2", mlp_kernel=0))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def built(name: str, block: int = 4, size: tuple[int, int] = (32, 32), **options) -> tuple:
    """An autoencoder in evaluation, pictures, and what of them is hidden."""
    model = MaskedAutoencoder(create_model(name, img_size=size, **options), block=block).eval()
    x = torch.randn(3, model.in_chans, *size, generator=generator(1))
    return model, x, model.draw(3, 0.6, generator(2))


def corners(size: tuple[int, int], side: int) -> list[tuple[int, int]]:
    return list(itertools.product(range(0, size[0], side), range(0, size[1], side)))


def slowly(model: MaskedAutoencoder, picture: Tensor, hidden: list[bool]) -> Tensor:
    """The prediction ``[G, b*b*C]`` of one picture, block by block and token by token."""
    encoder, size = model.encoder, tuple(picture.shape[1:])
    places, seen = corners(size, model.block), picture.clone()
    for (y, x), gone in zip(places, hidden, strict=True):
        if gone:
            seen[:, y : y + model.block, x : x + model.block] = 0
    tokens = encoder.embed(seen.unsqueeze(0))[0]
    rows, columns = encoder.tokenizer.grid_size(*size)
    side = size[0] // rows  # of a token, pixels
    chosen = [tokens[i] for i in range(encoder.num_prefix_tokens)]
    for (y, x), gone in zip(places, hidden, strict=True):
        for dy, dx in [] if gone else corners((model.block, model.block), side):
            number = (y + dy) // side * columns + (x + dx) // side
            chosen.append(tokens[encoder.num_prefix_tokens + number])
    z = torch.stack(chosen).unsqueeze(0)
    for layer in encoder.blocks:
        z = layer(z)
    left = list(encoder.norm(z)[0, encoder.num_prefix_tokens :])
    wide = []
    for gone in hidden:
        own = [] if gone else [left.pop(0) for _ in range((model.block // side) ** 2)]
        wide.append(model.mask_token[0, 0] if gone else model.decoder_embed(torch.cat(own)))
    z = torch.stack(wide).unsqueeze(0)
    z = z + sine_positions(len(hidden), z.shape[2])
    for layer in model.decoder_blocks:
        z = z + layer.attn(layer.norm1(z))
        z = z + layer.mlp(layer.norm2(z))
    return model.decoder_head(model.decoder_norm(z))[0]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("name", "block"), CASES)
def test_forward_is_what_a_loop_over_blocks_gives(name, block, size) -> None:
    model, x, hidden = built(name, block, size)
    model, x = model.double(), x.double()
    wanted = [slowly(model, p, h) for p, h in zip(x, hidden.tolist(), strict=True)]
    # sine positions were rounded to float32 before they were made double
    torch.testing.assert_close(model(x, hidden), torch.stack(wanted), rtol=1e-6, atol=1e-6)
    assert torch.equal(model(x, hidden, int(hidden[0].sum())), model(x, hidden))


@pytest.mark.parametrize("positions", ["learnable", "sine", "none"])
@pytest.mark.parametrize(("name", "block"), CASES)
def test_nothing_hidden_is_the_encoder_itself(name, block, positions) -> None:
    model, x, _ = built(name, block, positional_embedding=positions)
    outputs = []
    model.encoder.norm.register_forward_hook(lambda module, args, out: outputs.append(out))
    model(x, torch.zeros(3, model.num_blocks, dtype=torch.bool))
    (got,), prefix = outputs, model.encoder.num_prefix_tokens
    wanted = model.encoder.forward_features(x)
    torch.testing.assert_close(got[:, :prefix], wanted[:, :prefix], rtol=1e-4, atol=1e-5)
    rows = model.encoder.tokenizer.grid_size(32, 32)[0]
    side = model.block * rows // 32  # of a block, tokens
    pattern = "n (i y j x) d -> n (i j y x) d"
    by_block = rearrange(wanted[:, prefix:], pattern, y=side, x=side, i=rows // side)
    torch.testing.assert_close(got[:, prefix:], by_block, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("name", "block"), CASES)
def test_hidden_pixels_are_seen_by_nobody_and_visible_ones_are(name, block, size) -> None:
    model, x, hidden = built(name, block, size)
    before, other = model(x, hidden), torch.randn(x.shape, generator=generator(3)) * 10
    for picture in range(3):
        for number, (row, column) in enumerate(corners(size, block)):
            box = picture, slice(None), slice(row, row + block), slice(column, column + block)
            if hidden[picture, number]:
                x[box] = other[box]
    assert torch.equal(model(x, hidden), before)
    shown = int(hidden[0].byte().argmin())  # one of the first picture's visible blocks
    row, column = corners(size, block)[shown]
    x[0, :, row, column] += 1
    after = model(x, hidden)
    assert not torch.equal(after[0], before[0])
    assert torch.equal(after[1:], before[1:])


def test_the_encoder_is_given_the_visible_tokens_alone() -> None:
    model, x, hidden = built("vit_lite_2_4", 8)
    shapes = []
    model.encoder.blocks[0].register_forward_hook(lambda m, args, out: shapes.append(out.shape))
    model(x, hidden)  # 6 of 16 blocks are left, of 4 tokens each
    assert shapes == [(3, 1 + 6 * 4, 128)]


def test_layers_are_recomputed_where_the_encoder_is_asked_to() -> None:
    model, x, hidden = built("vit_lite_2_4", 8)
    calls: list[int] = []
    model.encoder.blocks[0].attn.register_forward_hook(lambda *args: calls.append(1))
    for enable, expected in ((False, 1), (True, 2)):
        model.encoder.set_grad_checkpointing(enable)
        calls.clear()
        model.loss(model(x, hidden), x, hidden).sum().backward()
        assert len(calls) == expected


@pytest.mark.parametrize("ratio", [0.01, 0.5, 0.7, 0.75, 0.9, 0.99])
@pytest.mark.parametrize(("size", "blocks"), [((32, 32), 16), ((8, 24), 3), ((8, 16), 2)])
def test_draws_hide_as_many_as_asked(ratio, size, blocks) -> None:
    model = MaskedAutoencoder(create_model("cct_2_3x2", img_size=size), block=8)
    hidden = model.draw(50, ratio, generator())
    assert (hidden.dtype, hidden.shape) == (torch.bool, (50, blocks))
    wanted = max(1, min(blocks - 1, round(ratio * blocks)))
    assert hidden.sum(1).tolist() == [wanted] * 50 == [model.num_hidden(ratio)] * 50


def test_every_choice_of_blocks_is_equally_likely() -> None:
    model = MaskedAutoencoder(create_model("cct_2_3x2", img_size=(16, 24)), block=8)
    drawn = [tuple(row) for row in model.draw(3000, 1 / 3, generator(4)).tolist()]
    wanted = [row for row in itertools.product((False, True), repeat=6) if sum(row) == 2]
    counts = [drawn.count(row) for row in wanted]
    assert sum(counts) == 3000
    assert chisquare(counts).pvalue > 0.001
    first, again, other = (model.draw(20, 0.5, generator(seed)) for seed in (7, 7, 8))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("size", SIZES)
def test_targets_are_the_blocks_standardised(size, channels) -> None:
    model, x, _ = built("cct_2_3x2", 8, size, in_chans=channels)
    got = model.targets(x)
    assert got.shape == (3, size[0] * size[1] // 64, 64 * channels)
    torch.testing.assert_close(got.mean(2), torch.zeros(got.shape[:2]), atol=1e-5, rtol=0)
    torch.testing.assert_close(got.var(2, correction=0), torch.ones(got.shape[:2]))
    for number, (row, column) in enumerate(corners(size, 8)):
        block = x[:, :, row : row + 8, column : column + 8]
        mean = block.mean((1, 2, 3), keepdim=True)
        std = block.std((1, 2, 3), keepdim=True, correction=0)
        wanted = rearrange((block - mean) / std, "n c y x -> n (y x c)")
        torch.testing.assert_close(got[:, number], wanted, rtol=1e-4, atol=1e-5)
    pixels = rearrange(x, "n c (i y) (j x) -> n (i j) (c y x)", y=8, x=8)
    mean, std = pixels.mean(2, keepdim=True), pixels.std(2, keepdim=True, correction=0)
    pattern = "n (i j) (y x c) -> n c (i y) (j x)"
    picture = rearrange(got * std + mean, pattern, i=size[0] // 8, y=8, x=8)
    torch.testing.assert_close(picture, x, rtol=1e-4, atol=1e-5)


def test_blocks_of_one_value_ask_for_zeros_and_of_one_colour_for_it() -> None:
    model, x, _ = built("cct_2_3x2", 4)
    assert (model.targets(torch.full_like(x, -0.4242)).abs() < 1e-3).all()
    colour = torch.tensor([1.0, 2.0, 6.0])
    wanted = (colour - 3) / (14 / 3) ** 0.5  # of mean 3 and variance (4 + 1 + 9) / 3
    got = model.targets(colour.view(1, 3, 1, 1).expand_as(x))
    torch.testing.assert_close(got, wanted.repeat(got.shape[2] // 3).expand_as(got))


def test_loss_by_hand() -> None:
    """Two pictures of two blocks: errors in visible blocks do not count."""
    encoder = create_model("cvt_2_4", img_size=(4, 8), in_chans=1)
    model = MaskedAutoencoder(encoder, block=4)
    x = torch.tensor([1.0, -1.0] * 8).expand(2, 1, 2, 16).reshape(2, 1, 4, 8)
    x = x * 3 + 5  # of mean 5 and deviation 3: the targets are 1 and -1
    predicted = torch.zeros(2, 2, 16)
    predicted[0, 0] = 7.0  # hidden: errors 6 and 8, in the mean (36 + 64) / 2
    predicted[0, 1] = 100.0
    predicted[1, 1, :4] = torch.tensor([1.0, -1.0, 1.0, -1.0])  # 12 of 16 are wrong by 1
    hidden = torch.tensor([[True, False], [False, True]])
    torch.testing.assert_close(model.loss(predicted, x, hidden), torch.tensor([50.0, 0.75]))
    both = model.loss(predicted, x, torch.ones(2, 2, dtype=torch.bool))
    torch.testing.assert_close(both[1], torch.tensor((0.75 + 1) / 2))


def test_the_loss_of_half_precision_is_float32s() -> None:
    model, x, hidden = built("cct_2_3x2")
    x, predicted = x.bfloat16(), model(x, hidden).bfloat16()
    got = model.loss(predicted, x, hidden)
    assert got.dtype == torch.float32
    assert torch.equal(got, model.loss(predicted.float(), x.float(), hidden))
    assert model.loss(predicted.double(), x.double(), hidden).dtype == torch.float64


@pytest.mark.parametrize(("name", "block"), CASES)
def test_gradients_reach_all_but_what_is_for_answers(name, block) -> None:
    model, x, hidden = built(name, block)
    model.loss(model(x, hidden), x, hidden).mean().backward()
    for parameter_name, parameter in model.named_parameters():
        if parameter_name.startswith(("encoder.pool", "encoder.head")):
            assert parameter.grad is None
        elif parameter_name == "decoder_positions.table":
            assert not parameter.requires_grad
        else:
            assert parameter.grad.abs().max() > 0, parameter_name


def test_the_loss_of_visible_blocks_moves_nothing() -> None:
    model, x, hidden = built("cct_2_3x2")
    predicted = model(x, hidden).detach().requires_grad_()
    model.loss(predicted, x, hidden).sum().backward()
    assert torch.equal((predicted.grad != 0).any(2), hidden)


@pytest.mark.parametrize(
    ("name", "block", "dim", "depth"),
    [("cct_2_3x2", 4, 128, 1), ("cct_6_3x1", 4, 64, 2), ("vit_lite_2_8", 16, 96, 3)],
)
def test_parameters_of_the_decoder_by_hand(name, block, dim, depth) -> None:
    encoder = create_model(name)
    model = MaskedAutoencoder(encoder, block=block, decoder_dim=dim, decoder_depth=depth)
    tokens = {"cct_2_3x2": 1, "cct_6_3x1": 4, "vit_lite_2_8": 4}[name]
    layer = 4 * dim + 3 * dim * dim + (dim * dim + dim)  # two norms, qkv, projection
    layer += (dim * 4 * dim + 4 * dim) + (4 * dim * dim + dim)  # MLP of four times the width
    blocks, pixels = (32 // block) ** 2, block * block * 3
    wanted = (tokens * encoder.embed_dim * dim + dim) + dim + blocks * dim  # embed, mask, positions
    wanted += depth * layer + 2 * dim + (dim * pixels + pixels)
    counts = {n: p.numel() for n, p in model.named_parameters() if not n.startswith("encoder.")}
    assert sum(counts.values()) == wanted
    assert {layer.attn.num_heads for layer in model.decoder_blocks} == {dim // 32}
    assert sum(p.numel() for p in model.encoder.parameters()) == sum(
        p.numel() for p in create_model(name).parameters()
    )


@pytest.mark.parametrize("name", ["cct_2_3x2", "vit_lite_2_4"])
def test_it_learns_what_is_hidden(name) -> None:
    encoder = create_model(name, img_size=16, attention_dropout=0.0, drop_path=0.0)
    model = MaskedAutoencoder(encoder)
    x = torch.randn(8, 3, 4, 4, generator=generator(5))
    x = F.interpolate(x, size=16, mode="bicubic")
    hidden = model.draw(8, 0.5, generator(6))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(50):
        optimizer.zero_grad()
        loss = model.loss(model(x, hidden), x, hidden).mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert 0.8 < losses[0] < 1.3  # the targets' variance is 1, and little is said at first
    assert losses[-1] < losses[0] / 2


def test_bfloat16_autocast(build) -> None:
    encoder = build()
    model = MaskedAutoencoder(encoder, block=8).eval()
    x = torch.randn(4, 3, 32, 32, generator=generator(1))
    hidden = model.draw(4, 0.75, generator(2))
    with torch.autocast("cpu", torch.bfloat16):
        predicted = model(x, hidden)
    torch.testing.assert_close(predicted.float(), model(x, hidden), atol=0.05, rtol=0.05)
    model.loss(predicted, x, hidden).mean().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


def test_the_encoder_fits_a_new_model_strictly(build, positions) -> None:
    trained = build(positional_embedding=positions)
    model = MaskedAutoencoder(trained, block=8)
    state = {
        name.removeprefix("encoder."): value
        for name, value in model.state_dict().items()
        if name.startswith("encoder.")
    }
    assert state.keys() == model.encoder.state_dict().keys()
    fresh, x = build(positional_embedding=positions).eval(), torch.randn(2, 3, 32, 32)
    assert not torch.equal(fresh(x), trained.eval()(x))
    fresh.load_state_dict(state, strict=True)
    assert torch.equal(fresh(x), trained(x))


def test_making_it_changes_nothing_of_the_encoder(build) -> None:
    encoder = build()
    before = copy.deepcopy(encoder.state_dict())
    model = MaskedAutoencoder(encoder, block=8)
    assert model.encoder is encoder
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())


def test_what_training_asks_of_a_model(build, positions) -> None:
    encoder = build(positional_embedding=positions, in_chans=1, num_classes=7)
    model = MaskedAutoencoder(encoder, block=8)
    assert (model.config, model.in_chans, model.num_classes) == (encoder.config, 1, 7)
    names = model.no_weight_decay()
    assert names == {"mask_token"} | {f"encoder.{name}" for name in encoder.no_weight_decay()}
    trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
    assert names - trained.keys() <= {"encoder.positions.table"}  # where it is fixed
    rest = {n for n, p in trained.items() if p.dim() > 1 and n not in names}
    assert all(name.endswith("weight") for name in rest)


def test_no_value_is_waited_for(build, positions) -> None:
    """The device "meta" has no values: to ask for one fails, and so does another device's."""
    with torch.device("meta"):
        model = MaskedAutoencoder(build(positional_embedding=positions), block=8)
        hidden = torch.zeros(4, 16, dtype=torch.bool)
        x = torch.zeros(4, 3, 32, 32)
        predicted = model(x, hidden, 12)
        assert predicted.shape == (4, 16, 192)
        assert model.loss(predicted, x, hidden).shape == (4,)


def test_it_compiles_without_a_break(build) -> None:
    torch.compiler.reset()  # its limit of recompilations counts for the class, not for the model
    model = MaskedAutoencoder(build(), block=8).eval()
    x, hidden = torch.randn(4, 3, 32, 32), model.draw(4, 0.75, generator())
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x, hidden, 12), model(x, hidden))


def test_its_state_is_whole(build) -> None:
    """Built without data and filled from a state, it is the same: nothing is kept elsewhere."""
    model = MaskedAutoencoder(build(), block=8)
    with torch.device("meta"):
        other = MaskedAutoencoder(build(), block=8)
    other.to_empty(device="cpu").load_state_dict(model.state_dict())
    x, hidden = torch.randn(2, 3, 32, 32), model.draw(2, 0.5, generator())
    assert torch.equal(other.eval()(x, hidden), model.eval()(x, hidden))


def small(**options) -> CompactTransformer:
    return create_model("cct_2_3x2", **options)


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (
            lambda: MaskedAutoencoder(create_model("mlp_naive")),
            "encoder must be a compact transformer, got a Baseline: choose a vit_lite, cvt or cct",
        ),
        (
            lambda: MaskedAutoencoder(small(), block=6),
            "block must divide the 32x32 pixels into whole tokens of 4: one of 4, 8, 16, got 6",
        ),
        (
            lambda: MaskedAutoencoder(small(), block=2),
            "block must divide the 32x32 pixels into whole tokens of 4: one of 4, 8, 16, got 2",
        ),
        (lambda: MaskedAutoencoder(small(), block=32), "one of 4, 8, 16, got 32"),
        (lambda: MaskedAutoencoder(small(), block=4.0), "one of 4, 8, 16, got 4.0"),
        (
            lambda: MaskedAutoencoder(small(img_size=(48, 24)), block=16),
            "block must divide the 48x24 pixels into whole tokens of 4: one of 4, 8, 12, 24, "
            "got 16",
        ),
        (
            lambda: MaskedAutoencoder(small(img_size=30)),
            "a masked autoencoder needs two tokens or more that divide the picture evenly, got "
            "8x8 of 30x30 pixels: change img_size or the model",
        ),
        (lambda: MaskedAutoencoder(create_model("cct_2_4x1")), "got 17x17 of 32x32 pixels"),
        (lambda: MaskedAutoencoder(create_model("cvt_2_16", img_size=16)), "got 1x1 of 16x16"),
        (
            lambda: MaskedAutoencoder(small(), decoder_dim=100),
            "decoder_dim must be a multiple of 32, the channels of a head, got 100",
        ),
        (lambda: MaskedAutoencoder(small(), decoder_dim=0), "multiple of 32"),
        (
            lambda: MaskedAutoencoder(small(), decoder_depth=0),
            "decoder_depth must be a whole number of at least 1, got 0",
        ),
        (
            lambda: MaskedAutoencoder(small()).draw(4, 1.0, generator()),
            "ratio must be a number between 0 and 1, got 1.0",
        ),
        (lambda: MaskedAutoencoder(small()).num_hidden(float("nan")), "between 0 and 1, got nan"),
        (
            lambda: MaskedAutoencoder(small())(torch.zeros(2, 3, 48, 32), torch.zeros(2, 96) > 1),
            "x must be [B, 3, 32, 32], got [2, 3, 48, 32]",
        ),
        (
            lambda: MaskedAutoencoder(small())(torch.zeros(2, 3, 32, 32), torch.zeros(2, 16)),
            "hidden must be bool [2, 64], got float32 [2, 16]",
        ),
        (
            lambda: MaskedAutoencoder(small(), block=16)(
                torch.zeros(2, 3, 32, 32),
                torch.tensor([[True] * 2 + [False] * 2, [True] * 3 + [False]]),
            ),
            "hidden must hide the same number of blocks in every picture, and not all, "
            "got 2 to 3 of 4",
        ),
        (
            lambda: MaskedAutoencoder(small(), block=16)(
                torch.zeros(2, 3, 32, 32), torch.ones(2, 4, dtype=torch.bool)
            ),
            "and not all, got 4 to 4 of 4",
        ),
    ],
)
def test_wrong_use_is_told_in_one_line(ask, words) -> None:
    with pytest.raises(UsageError) as caught:
        ask()
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_rebuilt_pictures_by_hand() -> None:
    """What is visible stays; a hidden block is what was told, with the block's own statistics."""
    module = MaskedAutoencoder(create_model("vit_lite_2_4", img_size=(8, 12)), block=4)
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(2, 3, 8, 12, generator=generator)
    hidden = module.draw(2, 0.5, generator)
    predicted = torch.randn(2, 6, 48, generator=generator)
    found = module.rebuilt(predicted, x, hidden)
    for picture in range(2):
        for block in range(6):
            row, column = 4 * (block // 3), 4 * (block % 3)
            true = x[picture, :, row : row + 4, column : column + 4]
            if hidden[picture, block]:
                told = predicted[picture, block].view(4, 4, 3).permute(2, 0, 1)
                wanted = told * (true.var(correction=0) + 1e-6).sqrt() + true.mean()
            else:
                wanted = true
            got = found[picture, :, row : row + 4, column : column + 4]
            assert torch.allclose(got, wanted, atol=1e-5)
    exact = module.rebuilt(module.targets(x), x, hidden)
    assert torch.allclose(exact, x, atol=1e-4)
