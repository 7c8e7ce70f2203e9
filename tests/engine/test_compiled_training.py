"""Operations of training in the compiled library against float64, dropout included."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from rankwright.engine import compiled_training as ct
from rankwright.engine.dropout import draw_threshold
from rankwright.engine.layout import Fit, Layout, make_layout
from rankwright.engine.native import library
from rankwright.engine.native.choice import compiling
from rankwright.engine.trained_attention import TrainedHeads

pytestmark = pytest.mark.skipif(
    library.unavailable() is not None, reason=f"the compiled library: {library.unavailable()}"
)
CPU = torch.device("cpu")
LENGTHS = np.array([3, 17, 1, 200, 16, 8, 7, 17])
SEED = 11


@pytest.fixture(autouse=True)
def _compiled() -> Iterator[None]:
    with compiling(32):
        yield


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def random_bytes(seed: int, stream: int, count: int) -> NDArray[np.uint8]:
    """What random.h gives: NumPy's integers in place of vectors."""
    a = np.full(4, seed, np.uint64)
    b = np.full(4, stream, np.uint64)
    c, n = np.arange(1, 5, dtype=np.uint64), np.uint64(1)
    words = []
    shifts = [np.uint64(s) for s in (11, 3, 24, 40)]
    for _ in range(12 + -(-count // 32)):
        word = a + b + n
        n += np.uint64(1)
        a, b = b ^ (b >> shifts[0]), c + (c << shifts[1])
        c = ((c << shifts[2]) | (c >> shifts[3])) + word
        words.append(word)
    return np.concatenate(words[12:]).view(np.uint8)[:count]


def drawn(p: float) -> tuple[int, int]:
    """Seed and threshold of the next call."""
    state = torch.get_rng_state()
    seed, threshold = draw_threshold(p)
    torch.set_rng_state(state)
    return seed, threshold


def attention_masks(layout: Layout, heads: TrainedHeads) -> list[Tensor]:
    """Of each pair, in sorted order, which weights are kept: ``(H, queries, keys)``."""
    masks = []
    seed, threshold = drawn(heads.dropout) if heads.dropout else (0, 0)
    for pair, length in enumerate(layout.pairs[1].tolist()):
        asking = 1 if heads.first_only else length
        kept = np.ones((heads.count, asking, length), bool)
        for head in range(heads.count):
            for begin in range(0, asking, 16):
                stream = ((pair * heads.count + head) << 24) + begin
                found = random_bytes(seed, stream, 16 * length).reshape(length, 16)
                rows = min(16, asking - begin)
                kept[head, begin : begin + rows] = (found >= threshold).T[:rows]
        masks.append(torch.from_numpy(kept))
    return masks


def plain_attention(
    qkv: Tensor, layout: Layout, heads: TrainedHeads, masks: list[Tensor]
) -> Tensor:
    """Pair by pair, in qkv's type."""
    outs = []
    for start, length, kept in zip(*(x.tolist() for x in layout.pairs), masks, strict=True):
        block = qkv[start : start + length].view(length, 3, heads.count, heads.size)
        q, k, v = block.permute(1, 2, 0, 3)
        q = q[:, :1] if heads.first_only else q
        weights = (q @ k.transpose(1, 2) * heads.size**-0.5).softmax(-1) * kept * heads.kept
        outs.append((weights @ v).transpose(0, 1).reshape(-1, heads.count * heads.size))
    return torch.cat(outs)


def filled(layout: Layout) -> Tensor:
    """The slots that hold tokens, pair by pair in sorted order."""
    return torch.cat([torch.arange(s, s + n) for s, n in zip(*layout.pairs, strict=True)])


@pytest.mark.parametrize("fit", [Fit(tight=0), Fit(round_widths=True, round_totals=True)])
@pytest.mark.parametrize("first_only", [False, True])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("size", [8, 24, 32])
def test_attention_and_its_gradient(size: int, dropout: float, first_only: bool, fit: Fit) -> None:
    heads = TrainedHeads(3, size, dropout, first_only)
    assert ct.attends_compiled(torch.float32, CPU, heads)
    layout = make_layout(LENGTHS, fit)
    qkv = torch.randn(len(layout.source), 9 * size, requires_grad=True)
    torch.manual_seed(SEED)
    masks = attention_masks(layout, heads)
    found = ct.attend_compiled(qkv, layout, heads)
    wide = qkv.detach().double().requires_grad_()
    wanted = plain_attention(wide, layout, heads, masks)
    rows = torch.arange(len(LENGTHS)) if first_only else filled(layout)
    torch.testing.assert_close(found[rows].double(), wanted, atol=2e-6, rtol=1e-5)
    gradient = torch.randn_like(found)
    found.backward(gradient)
    wanted.backward(gradient[rows].double())
    assert qkv.grad is not None
    assert wide.grad is not None
    torch.testing.assert_close(qkv.grad.double(), wide.grad, atol=5e-6, rtol=1e-5)


def test_slots_that_no_pair_fills_are_zero() -> None:
    heads = TrainedHeads(2, 8, 0.1, first_only=False)
    layout = make_layout(LENGTHS, Fit(round_widths=True, round_totals=True))
    assert layout.padding is not None
    qkv = torch.full((len(layout.source), 48), torch.nan)
    qkv[filled(layout)] = torch.randn(int(LENGTHS.sum()), 48)
    qkv.requires_grad_()
    out = ct.attend_compiled(qkv, layout, heads)
    assert torch.equal(out[layout.padding], torch.zeros_like(out[layout.padding]))
    out.sum().backward()
    assert qkv.grad is not None
    assert bool(qkv.grad.isfinite().all())
    assert not qkv.grad[layout.padding].any()


def normed(norm: nn.LayerNorm, x: Tensor, y: Tensor, kept: Tensor, p: float) -> Tensor:
    return F.layer_norm(
        x + y * kept / (1 - p),
        norm.normalized_shape,
        norm.weight.double(),
        None if norm.bias is None else norm.bias.double(),
        norm.eps,
    )


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("p", [0.0, 0.25])
@pytest.mark.parametrize(("rows", "width"), [(1, 8), (70, 40), (300, 96), (1500, 16)])
def test_residual_and_norm_with_their_gradients(
    rows: int, width: int, p: float, bias: bool
) -> None:
    norm = nn.LayerNorm(width, eps=1e-5, bias=bias)
    for parameter in norm.parameters():
        nn.init.normal_(parameter)
    x, y = (torch.randn(rows, width, requires_grad=True) for _ in range(2))
    assert ct.adds_compiled(x, p, norm)
    torch.manual_seed(SEED)
    kept = torch.ones(rows, width, dtype=torch.bool)
    if p:
        seed, threshold = drawn(p)
        for row in range(rows):
            kept[row] = torch.from_numpy(random_bytes(seed, row, width) >= threshold)
    found = ct.add_norm_compiled(x, y, p, norm)
    other = nn.LayerNorm(width, eps=1e-5, bias=bias).double()
    other.load_state_dict(norm.state_dict())
    wide = [t.detach().double().requires_grad_() for t in (x, y)]
    wanted = normed(other, *wide, kept, p)
    torch.testing.assert_close(found.double(), wanted, atol=5e-6, rtol=1e-5)
    gradient = torch.randn_like(found)
    found.backward(gradient)
    wanted.backward(gradient.double())
    pairs = zip((x, y, *norm.parameters()), (*wide, *other.parameters()), strict=True)
    for one, two in pairs:
        assert one.grad is not None
        assert two.grad is not None
        scale = float(two.grad.abs().max())
        torch.testing.assert_close(one.grad.double(), two.grad, atol=5e-6 * scale, rtol=1e-5)


@pytest.mark.parametrize("activation", [nn.GELU(), nn.GELU("tanh"), nn.ReLU()])
def test_activations_and_their_slopes(activation: Any) -> None:
    x = torch.cat(
        [torch.linspace(-12, 12, 40_001), torch.tensor([-80.0, -1e-30, 0, 1e-8, 1e4, 90, 1])]
    )
    x = x.view(-1, 8).requires_grad_()
    assert ct.activates_compiled(x, activation)
    found = ct.activate_compiled(x, activation)
    wide = x.detach().double().requires_grad_()
    wanted = activation(wide)
    torch.testing.assert_close(found.double(), wanted, atol=1e-6, rtol=1e-6)
    found.sum().backward()
    wanted.sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad.double(), wide.grad, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9, 0.003])
