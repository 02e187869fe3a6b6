"""Byte-level BPE as llama.cpp runs it for `tokenizer.ggml.pre = "qwen2"`: trainer and encoder.

T1: ids 0..255 are the bytes, then the merges in order, then the specials; nothing else.
T2: no learned merge crosses a character: every non-ASCII character seen twice is one token before
    anything is learned, so that an answer can be cut after any token without cutting a character.
T3: no learned merge joins more than 16 ASCII bytes or 2 ideographs; ideographs join only each
    other. Two, not more: a question must fall into the same words whatever stands around them.
T4: `encode` equals llama.cpp's `tokenize(text, special=false)`. A wrong `pre` is no error there,
    only other ids, hence the golden file in models/ and tools/model-eval.test.ts.
"""

import json
import random
import re
import sys
import unicodedata
from collections import Counter, defaultdict

SPECIALS = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|user|>",
    "<|assistant|>",
    "<|system|>",
    "<|pad|>",
    "<|reserved0|>",
]
ASCII_BYTES_MAX = 16
IDEOGRAPHS_MAX = 2
# What llama.cpp calls white space (unicode-data.cpp); Python's own \s has four more.
SPACE = "\t\n\x0b\x0c\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"


def _ranges(letter):
    """Returns the regex class body of the code points of a Unicode category (`L` or `N`)."""
    out, start = [], None
    for code in range(sys.maxunicode + 2):
        inside = code <= sys.maxunicode and unicodedata.category(chr(code))[0] == letter
        if inside and start is None:
            start = code
        elif not inside and start is not None:
            out.append("\\U%08x-\\U%08x" % (start, code - 1))
            start = None
    return "".join(out)


def _pattern():
    letters, numbers = _ranges("L"), _ranges("N")
    return re.compile(
        r"'[sStTmMdD]|'[rR][eE]|'[vV][eE]|'[lL][lL]"
        rf"|[^\r\n{letters}{numbers}]?[{letters}]+"
        rf"|[{numbers}]"
        rf"| ?[^{SPACE}{letters}{numbers}]+[\r\n]*"
        rf"|[{SPACE}]*[\r\n]+"
        rf"|[{SPACE}]+(?![^{SPACE}])"
        rf"|[{SPACE}]+"
    )


_PATTERN = None


def split(text):
    """Splits text into the pieces within which merges happen."""
    global _PATTERN
    if _PATTERN is None:
        _PATTERN = _pattern()
    return _PATTERN.findall(text)


