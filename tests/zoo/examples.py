"""Pairs in the style of Pyro's example models."""

import pyro
from pyro import poutine
import pyro.distributions as dist
import torch
from torch import nn
import torch.nn.functional as F

from pyro_lvm import Pair
from zoo.registry import D, N, T, binary, counts, entry, generator, one_hot


class Decoder(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.fc1, self.fc21 = nn.Linear(inputs, 5), nn.Linear(5, outputs)

    def forward(self, z):
        return torch.sigmoid(self.fc21(F.softplus(self.fc1(z))))


class Encoder(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.fc1, self.fc21, self.fc22 = nn.Linear(inputs, 5), nn.Linear(5, outputs), nn.Linear(5, outputs)

    def forward(self, x):
        h = F.softplus(self.fc1(x.reshape(-1, x.shape[-1])))
        return self.fc21(h), torch.exp(0.2 * self.fc22(h))


class VAE(nn.Module):
    """examples/vae: zeros and ones of the batch's size as parameters of the prior."""

    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = Encoder(D, 2), Decoder(2, D)

    def model(self, x):
        pyro.module("decoder", self.decoder)
        with pyro.plate("data", x.shape[0]):
            z_loc = torch.zeros(x.shape[0], 2, dtype=x.dtype, device=x.device)
            z_scale = torch.ones(x.shape[0], 2, dtype=x.dtype, device=x.device)
            z = pyro.sample("latent", dist.Normal(z_loc, z_scale).to_event(1))
            loc_img = self.decoder.forward(z)
            pyro.sample("obs", dist.Bernoulli(loc_img, validate_args=False).to_event(1), obs=x.reshape(-1, D))
            return loc_img

    def guide(self, x):
        pyro.module("encoder", self.encoder)
        with pyro.plate("data", x.shape[0]):
            z_loc, z_scale = self.encoder.forward(x)
            pyro.sample("latent", dist.Normal(z_loc, z_scale).to_event(1))


@entry(binary)
def vae_of_the_examples():
    return VAE()


class SSVAE(nn.Module):
    """examples/vae/ss_vae_M2: registered as a whole, labels given, the loss scaled."""

    def __init__(self):
        super().__init__()
        self.encoder_z, self.decoder = Encoder(D + 3, 2), Decoder(2 + 3, D)

    def model(self, xs, ys):
        pyro.module("ss_vae", self)
        batch_size = xs.size(0)
        options = dict(dtype=xs.dtype, device=xs.device)
        with pyro.plate("data"):
            zs = pyro.sample("z", dist.Normal(torch.zeros(batch_size, 2, **options), torch.ones(batch_size, 2, **options)).to_event(1))
            ys = pyro.sample("y", dist.OneHotCategorical(torch.ones(batch_size, 3, **options) / 3), obs=ys)
            loc = self.decoder(torch.cat([zs, ys], -1))
            pyro.sample("x", dist.Normal(loc, 1.0).to_event(1), obs=xs)

    def guide(self, xs, ys):
        with pyro.plate("data"):
            loc, scale = self.encoder_z(torch.cat([xs, ys], -1))
            pyro.sample("z", dist.Normal(loc, scale).to_event(1))


@entry(one_hot)
def ss_vae_of_the_examples():
    return SSVAE()


class Baseline(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(D // 2, D)

    def forward(self, x):
        return torch.sigmoid(self.fc(x.view(-1, D // 2)))


@entry(lambda: (binary()[0][:, : D // 2], binary()[0]))
def cvae_of_the_examples():
    """examples/cvae: the prior network sees the input and a baseline's prediction."""
    baseline, prior, generation, recognition = Baseline(), Encoder(D // 2 + D, 2), Decoder(2, D), Encoder(D // 2 + D, 2)

    def model(xs, ys):
        pyro.module("generation_net", generation)
        with pyro.plate("data"):
            with torch.no_grad():
                y_hat = baseline(xs).view(xs.shape[0], -1)
            loc, scale = prior(torch.cat([xs, y_hat], -1))
            zs = pyro.sample("z", dist.Normal(loc, scale).to_event(1))
            pyro.sample("y", dist.Bernoulli(generation(zs.view(-1, 2)), validate_args=False).to_event(1), obs=ys)

    def guide(xs, ys):
        with pyro.plate("data"):
            loc, scale = recognition(torch.cat([xs, ys], -1))
            pyro.sample("z", dist.Normal(loc, scale).to_event(1))

    return Pair(model, guide)


def padded_sequences():
    """Sequences of two features and the mask of their steps, of which the first is always there."""
    x = torch.rand(N, T, 2, generator=generator()).round()
    lengths = torch.randint(1, T + 1, (N,), generator=generator())
    return x, (torch.arange(T) < lengths[:, None]).float()


class DMM(nn.Module):
    """examples/dmm: gated steps in pyro.markov, masks of padded sequences, an initial state that is a parameter."""

    def __init__(self):
        super().__init__()
        self.emitter, self.trans, self.combiner = Decoder(2, 2), Encoder(2, 2), Encoder(3, 2)
        self.z_0, self.z_q_0, self.h_0 = nn.Parameter(torch.randn(2)), nn.Parameter(torch.randn(2)), nn.Parameter(torch.randn(1, 1, 3))
        self.rnn, self.mix = nn.RNN(2, 3, batch_first=True), nn.Linear(2, 3)

    def model(self, x, mask):
        pyro.module("dmm", self)
        z_prev = self.z_0.expand(x.size(0), 2)
        with pyro.plate("z_minibatch", len(x)):
            for t in pyro.markov(range(1, T + 1)):
                loc, scale = self.trans(z_prev)
                with poutine.scale(scale=0.5), poutine.mask(mask=mask[:, t - 1].bool()):
                    z_t = pyro.sample(f"z_{t}", dist.Normal(loc, scale).to_event(1))
                with poutine.mask(mask=mask[:, t - 1].bool()):
                    pyro.sample(f"obs_x_{t}", dist.Bernoulli(self.emitter(z_t)).to_event(1), obs=x[:, t - 1, :])
                z_prev = z_t

    def guide(self, x, mask):
        pyro.module("dmm", self)
        h, _ = self.rnn(x, self.h_0.expand(1, x.size(0), 3).contiguous())
        z_prev = self.z_q_0.expand(x.size(0), 2)
        with pyro.plate("z_minibatch", len(x)):
            for t in pyro.markov(range(1, T + 1)):
                loc, scale = self.combiner(0.5 * (torch.tanh(self.mix(z_prev)) + h[:, t - 1, :]))
                with poutine.mask(mask=mask[:, t - 1].bool()):
                    z_prev = pyro.sample(f"z_{t}", dist.Normal(loc, scale).to_event(1))


@entry(padded_sequences, double=False)
def dmm_of_the_examples():
    return DMM()


@entry(lambda: (counts()[0], one_hot()[1]))
def scanvi_of_the_examples():
    """examples/scanvi: a library size, counts, an inverse dispersion that is a parameter, labels observed."""
    prior, encode_z1, encode_z2, decoder = Encoder(5, 2), Encoder(D, 2), Encoder(5, 2), nn.Linear(2, D)

    def model(x, y):
        pyro.module("scanvi", nn.ModuleList([prior, decoder]))
        theta = pyro.param("inverse_dispersion", 3.0 * x.new_ones(D), constraint=dist.constraints.positive)
        with pyro.plate("batch", len(x)):
            z1 = pyro.sample("z1", dist.Normal(0, x.new_ones(2)).to_event(1))
            y = pyro.sample("y", dist.OneHotCategorical(logits=x.new_zeros(3)), obs=y)
            loc, scale = prior(torch.cat([z1, y], -1))
            z2 = pyro.sample("z2", dist.Normal(loc, scale).to_event(1))
            size = pyro.sample("l", dist.LogNormal(x.new_tensor(1.5), 0.4).mask(True))
            mu = decoder(z2).softmax(-1)
            logits = (size.unsqueeze(-1) * mu + 1e-6).log() - (theta + 1e-6).log()
            pyro.sample("x", dist.NegativeBinomial(total_count=theta, logits=logits).to_event(1), obs=x)

    def guide(x, y):
        with pyro.plate("batch", len(x)):
            loc, scale = encode_z1(x.log1p())
            z2 = pyro.sample("z2", dist.Normal(loc, scale).to_event(1))
            pyro.sample("l", dist.LogNormal(x.sum(-1).log1p() / 2, 0.4))
            loc, scale = encode_z2(torch.cat([z2, y], -1))
            pyro.sample("z1", dist.Normal(loc, scale).to_event(1))

    return Pair(model, guide)


@entry(counts)
def prodlda_of_the_examples():
    """examples/prodlda: topics by softmax, BatchNorm and Dropout in the decoder, words as multinomial counts."""
    beta = nn.Sequential(nn.Dropout(0.2), nn.Linear(3, D, bias=False), nn.BatchNorm1d(D, affine=False))
    encoder = Encoder(D, 3)

    def model(docs):
        pyro.module("decoder", beta)
        with pyro.plate("documents", docs.shape[0]):
            loc, scale = docs.new_zeros((docs.shape[0], 3)), docs.new_ones((docs.shape[0], 3))
            log_theta = pyro.sample("logtheta", dist.Normal(loc, scale).to_event(1))
            count_param = F.softmax(beta(F.softmax(log_theta, -1)), dim=-1)
            total_count = int(docs.sum(-1).max())
            pyro.sample("obs", dist.Multinomial(total_count, count_param), obs=docs)

    def guide(docs):
        pyro.module("encoder", encoder)
        with pyro.plate("documents", docs.shape[0]):
            loc, scale = encoder(docs)
            pyro.sample("logtheta", dist.Normal(loc, scale).to_event(1))

    return Pair(model, guide)


@entry(binary)
def sparse_gamma_by_datum():
    """examples/sparse_gamma_def, with its layers as latents of each datum and its weights as parameters."""
    start, top = torch.rand(3, D), nn.Linear(D, 3)

    def model(x):
        w = pyro.param("w", start, constraint=dist.constraints.positive)
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z_top", dist.Gamma(2.0, 2.0).expand([3]).to_event(1))
            pyro.sample("obs", dist.Poisson(torch.matmul(z, w) + 0.1).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z_top", dist.Gamma(2.0 + F.softplus(top(x)), 2.5).to_event(1))

    return Pair(model, guide)