def test_dropout_has_its_probability_everywhere(p: float) -> None:
    """Over draws, and by position within a row, a byte and a vector."""
    norm = nn.LayerNorm(64, elementwise_affine=True)
    x = torch.zeros(2000, 64)
    y = torch.ones(2000, 64, requires_grad=True)
    dropped = torch.zeros(2000, 64)
    draws = 20
    for _ in range(draws):
        out = ct.add_norm_compiled(x, y, p, norm)
        (gradient,) = torch.autograd.grad(out, y, torch.randn_like(out))
        dropped += gradient == 0
    rest = p * 256 % 1
    thresholds = rest * (1 - rest) / 256**2 / draws  # variance of the mean threshold's share
    total = draws * dropped.numel()
    assert abs(float(dropped.sum()) / total - p) < 4.5 * (p * (1 - p) / total + thresholds) ** 0.5
    by_column = dropped.sum(0) / (draws * 2000)
    allowed = 4.5 * (p * (1 - p) / (draws * 2000) + thresholds) ** 0.5
    assert float((by_column - p).abs().max()) < allowed
    # Neighbours in a row, and the same place in two rows, know nothing of each other.
    one = (dropped - dropped.mean()) / dropped.std()
    for first, second in (
        (one[:, :-1], one[:, 1:]),
        (one[:-1], one[1:]),
        (one[:, :-32], one[:, 32:]),
    ):
        assert abs(float((first * second).mean())) < 4.5 / first.numel() ** 0.5