def byte_alphabet():
    """Returns GPT-2's printable character for each byte."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    table, extra = {}, 0
    for byte in range(256):
        if byte in plain:
            table[byte] = chr(byte)
        else:
            table[byte] = chr(256 + extra)
            extra += 1
    return table


def _is_ideograph(char):
    return "\u4e00" <= char <= "\u9fff" or "\u3400" <= char <= "\u4dbf"


def _may_join(left, right):
    """Tells whether a learned merge may make `left + right` (T2, T3)."""
    try:
        joined = (left + right).decode("utf-8")
        left.decode("utf-8")
    except UnicodeDecodeError:
        return False
    if joined.isascii():
        return len(joined) <= ASCII_BYTES_MAX
    return len(joined) <= IDEOGRAPHS_MAX and all(_is_ideograph(char) for char in joined)


def _seed_merges(counts):
    """Returns the byte merges that make each non-ASCII character seen twice one token (T2)."""
    seeds = {}
    chars = Counter()
    for piece, count in counts.items():
        for char in piece:
            if ord(char) > 127:
                chars[char] += count
    for char, count in sorted(chars.items(), key=lambda entry: (-entry[1], entry[0])):
        if count < 2:
            continue
        data = char.encode("utf-8")
        left = data[:1]
        for index in range(1, len(data)):
            seeds[(left, data[index : index + 1])] = True
            left = data[: index + 1]
    return list(seeds)


class Tokenizer:
    """Ids for text and back. Immutable after construction."""

    def __init__(self, merges, size):
        self.merges = [tuple(pair) for pair in merges]
        self.vocab = [bytes([byte]) for byte in range(256)] + [a + b for a, b in self.merges]
        self.specials = {}
        for name in SPECIALS:
            self.specials[name] = len(self.vocab) + len(self.specials)
        self.size = size
        assert len(self.vocab) + len(SPECIALS) <= size, "the vocabulary holds merges and specials"
        self.ranks = {pair: index for index, pair in enumerate(self.merges)}
        self.ids = {data: index for index, data in enumerate(self.vocab)}
        assert len(self.ids) == len(self.vocab), "no two merges make the same token"
        self._cache = {}

    def _merge(self, parts, prng, dropout):
        while len(parts) > 1:
            best, at = None, -1
            for index in range(len(parts) - 1):
                rank = self.ranks.get((parts[index], parts[index + 1]))
                if rank is None or (best is not None and rank >= best):
                    continue
                if dropout > 0 and prng.random() < dropout:
                    continue
                best, at = rank, index
            if best is None:
                break
            parts[at : at + 2] = [parts[at] + parts[at + 1]]
        return parts

    def encode(self, text):
        """Returns the ids of plain text; text that looks like a special token stays text."""
        out = []
        for piece in split(text):
            ids = self._cache.get(piece)
            if ids is None:
                parts = [bytes([byte]) for byte in piece.encode("utf-8")]
                ids = [self.ids[part] for part in self._merge(parts, None, 0)]
                self._cache[piece] = ids
            out.extend(ids)
        return out

    def encode_noisy(self, text, prng, dropout):
        """Like `encode`, but each learned merge is passed over with this probability (BPE dropout).

        Whole characters stay whole: only learned merges of them are dropped.
        """
        out = []
        for piece in split(text):
            if prng.random() < 0.5:
                out.extend(self.encode(piece))
                continue
            parts = [
                part
                for char in piece
                for part in self._merge([bytes([b]) for b in char.encode("utf-8")], None, 0)
            ]
            out.extend(self.ids[part] for part in self._merge(parts, prng, dropout))
        return out

    def decode(self, ids):
        """Returns the text of ids; specials are left out, broken characters become U+FFFD."""
        data = b"".join(self.vocab[index] for index in ids if index < len(self.vocab))
        return data.decode("utf-8", "replace")

    def save(self, path):
        with open(path, "w", encoding="utf-8") as file:
            merges = [[a.hex(), b.hex()] for a, b in self.merges]
            json.dump({"size": self.size, "merges": merges}, file)

    @staticmethod
    def load(path):
        with open(path, encoding="utf-8") as file:
            data = json.load(file)
        merges = [(bytes.fromhex(a), bytes.fromhex(b)) for a, b in data["merges"]]
        return Tokenizer(merges, data["size"])


def train(counted_texts, size):
    """Learns a tokenizer of `size` ids from `(text, count)` pairs. Deterministic."""
    counts = Counter()
    for text, count in counted_texts:
        for piece in split(text):
            counts[piece] += count
    merges = _seed_merges(counts)
    seeded = Tokenizer(merges, 256 + len(merges) + len(SPECIALS))
    words, weights = [], []
    for piece, count in sorted(counts.items()):
        words.append([seeded.vocab[index] for index in seeded.encode(piece)])
        weights.append(count)
    pairs, where = Counter(), defaultdict(set)
    for index, word in enumerate(words):
        for pair in zip(word, word[1:]):
            pairs[pair] += weights[index]
            where[pair].add(index)
    known = set(seeded.ids)
    while 256 + len(merges) + len(SPECIALS) < size:
        best = _best_pair(pairs, known)
        if best is None:
            break
        merges.append(best)
        known.add(best[0] + best[1])
        _apply(best, words, weights, pairs, where)
    return Tokenizer(merges, size)


def _best_pair(pairs, known):
    """Returns the most frequent pair that may join, ties by bytes; null below two occurrences."""
    best, best_count = None, 1
    for pair, count in pairs.items():
        if count < best_count or (count == best_count and (best is None or pair >= best)):
            continue
        if pair[0] + pair[1] in known or not _may_join(*pair):
            continue
        best, best_count = pair, count
    return best


def _apply(best, words, weights, pairs, where):
    """Joins `best` in every word that has it and keeps the pair counts right."""
    for index in list(where[best]):
        word, weight = words[index], weights[index]
        for pair in zip(word, word[1:]):
            pairs[pair] -= weight
            if pairs[pair] <= 0:
                del pairs[pair]
        joined, at = [], 0
        while at < len(word):
            if at + 1 < len(word) and (word[at], word[at + 1]) == best:
                joined.append(word[at] + word[at + 1])
                at += 2
            else:
                joined.append(word[at])
                at += 1
        words[index] = joined
        for pair in zip(joined, joined[1:]):
            pairs[pair] += weight
            where[pair].add(index)
    where.pop(best, None)
