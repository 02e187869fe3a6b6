"""GGUF version 3 writer for the LLaMA of model.py: F32, F16 or Q8_0. Needs numpy only.

Layout (ggml/docs/gguf.md): magic, version, counts, key-values, tensor infos, data aligned to 32.
Dimensions are written innermost first. One-dimensional tensors stay F32.
"""

import struct

import numpy as np

from .tokenizer import SPECIALS, byte_alphabet

ALIGNMENT = 32
TYPES = {"F32": (0, 0), "F16": (1, 1), "Q8_0": (8, 7)}  # name -> (ggml type, file type)
TOKEN_NORMAL, TOKEN_CONTROL, TOKEN_UNUSED = 1, 3, 5
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'user' %}<|user|>{{ message['content'] }}<|im_end|>"
    "{% elif message['role'] == 'assistant' %}<|assistant|>{{ message['content'] }}<|im_end|>"
    "{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def quantise(weights):
    """Returns Q8_0 blocks: for each 32 numbers an f16 scale and 32 int8 (ggml's reference rule)."""
    rows = weights.astype(np.float32).reshape(-1, 32)
    scale = np.abs(rows).max(1) / 127.0
    inverse = np.where(scale > 0, 1.0 / np.where(scale > 0, scale, 1), 0)[:, None]
    scaled = rows * inverse
    rounded = np.trunc(scaled + np.copysign(0.5, scaled)).astype(np.int8)
    out = np.empty((rows.shape[0], 34), np.uint8)
    out[:, :2] = scale.astype(np.float16)[:, None].view(np.uint8)
    out[:, 2:] = rounded.view(np.uint8)
    return out.tobytes()


def restore(weights, kind):
    """Returns the weights as a reader sees them after they were stored as `kind`."""
    if kind == "F32" or weights.ndim == 1:
        return weights.astype(np.float32)
    if kind == "F16":
        return weights.astype(np.float16).astype(np.float32)
    blocks = np.frombuffer(quantise(weights), np.uint8).reshape(-1, 34)
    scale = blocks[:, :2].copy().view(np.float16).astype(np.float32)
    return (blocks[:, 2:].view(np.int8).astype(np.float32) * scale).reshape(weights.shape)


def _string(text):
    data = text.encode("utf-8")
    return struct.pack("<Q", len(data)) + data


def _value(kind, value):
    """Returns type id and bytes of a key's value."""
    if kind == "u32":
        return struct.pack("<II", 4, value)
    if kind == "f32":
        return struct.pack("<If", 6, value)
    if kind == "bool":
        return struct.pack("<IB", 7, 1 if value else 0)
    if kind == "str":
        return struct.pack("<I", 8) + _string(value)
    if kind == "strs":
        return struct.pack("<IIQ", 9, 8, len(value)) + b"".join(map(_string, value))
    assert kind == "i32s", "a known kind of value"
    return struct.pack("<IIQ", 9, 5, len(value)) + struct.pack(f"<{len(value)}i", *value)


def _token_lists(tokenizer):
    alphabet = byte_alphabet()

    def shown(data):
        return "".join(alphabet[byte] for byte in data)

    tokens = [shown(data) for data in tokenizer.vocab] + SPECIALS
    types = [TOKEN_NORMAL] * len(tokenizer.vocab) + [TOKEN_CONTROL] * len(SPECIALS)
    while len(tokens) < tokenizer.size:
        tokens.append(f"<|unused{len(tokens)}|>")
        types.append(TOKEN_UNUSED)
    return tokens, types, [f"{shown(a)} {shown(b)}" for a, b in tokenizer.merges]


def _keys(shape, tokenizer, name, file_type):
    tokens, types, merges = _token_lists(tokenizer)
    end = tokenizer.specials["<|im_end|>"]
    return [
        ("general.architecture", "str", "llama"),
        ("general.type", "str", "model"),
        ("general.name", "str", name),
        ("general.license", "str", "apache-2.0"),
        ("general.file_type", "u32", file_type),
        ("general.quantization_version", "u32", 2),
        ("general.alignment", "u32", ALIGNMENT),
        ("llama.context_length", "u32", shape.context),
        ("llama.embedding_length", "u32", shape.width),
        ("llama.block_count", "u32", shape.layers),
        ("llama.feed_forward_length", "u32", shape.hidden),
        ("llama.attention.head_count", "u32", shape.heads),
        ("llama.attention.head_count_kv", "u32", shape.kv_heads),
        ("llama.attention.key_length", "u32", shape.head_width),
        ("llama.attention.value_length", "u32", shape.head_width),
        ("llama.attention.layer_norm_rms_epsilon", "f32", shape.norm_epsilon),
        ("llama.rope.dimension_count", "u32", shape.head_width),
        ("llama.rope.freq_base", "f32", shape.rope_base),
        ("llama.vocab_size", "u32", shape.vocab),
        ("tokenizer.ggml.model", "str", "gpt2"),
        ("tokenizer.ggml.pre", "str", "qwen2"),
        ("tokenizer.ggml.tokens", "strs", tokens),
        ("tokenizer.ggml.token_type", "i32s", types),
        ("tokenizer.ggml.merges", "strs", merges),
        ("tokenizer.ggml.bos_token_id", "u32", tokenizer.specials["<|endoftext|>"]),
        ("tokenizer.ggml.eos_token_id", "u32", end),
        ("tokenizer.ggml.eot_token_id", "u32", end),
        ("tokenizer.ggml.padding_token_id", "u32", tokenizer.specials["<|pad|>"]),
        ("tokenizer.ggml.add_bos_token", "bool", False),
        ("tokenizer.ggml.add_eos_token", "bool", False),
        ("tokenizer.chat_template", "str", CHAT_TEMPLATE),
    ]


def write(path, shape, tokenizer, weights, kind, name="banyan-support"):
    """Writes the model. `weights` maps GGUF tensor names (torch layout) to numpy arrays."""
    big, file_type = TYPES[kind]
    keys = _keys(shape, tokenizer, name, file_type)
    head = [b"GGUF", struct.pack("<IQQ", 3, len(weights), len(keys))]
    head += [_string(key) + _value(value_kind, value) for key, value_kind, value in keys]
    body, offset = [], 0
    for tensor, array in weights.items():
        ggml_type = big if array.ndim > 1 else 0
        data = {
            0: lambda a: a.astype("<f4").tobytes(),
            1: lambda a: a.astype("<f2").tobytes(),
            8: quantise,
        }[ggml_type](np.ascontiguousarray(array))
        dims = array.shape[::-1]
        info = struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, ggml_type, offset)
        head.append(_string(tensor) + info)
        data += b"\0" * (-len(data) % ALIGNMENT)
        body.append(data)
        offset += len(data)
    header = b"".join(head)
    with open(path, "wb") as file:
        file.write(header + b"\0" * (-len(header) % ALIGNMENT) + b"".join(body))