def test_the_mean_is_kept_where_a_draw_drops_nothing() -> None:
    """Of a byte's 256 values, a small probability drops one or none."""
    norm = nn.LayerNorm(8, elementwise_affine=True)
    x, y = torch.zeros(1, 8), torch.randn(1, 8, requires_grad=True)
    p = 0.001
    seed = next(s for s in range(100) if torch.manual_seed(s) and drawn(p)[1] == 0)
    torch.manual_seed(seed)
    out = ct.add_norm_compiled(x, y, p, norm)
    (gradient,) = torch.autograd.grad(out, y, torch.randn_like(out))
    torch.manual_seed(seed)
    assert drawn(p)[1] == 0
    out = ct.add_norm_compiled(x.requires_grad_(), y, p, norm)
    gx, gy = torch.autograd.grad(out[0, 0], (x, y))
    torch.testing.assert_close(gy, gx / (1 - p))
    assert gradient.any()


def test_seeds_decide_what_is_dropped() -> None:
    heads = TrainedHeads(2, 8, 0.5, first_only=False)
    layout = make_layout(LENGTHS, Fit(tight=0))
    qkv = torch.randn(len(layout.source), 48)

    def run(seed: int) -> Tensor:
        torch.manual_seed(seed)
        return ct.attend_compiled(qkv, layout, heads)

    assert torch.equal(run(1), run(1))
    assert not torch.equal(run(1), run(2))


def test_an_openmp_library_that_is_none_changes_nothing(tmp_path: Path) -> None:
    library.share_team(tmp_path / "libgomp.so.1")
    (tmp_path / "libgomp.so.1").write_bytes(b"nothing")
    library.share_team(tmp_path / "libgomp.so.1")
    x = torch.randn(8, 8)
    assert torch.equal(ct.activate_compiled(x, nn.ReLU()), x.relu())


