"""How the programs of the grammar read a latent, and the scalars of a hidden layer."""

from pyro.ops.indexing import Vindex
import torch
import torch.nn.functional as F

from zoo.grammar import STATES

STATE = torch.tensor([[0.3, -0.9], [1.2, 0.1], [-0.7, 0.8]], dtype=torch.float64)
READ = {
    "z": lambda z: z,
    "z[..., None]": lambda z: z[..., None],
    "z.unsqueeze(-1)": lambda z: z.unsqueeze(-1),
    "z.unsqueeze(1)": lambda z: z.unsqueeze(1),
    "stack": lambda z: torch.stack([z, z**2], -1),
    "z[:, None]": lambda z: z[:, None],
    "z.view(-1, 1)": lambda z: z.view(-1, 1),
    "z.reshape(len(z), 1)": lambda z: z.reshape(len(z), 1),
    "outer": lambda z: torch.outer(z, STATE[1]),
    "z[..., :1]": lambda z: z[..., :1],
    "z[:, :1]": lambda z: z[:, :1],
    "z.view(-1, 2)": lambda z: z.view(-1, 2),
    "z.flip(-1)": lambda z: z.flip(-1),
    "z.flip(1)": lambda z: z.flip(1),
    "z.sum(-1, keepdim=True)": lambda z: z.sum(-1, keepdim=True),
    "z.sum(1, keepdim=True)": lambda z: z.sum(1, keepdim=True),
    "einsum ...": lambda z: torch.einsum("...d,de->...e", z, STATE[:2]),
    "einsum bd": lambda z: torch.einsum("bd,de->be", z, STATE[:2]),
    "chunk(2, -1)": lambda z: torch.cat(z.chunk(2, -1)[::-1], -1),
    "chunk(2, 1)": lambda z: torch.cat(z.chunk(2, 1)[::-1], 1),
    "bmm": lambda z: torch.bmm(z.unsqueeze(1), STATE[:2].expand(len(z), 2, 2)).squeeze(1),
    "softmax(1)": lambda z: z.softmax(1),
    "z.T.T": lambda z: (z.T * 2).T,
    "z.flatten(-2)": lambda z: z.flatten(-2),
    "z.flatten(1)": lambda z: z.flatten(1),
    "z.view(len(z), 4)": lambda z: z.view(len(z), 4),
    "z.view(-1, 4)": lambda z: z.view(-1, 4),
    "z[:, 0]": lambda z: z[:, 0],
    "z[..., 0]": lambda z: z[..., 0],
    "z[..., 0, :]": lambda z: z[..., 0, :],
    "z[:, :, 0]": lambda z: z[:, :, 0],
    "z.sum(1)": lambda z: z.sum(1),
    "z.sum(-2)": lambda z: z.sum(-2),
    "transpose(1, 2)": lambda z: z.transpose(1, 2).flatten(1),
    "einsum bij": lambda z: torch.einsum("bij,jk->bik", z, STATE[:2])[:, 1],
    "table[z]": lambda z: STATE[z.long()],
    "table[z.view(-1)]": lambda z: STATE[z.long().view(-1)],
    "one_hot": lambda z: F.one_hot(z.long(), STATES).double(),
    "embedding": lambda z: F.embedding(z.long(), STATE),
    "Vindex": lambda z: Vindex(STATE)[z.long(), :],
    "index_select": lambda z: STATE.index_select(0, z.long()),
    "stack of a loop": lambda z: torch.stack([STATE[i] for i in z.long()]),
}
OUTPUT = {
    "[..., 0]": lambda h: h[..., 0],
    "squeeze(-1)": lambda h: h.squeeze(-1),
    "sum(-1)": lambda h: h.sum(-1),
    "[:, 0]": lambda h: h[:, 0],
    "squeeze()": lambda h: h.squeeze(),
    "squeeze(1)": lambda h: h.squeeze(1),
    "view(-1)": lambda h: h.view(-1),
    "sum(1)": lambda h: h.sum(1),
}
