"""Networks of vectors and images: shapes under any leading dimensions, the layers' arithmetic, and what errors say."""

import numpy as np
import pytest
import torch
from torch import nn

from pyro_lvm.networks.conv import ConvDecoder, ConvEncoder
from pyro_lvm.networks.initialize import glorot_uniform_, he_normal_, set_output_bias_
from pyro_lvm.networks.mlp import MLP, GatedMLP
from pyro_lvm.networks.network import Join

NETWORKS = {
    "mlp": lambda: MLP((2, 3), [5, 4], (3, 2)),
    "linear": lambda: MLP(6, [], 4),
    "scalar_output": lambda: MLP(6, [5], ()),
    "gated": lambda: GatedMLP(6, [5, 4], (3, 2)),
    "conv_encoder": lambda: ConvEncoder((2, 9, 8), [3, 4], 5),
    "conv_encoder_without_channel": lambda: ConvEncoder((8, 10), [3], (5, 2)),
    "conv_decoder": lambda: ConvDecoder(4, [5, 3], (2, 9, 8)),
    "conv_decoder_without_channel": lambda: ConvDecoder((2, 2), [5, 3], (9, 8)),
    "conv_decoder_of_an_image": lambda: ConvDecoder((5, 4, 4), [5], (2, 9, 8)),
    "conv_decoder_of_parameters": lambda: ConvDecoder(4, [5, 3], (2, 9, 8, 6)),
}


@pytest.fixture(params=NETWORKS)
def network(request):
    torch.manual_seed(0)
    return NETWORKS[request.param]().double()


@pytest.mark.parametrize("lead", [(), (0,), (4,), (3, 2), (2, 1, 3)], ids=str)
def test_leading_dimensions_hold_independent_inputs(network, lead):
    x = torch.randn((*lead, *network.in_shape), dtype=torch.float64)
    y = network(x)
    assert y.shape == lead + network.out_shape
    for index in np.ndindex(*lead):
        torch.testing.assert_close(y[index], network(x[index]), rtol=0, atol=1e-12)


def test_expanded_inputs_are_accepted(network):
    x = torch.randn(2, *network.in_shape, dtype=torch.float64)
    y = network(x.expand(3, *x.shape))
    torch.testing.assert_close(y, network(x).expand_as(y), rtol=0, atol=1e-12)


def test_wrong_input_shapes_are_named(network):
    wrong = torch.zeros(4, *network.in_shape, 7, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"expects an input of shape \[\*lead.*got \(4,.*7\)\. Reshape"):
        network(wrong)


def test_mlp_is_affine_maps_with_activations_between():
    mlp = MLP(3, [4], 2, activation=nn.Tanh).double()
    x, (first, _, last) = torch.randn(5, 3, dtype=torch.float64), mlp.layers
    expected = torch.tanh(x @ first.weight.T + first.bias) @ last.weight.T + last.bias
    torch.testing.assert_close(mlp(x), expected, rtol=0, atol=1e-14)


def test_gated_layer_is_a_product_with_a_sigmoid():
    gated = GatedMLP(3, [4], 2).double()
    x, (first, _, last) = torch.randn(5, 3, dtype=torch.float64), gated.layers
    (w, v), (b, c) = first.weight.chunk(2), first.bias.chunk(2)
    hidden = (x @ w.T + b) * torch.sigmoid(x @ v.T + c)
    torch.testing.assert_close(gated(x), hidden @ last.weight.T + last.bias, rtol=0, atol=1e-14)


@pytest.mark.parametrize("height", range(8, 32))
def test_convolutions_reach_every_pixel_of_any_size(height):
    width = 39 - height
    encoder = ConvEncoder((2, height, width), [3, 4, 5], 3, activation=nn.Tanh)
    decoder = ConvDecoder(3, [5, 4, 3], (2, height, width), activation=nn.Tanh)
    image = torch.randn(1, 2, height, width, requires_grad=True)
    encoder(image).sum().backward()
    assert (image.grad != 0).all()
    assert decoder(torch.randn(2, 3)).diff(dim=0).ne(0).all()


