"""Models under the tools that copy, trace, compile and store them."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch.func import functional_call, grad, vmap
from torch.nn.utils import parameters_to_vector

from compact_vit import create_model


def test_save_and_load(build, positions, tmp_path) -> None:
    model, x = build(positional_embedding=positions).eval(), torch.randn(2, 3, 32, 32)
    torch.save(model.state_dict(), tmp_path / "model.pt")
    other = build(positional_embedding=positions).eval()
    assert not torch.equal(other(x), model(x))
    other.load_state_dict(torch.load(tmp_path / "model.pt", weights_only=True))
    assert torch.equal(other(x), model(x))


def test_weights_lie_as_other_tools_expect(build, tmp_path) -> None:
    """One vector of all, L-BFGS, and safetensors take contiguous ones alone."""
    model = build().to(memory_format=torch.contiguous_format)
    assert len(parameters_to_vector(model.parameters())) == sum(
        p.numel() for p in model.parameters()
    )
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    for name, stored in load_file(tmp_path / "model.safetensors").items():
        assert torch.equal(stored, model.state_dict()[name])
    model(torch.randn(2, 3, 32, 32)).square().sum().backward()
    gradients = [p.grad for p in model.parameters()]
    assert parameters_to_vector(gradients).isfinite().all()
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=1)
    optimizer.step(lambda: model(torch.zeros(1, 3, 32, 32)).square().sum())


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_are_equal_and_apart(build, copied) -> None:
    model, x = build().eval(), torch.randn(2, 3, 32, 32)
    other, before = copied(model), model(x)
    assert torch.equal(other(x), before)
    assert other.config == model.config
    for parameter in other.parameters():
        torch.nn.init.zeros_(parameter)
    assert torch.equal(model(x), before)


def test_meta_device(build, positions) -> None:
    with torch.device("meta"):
        model = build(positional_embedding=positions)
        assert all(p.is_meta for p in model.parameters())
        assert model(torch.randn(2, 3, 48, 24)).shape == (2, 10)
    model.to_empty(device="cpu").load_state_dict(build(positional_embedding=positions).state_dict())
    assert model.eval()(torch.randn(1, 3, 32, 32)).isfinite().all()


@pytest.mark.parametrize("size", [(32, 32), (48, 24)])
def test_bfloat16(build, positions, size) -> None:
    model, x = build(positional_embedding=positions).eval(), torch.randn(4, 3, *size)
    expected = model(x)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(model(x).float(), expected, atol=0.05, rtol=0.05)
    out = model.bfloat16()(x.bfloat16())
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out.float(), expected, atol=0.1, rtol=0.1)


def test_autocast_adds_tokens_up_in_float32(build, positions) -> None:
    model, x = build(positional_embedding=positions).eval(), torch.randn(2, 3, 32, 32)
    with torch.autocast("cpu", torch.bfloat16):
        assert model.embed(x).dtype == model.forward_features(x).dtype == torch.float32
    assert model.bfloat16().embed(x.bfloat16()).dtype == torch.bfloat16


def test_bfloat16_trains(build) -> None:
    model = build().bfloat16().train()
    model(torch.randn(4, 3, 32, 32).bfloat16()).square().sum().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())


def test_channels_last(build) -> None:
    model, x = build().eval(), torch.randn(2, 3, 32, 32)
    expected = model(x)
    model = model.to(memory_format=torch.channels_last)
    out = model(x.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(out, expected)


def test_batch_of_one_trains(build) -> None:
    model = build().train()
    model(torch.randn(1, 3, 32, 32)).square().sum().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())


# torch says of its own tracers that they will go
@pytest.mark.filterwarnings("ignore:.*is deprecated", "ignore::torch.jit.TracerWarning")
def test_jit_trace(build, positions) -> None:
    model, x = build(positional_embedding=positions).eval(), torch.randn(2, 3, 32, 32)
    traced = torch.jit.trace(model, x)
    for batch in (1, 5):
        y = torch.randn(batch, 3, 32, 32)
        torch.testing.assert_close(traced(y), model(y))


@pytest.mark.filterwarnings("ignore:.*is deprecated")
def test_jit_script_serves_any_size(build, positions) -> None:
    model = build(positional_embedding=positions).eval()
    scripted = torch.jit.script(model)
    for size in ((32, 32), (48, 24)):
        x = torch.randn(2, 3, *size)
        torch.testing.assert_close(scripted(x), model(x))


def test_export_with_any_batch(build) -> None:
    model, x = build().eval(), torch.randn(2, 3, 32, 32)
    batch = torch.export.Dim("batch")
    program = torch.export.export(model, (x,), dynamic_shapes={"x": {0: batch}}, strict=True)
    for size in (1, 5):
        y = torch.randn(size, 3, 32, 32)
        torch.testing.assert_close(program.module()(y), model(y))


@pytest.mark.parametrize("kind", ["sine", "none"])
def test_export_of_the_other_positions(kind) -> None:
    model = create_model("cct_2_3x2", positional_embedding=kind).eval()
    x = torch.randn(2, 3, 48, 24)  # not the size built for
    program = torch.export.export(model, (x,))
    torch.testing.assert_close(program.module()(x), model(x))


def test_compiles_without_a_break(build) -> None:
    torch.compiler.reset()  # its limit of recompilations counts for the class, not for the model
    model, x = build().eval(), torch.randn(2, 3, 32, 32)
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    for size in (32, 24):
        y = torch.randn(2, 3, size, size)
        torch.testing.assert_close(compiled(y), model(y))
    model.train()
    compiled(x).square().sum().backward()
    assert all(p.grad is not None for p in model.parameters())


def gradients_by_sample(model, x, y, **options):
    """The gradient of every picture's loss, ``[B, ...]`` for each parameter that is trained."""
    trained = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}

    def loss(parameters, picture, label):
        logits = functional_call(model, parameters, (picture[None],))
        return F.cross_entropy(logits, label[None])

    return vmap(grad(loss), in_dims=(None, 0, 0), **options)(trained, x, y)


@pytest.mark.filterwarnings("ignore:There is a performance drop")  # of torch's attention
@pytest.mark.parametrize("training", [False, True])
def test_gradients_by_sample(build, positions, training) -> None:
    model = build(positional_embedding=positions, drop_path=0.0, attention_dropout=0.0)
    model.train(training).tokenizer.eval()  # a batch's norm is of no one sample
    x, y = torch.randn(3, 3, 32, 32), torch.arange(3)
    got = gradients_by_sample(model, x, y)
    for i in range(3):
        model.zero_grad()
        F.cross_entropy(model(x[i : i + 1]), y[i : i + 1]).backward()
        for name, gradients in got.items():
            wanted = model.get_parameter(name).grad
            torch.testing.assert_close(gradients[i], wanted, rtol=1e-4, atol=1e-5)


def test_gradients_by_sample_of_dropped_branches(build) -> None:
    model = build(drop_path=0.5).train()
    model.tokenizer.eval()
    x, y = torch.randn(1, 3, 32, 32).expand(24, -1, -1, -1), torch.zeros(24, dtype=torch.long)
    got = gradients_by_sample(model, x, y, randomness="different")
    learnt = got["blocks.1.attn.proj.bias"].any(dim=1)  # where the branch was not dropped
    assert 2 <= learnt.sum() <= 22
    assert got["blocks.0.attn.proj.bias"].any(dim=1).all()  # of the first layer none is