@pytest.mark.parametrize("team", [True, False])
def test_the_number_of_threads_changes_no_bit(threads: Callable[[int], None], team: bool) -> None:
    """In PyTorch's threads, and in threads of its own."""
    heads = TrainedHeads(4, 8, 0.1, first_only=False)
    layout = make_layout(LENGTHS, Fit(tight=0))
    qkv = torch.randn(len(layout.source), 96, requires_grad=True)
    y = torch.randn(500, 96, requires_grad=True)
    norm = nn.LayerNorm(96)
    seen = []
    ct._library()
    if not team:
        library.library().rw_use_team(None)
    try:
        for count in (1, 2, 7):
            threads(count)
            torch.manual_seed(5)
            out = ct.attend_compiled(qkv, layout, heads)
            sums = ct.add_norm_compiled(torch.zeros_like(y), y, 0.1, norm)
            loss = out.pow(2).sum() + ct.activate_compiled(sums, nn.GELU()).sum()
            seen.append(torch.autograd.grad(loss, (qkv, y, norm.weight, norm.bias)))
    finally:
        ct._library.cache_clear()  # which gives the library its team again
    for other in seen[1:]:
        assert all(torch.equal(a, b) for a, b in zip(seen[0], other, strict=True))


@pytest.mark.parametrize(
    ("rows", "inputs", "outputs"),
    [(1, 16, 16), (7, 48, 16), (50, 96, 400), (131, 1600, 48), (48, 32, 784), (20, 3200, 16)],
)
@pytest.mark.parametrize("bias", [True, False])
def test_products_of_a_linear_layer(
    rows: int, inputs: int, outputs: int, bias: bool, threads: Callable[[int], None]
) -> None:
    x, weight = torch.randn(rows, inputs), torch.randn(outputs, inputs)
    added = torch.randn(outputs) if bias else None
    gradient = torch.randn(rows, outputs)
    wanted = x.double() @ weight.double().t() + (0 if added is None else added.double())
    back = gradient.double() @ weight.double()
    results = []
    for count in (1, 2, 5):
        threads(count)
        found = ct.linear_compiled(x, weight, added)
        found_back = ct.linear_compiled_back(gradient, weight)
        torch.testing.assert_close(found.double(), wanted, atol=1e-5 * inputs**0.5, rtol=1e-5)
        torch.testing.assert_close(found_back.double(), back, atol=1e-5 * outputs**0.5, rtol=1e-5)
        results.append((found, found_back))
    for one in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(one, results[0], strict=True))
    # What is not contiguous is read as it is meant.
    torch.testing.assert_close(ct.linear_compiled(x, weight.t().contiguous().t(), added), found)


def test_what_it_cannot_do_stays_with_pytorch() -> None:
    def attends(dtype: torch.dtype = torch.float32, size: int = 8, p: float = 0.1) -> bool:
        return ct.attends_compiled(dtype, CPU, TrainedHeads(2, size, p, first_only=False))

    assert attends()
    assert not attends(torch.bfloat16)
    assert not attends(size=12)
    assert not attends(p=0.995)
    assert not ct.attends_compiled(
        torch.float32, torch.device("meta"), TrainedHeads(2, 8, 0, False)
    )
    x, norm = torch.randn(2, 8), nn.LayerNorm(8)
    assert ct.adds_compiled(x, 0.1, norm)
    assert not ct.adds_compiled(x.double(), 0.1, norm)
    assert not ct.adds_compiled(x, 0.1, norm.double())
    assert not ct.adds_compiled(x, 0.1, nn.LayerNorm(8, elementwise_affine=False))
    assert not ct.adds_compiled(torch.randn(2, 12), 0.1, nn.LayerNorm(12))
    many, weight = torch.randn(128, 32), torch.randn(16, 32)
    assert ct.multiplies_compiled(many, weight)
    assert not ct.multiplies_compiled(many[1:], weight)
    assert not ct.multiplies_compiled(many, torch.randn(1, 32))
    assert not ct.multiplies_compiled(torch.randn(128, 8), torch.randn(16, 8))
    assert not ct.multiplies_compiled(many, weight.bfloat16())
    assert ct.activates_compiled(x, nn.GELU())
    assert not ct.activates_compiled(x, nn.SiLU())
    with compiling(0):
        assert not attends()
        assert not ct.adds_compiled(x, 0.1, nn.LayerNorm(8))
        assert not ct.activates_compiled(x, nn.GELU())


def test_a_second_derivative_is_refused() -> None:
    x, weight = (torch.randn(2, 8, requires_grad=True) for _ in range(2))
    out = ct.activate_compiled(x, nn.GELU()) * weight
    (slope,) = torch.autograd.grad(out.sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        slope.sum().backward()
