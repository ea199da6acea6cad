"""Networks of grids: shapes under any leading dimensions, arithmetic, which inputs a location sees, and what errors say."""

from collections.abc import Callable

import numpy as np
import pytest
from sklearn.datasets import load_digits
import torch
from torch import nn
from torch.func import functional_call
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn.functional import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    conv1d,
    conv2d,
    conv_transpose1d,
    conv_transpose2d,
    cross_entropy,
    one_hot,
)

from pyro_lvm.networks.grids import GridDecoder, GridEncoder, SequenceDecoder, SequenceEncoder
from pyro_lvm.networks.initialize import set_output_bias_

V = 5
NETWORKS = {
    "grid_encoder": lambda: (GridEncoder((2, 8, 12), [6, 4], 3), (2, 8, 12), (2, 3, 3)),
    "grid_encoder_without_channel": lambda: (GridEncoder((6, 4), [4], 2), (6, 4), (3, 2, 2)),
    "grid_decoder": lambda: (GridDecoder((2, 3, 3), [4, 6], (2, 8, 12)), (2, 3, 3), (2, 8, 12)),
    "grid_decoder_without_channel": lambda: (GridDecoder((3, 2, 2), [4], (6, 4)), (3, 2, 2), (6, 4)),
    "grid_decoder_of_parameters": lambda: (GridDecoder((2, 3, 3), [4, 6], (2, 8, 12, 7)), (2, 3, 3), (2, 8, 12, 7)),
    "sequence_encoder": lambda: (SequenceEncoder(12, V, [6, 4], 3), (12,), (3, 3)),
    "sequence_decoder": lambda: (SequenceDecoder((3, 3), [4, 6], (12, V)), (3, 3), (12, V)),
}
DECODERS = [name for name in NETWORKS if "decoder" in name]


def built(name: str) -> tuple[nn.Module, tuple[int, ...], tuple[int, ...]]:
    torch.manual_seed(0)
    network, in_shape, out_shape = NETWORKS[name]()
    return network.double(), in_shape, out_shape


def inputs(network: nn.Module, *lead: int) -> torch.Tensor:
    shape = (*lead, *network.in_shape)
    symbols = isinstance(network, SequenceEncoder)
    return torch.randint(V, shape).double() if symbols else torch.randn(shape, dtype=torch.float64)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("lead", [(), (0,), (4,), (3, 2), (2, 1, 3)], ids=str)
