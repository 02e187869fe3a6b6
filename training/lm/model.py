"""A LLaMA in PyTorch, with the details that llama.cpp's `llama` architecture has.

RMS norm in f32, rotary embeddings over INTERLEAVED pairs (so that no weight is permuted for GGUF),
grouped-query attention, SwiGLU, output tied to the embedding. Dropout exists in training only.
"""

import math
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Shape:
    """Sizes of the network. Every row length is a multiple of 32, as Q8_0 asks."""

    vocab: int = 4096
    width: int = 192
    layers: int = 4
    heads: int = 6
    kv_heads: int = 3
    hidden: int = 512
    context: int = 512
    rope_base: float = 10000.0
    norm_epsilon: float = 1e-5

    @property
    def head_width(self):
        return self.width // self.heads

    def check(self):
        assert self.width % self.heads == 0 and self.heads % self.kv_heads == 0
        assert self.width % 32 == 0 and self.hidden % 32 == 0 and self.head_width % 2 == 0


class Norm(nn.Module):
    def __init__(self, width, epsilon):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.epsilon = epsilon

    def forward(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.epsilon) * self.weight


def rope_tables(shape):
    """Returns cosines and sines, each (context, head width / 2)."""
    half = torch.arange(0, shape.head_width, 2).float() / shape.head_width
    angles = torch.outer(torch.arange(shape.context).float(), shape.rope_base ** -half)
    return angles.cos(), angles.sin()


def rotate(x, cos, sin):
    """Rotates interleaved pairs of x (batch, heads, length, head width)."""
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), -1).flatten(-2)


class Block(nn.Module):
    def __init__(self, shape, dropout):
        super().__init__()
        kv = shape.kv_heads * shape.head_width
        self.shape, self.dropout = shape, dropout
        self.attn_norm = Norm(shape.width, shape.norm_epsilon)
        self.attn_q = nn.Linear(shape.width, shape.width, bias=False)
        self.attn_k = nn.Linear(shape.width, kv, bias=False)
        self.attn_v = nn.Linear(shape.width, kv, bias=False)
        self.attn_output = nn.Linear(shape.width, shape.width, bias=False)
        self.ffn_norm = Norm(shape.width, shape.norm_epsilon)
        self.ffn_gate = nn.Linear(shape.width, shape.hidden, bias=False)
        self.ffn_up = nn.Linear(shape.width, shape.hidden, bias=False)
        self.ffn_down = nn.Linear(shape.hidden, shape.width, bias=False)

    def _drop(self, x):
        return F.dropout(x, self.dropout, self.training)

    def forward(self, x, cos, sin, mask):
        s, (batch, length, _) = self.shape, x.shape
        h = self.attn_norm(x)
        q = self.attn_q(h).view(batch, length, s.heads, s.head_width).transpose(1, 2)
        k = self.attn_k(h).view(batch, length, s.kv_heads, s.head_width).transpose(1, 2)
        v = self.attn_v(h).view(batch, length, s.kv_heads, s.head_width).transpose(1, 2)
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        groups = s.heads // s.kv_heads
        k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
        scores = q @ k.transpose(-1, -2) / math.sqrt(s.head_width) + mask
        out = (self._drop(scores.softmax(-1)) @ v).transpose(1, 2).reshape(batch, length, s.width)
        x = x + self._drop(self.attn_output(out))
        h = self.ffn_norm(x)
        return x + self._drop(self.ffn_down(F.silu(self.ffn_gate(h)) * self.ffn_up(h)))


class Llama(nn.Module):
    """`forward` gives hidden states after the output norm; `logits` projects chosen ones."""

    def __init__(self, shape, dropout=0.0):
        super().__init__()
        shape.check()
        self.shape, self.dropout = shape, dropout
        self.token_embd = nn.Embedding(shape.vocab, shape.width)
        self.blk = nn.ModuleList(Block(shape, dropout) for _ in range(shape.layers))
        self.output_norm = Norm(shape.width, shape.norm_epsilon)
        cos, sin = rope_tables(shape)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)
        for name, weight in self.named_parameters():
            if weight.dim() < 2:
                continue
            is_out = name.endswith(("attn_output.weight", "ffn_down.weight"))
            nn.init.normal_(weight, std=0.02 / (math.sqrt(2 * shape.layers) if is_out else 1))

    def forward(self, ids):
        length = ids.shape[1]
        mask = torch.full((length, length), -1e9).triu(1)
        x = F.dropout(self.token_embd(ids), self.dropout, self.training)
        for block in self.blk:
            x = block(x, self.cos[:length], self.sin[:length], mask)
        return self.output_norm(x)

    def logits(self, hidden):
        return hidden @ self.token_embd.weight.t()