def test_output_is_its_bias_where_no_weight_is_left(network):
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            parameter.mul_(0.0 if name.endswith("weight") else 1.0)
    bias = torch.randn(network.out_shape, dtype=torch.float64)
    set_output_bias_(network, bias)
    z = torch.randn(4, *network.in_shape, dtype=torch.float64)
    torch.testing.assert_close(network(z), bias.expand(4, *network.out_shape), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MLP(8, [0], 4), "hidden must hold positive sizes; got"),
        (lambda: GatedMLP((3, -1), [5], 4), "in_shape must hold positive sizes; got"),
        (lambda: ConvEncoder((1, 7, 28), [4], 3), "at least 8 by 8; got 7 by 28. Use an MLP"),
        (lambda: ConvDecoder(3, [4], (5, 5)), "at least 8 by 8; got 5 by 5. Use an MLP"),
        (lambda: ConvEncoder((1, 8, 28), [4] * 4, 3), "1 to 3 entries.*got 4"),
        (lambda: ConvDecoder(3, [], (8, 28)), "1 to 3 entries.*got 0"),
        (lambda: ConvEncoder((784,), [4], 3), "in_shape must be .channels, height, width.*got .784,."),
        (lambda: ConvDecoder(3, [4], (784,)), "out_shape must be .channels, height, width.*got .784,."),
        (lambda: set_output_bias_(MLP(2, [], 4), torch.zeros(3)), "expects 4 elements.*got a bias of shape"),
        (lambda: set_output_bias_(nn.ReLU(), torch.zeros(3)), "expects a layer with a bias"),
    ],
)
def test_errors_name_what_was_expected_and_got(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("event_dims", [1, 3])
def test_join_broadcasts_leading_dimensions_and_joins_features(event_dims):
    rest = (4, 4)[: event_dims - 1]
    a, b, rows = torch.randn(5, 2, *rest), torch.randn(3, 5, 3, *rest), []
    first = nn.Identity()
    first.register_forward_hook(lambda module, inputs, output: rows.append(output.shape[:-event_dims]))
    joined = Join(first, event_dims=event_dims)(a, b)
    assert joined.shape == (3, 5, 5, *rest) and rows == [(5,)]
    assert torch.equal(joined.narrow(2, 0, 2), a.expand(3, *a.shape)) and torch.equal(joined.narrow(2, 2, 3), b)


def test_join_is_a_network_of_networks():
    first, second, network = nn.Linear(2, 3), nn.Linear(4, 5), nn.Linear(8, 6)
    a, b = torch.randn(7, 2), torch.randn(7, 4)
    expected = network(torch.cat([first(a), second(b)], -1))
    torch.testing.assert_close(Join(first, second, network)(a, b), expected)


def test_a_decoder_of_the_smallest_image_has_no_affine_map():
    decoder = ConvDecoder((5, 4, 4), [5], (2, 8, 8))
    assert not any(isinstance(module, nn.Linear) for module in decoder.modules())


@pytest.mark.parametrize("make", [MLP, GatedMLP])
def test_hes_start_keeps_the_signal_and_the_last_layer(make) -> None:
    torch.manual_seed(0)
    network = make(400, (400,) * 4, 7)
    last = [m for m in network.modules() if isinstance(m, torch.nn.Linear)][-1]
    before, x = last.weight.clone(), torch.randn(500, 400)
    hidden = network.layers[:-1]
    torch_start = hidden(x).square().mean()
    he_normal_(torch.nn.ModuleList([torch.nn.Sequential(network)]))
    assert torch.equal(last.weight, before)
    for layer in [m for m in hidden if isinstance(m, torch.nn.Linear)]:
        assert not layer.bias.any()
        torch.testing.assert_close(layer.weight.var(), torch.tensor(2 / 400), rtol=0.02, atol=0)  # five standard errors
    # rectifiers keep the mean square, gates halve it (less than that, as they are open for large signals);
    # torch's start divides it by 6 or 12
    least = 0.8 if make is MLP else 0.5**4
    assert hidden(x).square().mean() > least > 20 * torch_start


@pytest.mark.parametrize("make", [MLP, GatedMLP])
def test_glorots_start_has_its_variance_and_keeps_the_bias_of_the_output(make) -> None:
    torch.manual_seed(0)
    network = make(300, (200, 300), 100)
    layers = [m for m in network.modules() if isinstance(m, torch.nn.Linear)]
    output_bias = layers[-1].bias.clone()
    glorot_uniform_(torch.nn.ModuleList([torch.nn.Sequential(network)]))
    assert torch.equal(layers[-1].bias, output_bias)
    assert not any(layer.bias.any() for layer in layers[:-1])
    for layer in layers:
        limit = (6 / (layer.in_features + layer.out_features)) ** 0.5
        assert layer.weight.abs().max() <= limit
        torch.testing.assert_close(layer.weight.var(), torch.tensor(limit**2 / 3), rtol=0.03, atol=0)  # five standard errors