def test_leading_dimensions_hold_independent_inputs(name, lead):
    network, in_shape, out_shape = built(name)
    assert (network.in_shape, network.out_shape) == (in_shape, out_shape)
    x = inputs(network, *lead)
    y = network(x)
    assert y.shape == (*lead, *out_shape)
    torch.testing.assert_close(y, network(x.reshape(-1, *in_shape)).reshape(y.shape), rtol=0, atol=1e-12)
    for index in np.ndindex(*lead):
        torch.testing.assert_close(y[index], network(x[index]), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", NETWORKS)
def test_wrong_input_shapes_are_named(name):
    network, in_shape, _ = built(name)
    with pytest.raises(ValueError, match=r"expects an input of shape \[\*lead.*got \(4,.*7\)\. Reshape"):
        network(torch.zeros(4, *in_shape, 7, dtype=torch.float64))


@pytest.mark.parametrize("name", NETWORKS)
def test_a_traced_gradient_is_that_of_other_inputs_too(name):
    network, _, out_shape = built(name)
    parameters, weights = dict(network.named_parameters()), torch.randn(out_shape, dtype=torch.float64)

    def gradient(parameters, x):
        loss = (weights * functional_call(network, parameters, (x,))).square().sum()
        return torch.autograd.grad(loss, list(parameters.values()))

    first, second = inputs(network, 2, 3), inputs(network, 2, 3)
    traced, expected = make_fx(gradient)(parameters, first)(parameters, second), gradient(parameters, second)
    assert not torch.equal(first, second)
    torch.testing.assert_close(traced, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", NETWORKS)
def test_training_and_evaluation_are_one_function(name):
    network, _, _ = built(name)
    x, before = inputs(network, 4), {key: value.clone() for key, value in network.state_dict().items()}
    assert torch.equal(network.train()(x), network.eval()(x))
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def kernels(network: nn.Module) -> list[tuple[torch.Tensor, torch.Tensor | None]]:
    """Weights and biases of the layers, in order."""
    return [(layer.weight, getattr(layer, "bias", None)) for layer in network.modules() if hasattr(layer, "weight")]


def test_a_grid_encoder_is_two_halvings_a_residual_block_and_a_convolution_of_width_one():
    network = GridEncoder((2, 8, 12), [6, 4], 3).double()
    x, ((w1, b1), (w2, b2), (w3, b3), (w4, b4), (w5, b5)) = inputs(network, 5), kernels(network)
    h = conv2d(conv2d(x, w1, b1, stride=2, padding=1).relu(), w2, b2, stride=2, padding=1)
    h = h + conv2d(conv2d(h.relu(), w3, b3, padding=1).relu(), w4, b4)
    expected = conv2d(h.relu(), w5[:, :, None, None], b5).permute(0, 2, 3, 1)
    torch.testing.assert_close(network(x), expected, rtol=0, atol=1e-12)


def test_a_grid_decoder_is_its_mirror_image_with_parameters_last():
    network = GridDecoder((2, 3, 3), [4, 6], (2, 8, 12, 7)).double()
    y, ((w1, b1), (w2, b2), (w3, b3), (w4, b4), (w5, none)) = inputs(network, 5), kernels(network)
    h = conv2d(y.permute(0, 3, 1, 2), w1[:, :, None, None], b1)
    h = h + conv2d(conv2d(h.relu(), w2, b2, padding=1).relu(), w3, b3)
    h = conv_transpose2d(h.relu(), w4, b4, stride=2, padding=1)
    h = conv_transpose2d(h.relu(), w5, stride=2, padding=1)  # [5, 14, 8, 12]
    expected = torch.stack([h[:, :7], h[:, 7:]], 1).permute(0, 1, 3, 4, 2)
    assert none is None
    torch.testing.assert_close(network(y), expected, rtol=0, atol=1e-12)


def test_a_sequence_encoder_sees_symbols_by_their_embeddings():
    network = SequenceEncoder(12, V, [6, 4], 3).double()
    x, ((w0, _), (w1, b1), (w2, b2), (w3, b3), (w4, b4), (w5, b5)) = inputs(network, 5), kernels(network)
    h = (one_hot(x.long(), V).double() @ w0).mT  # [5, 6, 12]
    h = conv1d(conv1d(h, w1, b1, stride=2, padding=1).relu(), w2, b2, stride=2, padding=1)
    h = h + conv1d(conv1d(h.relu(), w3, b3, padding=1).relu(), w4, b4)
    torch.testing.assert_close(network(x), h.relu().mT @ w5.T + b5, rtol=0, atol=1e-12)
    for dtype in (torch.float32, torch.int64, torch.uint8):
        assert torch.equal(network(x.to(dtype)), network(x))


def test_a_sequence_decoder_is_its_mirror_image():
    network = SequenceDecoder((3, 3), [4, 6], (12, V)).double()
    y, ((w1, b1), (w2, b2), (w3, b3), (w4, b4), (w5, _)) = inputs(network, 5), kernels(network)
    h = (y @ w1.T + b1).mT
    h = h + conv1d(conv1d(h.relu(), w2, b2, padding=1).relu(), w3, b3)
    h = conv_transpose1d(conv_transpose1d(h.relu(), w4, b4, stride=2, padding=1).relu(), w5, stride=2, padding=1)
    torch.testing.assert_close(network(y), h.mT, rtol=0, atol=1e-12)


def seen(location: int, size: int) -> slice:
    """Inputs that a location of two halvings sees: its 4, and 7 before and 7 after, as 4-wide and 3-wide kernels add up."""
    return slice(max(4 * location - 7, 0), min(4 * location + 11, size))


def test_each_location_of_a_grid_sees_its_own_patch_and_its_surroundings():
    torch.manual_seed(0)
    encoder = GridEncoder((1, 40, 32), [16, 16], 4).double()
    x = inputs(encoder).requires_grad_()
    y = encoder(x)
    for i, j in np.ndindex(10, 8):
        (gradient,) = torch.autograd.grad(y[i, j].sum(), x, retain_graph=True)
        expected = torch.zeros(1, 40, 32, dtype=torch.bool)
        expected[:, seen(i, 40), seen(j, 32)] = True
        assert torch.equal(gradient != 0, expected)
        assert expected[0, 4 * i : 4 * i + 4, 4 * j : 4 * j + 4].all()


def test_each_location_of_a_grid_draws_its_own_patch_and_its_surroundings():
    torch.manual_seed(0)
    decoder = GridDecoder((10, 8, 4), [16, 16], (40, 32)).double()
    vectors = inputs(decoder)
    image = decoder(vectors)
    for i, j in np.ndindex(10, 8):
        moved = vectors.clone()
        moved[i, j] += 1
        drawn = torch.zeros(40, 32, dtype=torch.bool)
        drawn[seen(i, 40), seen(j, 32)] = True
        assert torch.equal(decoder(moved) != image, drawn)


def test_each_location_of_a_sequence_sees_and_draws_its_own_symbols_and_their_surroundings():
    torch.manual_seed(0)
    encoder = SequenceEncoder(48, V, [16, 16], 4).double()
    decoder = SequenceDecoder((12, 4), [16, 16], (48, V)).double()
    x, vectors = inputs(encoder), inputs(decoder)
    sees = (encoder((x + torch.eye(48)) % V) - encoder(x)).abs().amax(-1)  # [48, 12]
    draws = (decoder(vectors + torch.eye(12)[:, :, None]) - decoder(vectors)).abs().amax(-1)  # [12, 48]
    expected = torch.zeros(12, 48, dtype=torch.bool)
    for t in range(12):
        expected[t, seen(t, 48)] = True
    for change in (sees.T, draws):  # rounding differs between rows of a batch, by 1e-16
        assert torch.equal(change > 1e-12, expected)


@pytest.mark.parametrize("name", DECODERS)
def test_output_is_its_bias_where_no_weight_is_left(name):
    network, _, out_shape = built(name)
    with torch.no_grad():
        for key, parameter in network.named_parameters():
            parameter.mul_(0.0 if key.endswith("weight") else 1.0)
    bias = torch.randn(out_shape, dtype=torch.float64)
    set_output_bias_(network, bias)
    assert torch.equal(network(inputs(network, 4)), bias.expand(4, *out_shape))


def trained_loss(network: nn.Module, x: torch.Tensor, loss: Callable[[torch.Tensor], torch.Tensor]) -> float:
    optimizer = torch.optim.Adam(network.parameters(), lr=5e-3)
    for _ in range(100):
        optimizer.zero_grad()
        value = loss(network(x))
        value.backward()
        optimizer.step()
    return value.item()


def test_an_autoencoder_of_grids_learns_64_digits_by_heart():
    torch.manual_seed(0)
    x = torch.tensor(load_digits().images[:64] > 8).float()  # [64, 8, 8]
    mean = x.mean(0).expand_as(x)
    decoder = GridDecoder((2, 2, 8), [32, 32], (8, 8))
    set_output_bias_(decoder, mean[0].clamp(0.01, 0.99).logit())
    network = nn.Sequential(GridEncoder((8, 8), [32, 32], 8), decoder)
    loss = trained_loss(network, x, lambda logits: binary_cross_entropy_with_logits(logits, x))
    assert loss < 0.01 < 0.3 < binary_cross_entropy(mean, x)


def test_an_autoencoder_of_sequences_learns_64_words_by_heart():
    torch.manual_seed(0)
    x = torch.randint(V, (64, 8))
    network = nn.Sequential(SequenceEncoder(8, V, [32, 32], 8), SequenceDecoder((2, 8), [32, 32], (8, V)))
    assert trained_loss(network, x, lambda logits: cross_entropy(logits.mT, x)) < 0.01  # guessing costs log 5 = 1.6


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GridEncoder((1, 28, 28), [4] * 3, 2), "3 entries of channels halve it 3 times.*of 8; got 28 by 28.*to 32 by 32"),
        (lambda: GridEncoder((28, 30), [4] * 2, 2), "2 entries of channels.*of 4; got 28 by 30.*to 28 by 32"),
        (lambda: GridEncoder((784,), [4], 2), r"must be \(channels, height, width\).*got \(784,\).*shape=\(1, 28, 28\)"),
        (lambda: GridEncoder((8, 8), [], 2), "channels must have at least one entry.*got none"),
        (lambda: GridEncoder((8, 8), [0], 2), "channels must hold positive sizes; got"),
        (lambda: GridEncoder((8, 8), [4], 0), "vector_dim must hold positive sizes; got 0"),
        (lambda: GridDecoder((7, 7, 2), [4], (28, 28)), r"in_shape must be \(14, 14, d\).*1 entries.*28 by 28; got \(7, 7, 2\)"),
        (lambda: GridDecoder((7, 7), [4, 4], (28, 28)), r"in_shape must be \(7, 7, d\).*got \(7, 7\)"),
        (lambda: GridDecoder((7, 7, 0), [4, 4], (28, 28)), "in_shape must hold positive sizes; got"),
        (lambda: GridDecoder((7, 7, 2), [4, 4], (28, 29)), "out_shape must fit a grid.*got 28 by 29.*to 28 by 32"),
        (lambda: GridDecoder((7, 7, 2), [4, 4], (784,)), r"out_shape must be \(channels, height, width\).*got \(784,\)"),
        (lambda: SequenceEncoder(65, V, [4, 4], 2), "length must fit a grid.*of 4; got 65.*to 68"),
        (lambda: SequenceEncoder(64, 0, [4], 2), "num_symbols must hold positive sizes; got 0"),
        (lambda: SequenceDecoder((16, 2), [4], (64, V)), r"in_shape must be \(32, d\).*to 64; got \(16, 2\)"),
        (lambda: SequenceDecoder((32, 2), [4], (64,)), r"out_shape must be \(length, num_symbols\); got \(64,\)"),
    ],
)
def test_errors_name_what_was_expected_and_got(make, message):
    with pytest.raises(ValueError, match=message):
        make()
