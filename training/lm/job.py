"""The contract of a training job: one process, a folder in, a folder out, progress as JSON lines.

    python3 -m lm.job IN OUT          (working directory: training/)

IN, read only:
    job.json        {"name", "seed", "threads", "kind", "shape": {...}, "train": {...}}
    tokenizer.json  the merges (tokenizer.py)
    train.jsonl     one document a line: {"epoch", "language", "topics", "turns", "full"}
    held.jsonl      one pair a line: {"language", "topic", "question", "answer"}
OUT, made where missing:
    metrics.jsonl   appended and flushed, one object a line, the same lines as on stdout:
                    {"event": "start" | "warm" | "step" | "held" | "done", ...}
    checkpoint.pt   weights, optimiser and step, renamed into place every `checkpoint_steps`
    model.gguf      the model, written when training has ended
    done.json       the sums of the job; its presence alone means that the job succeeded

J1: the same IN on the same machine with the same threads gives the same model.gguf.
J2: started again after its death, a job goes on from its checkpoint; a finished job does nothing.
J3: SIGTERM and SIGINT end it after the running step, checkpoint written, exit code 75 (try again).
J4: nothing but OUT is written and no network is used. Exit 0: done; 2: IN is wrong; 75: see J3.
Whoever starts the job reads progress from metrics.jsonl or stdout and needs to know nothing else.
"""

import json
import math
import os
import random
import signal
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from . import gguf
from .model import Llama, Shape
from .tokenizer import Tokenizer

EXIT_AGAIN = 75
IGNORED = -100


class Encoder:
    """Turns documents into ids, loss weights and topic labels."""

    def __init__(self, tokenizer, labels, options, seed):
        self.tokenizer, self.labels, self.options = tokenizer, labels, options
        self.prng = random.Random(seed)
        names = ("<|user|>", "<|assistant|>", "<|im_end|>")
        self.user, self.assistant, self.end = (tokenizer.specials[name] for name in names)

    def document(self, row, is_training):
        """Returns (ids, weights, labels, starts), one entry a position.

        Weight and label judge what a position predicts; `starts` says where its question began.
        """
        ids, weights, labels, starts = [], [], [], []

        def add(tokens, weight):
            ids.extend(tokens)
            weights.extend([weight] * len(tokens))
            labels.extend([IGNORED] * len(tokens))
            starts.extend([0] * len(tokens))

        last = len(row["turns"]) - 1
        for index, (question, answer) in enumerate(row["turns"]):
            if is_training and self.prng.random() < 0.7:
                asked = self.tokenizer.encode_noisy(question, self.prng, self.options["merge_drop"])
            else:
                asked = self.tokenizer.encode(question)
            add([self.user], 0.0)
            start = len(ids)
            add(asked, self.options["user_weight"])
            add([self.end], 0.0)
            add([self.assistant], 0.0)
            topic, starts[-1] = row["topics"][index], start
            if topic is not None:
                labels[-1] = self.labels[f"{row['language']}/{topic}"]
            said = self.tokenizer.encode(answer) + [self.end]
            if index == last and not row["full"]:
                said = said[: self.options["answer_head"]]
            add(said, 1.0)
        return ids, weights, labels, starts


def batches(encoded, tokens_max, prng):
    """Groups documents of like length into batches of at most `tokens_max` padded tokens."""
    order = list(range(len(encoded)))
    prng.shuffle(order)
    order.sort(key=lambda index: len(encoded[index][0]) + prng.random() * 3)
    groups, group, longest = [], [], 0
    for index in order:
        longest = max(longest, len(encoded[index][0]))
        if group and longest * (len(group) + 1) > tokens_max:
            groups.append(group)
            group, longest = [], len(encoded[index][0])
        group.append(index)
    groups.append(group)
    prng.shuffle(groups)
    return groups


def collate(rows, pad):
    """Returns padded tensors (ids, weights, labels, starts)."""
    length = max(len(row[0]) for row in rows)

    def padded(index, fill):
        return [list(row[index]) + [fill] * (length - len(row[index])) for row in rows]

    return (
        torch.tensor(padded(0, pad)),
        torch.tensor(padded(1, 0.0)),
        torch.tensor(padded(2, IGNORED)),
        torch.tensor(padded(3, 0)),
    )


def bags(plan):
    """Returns the questions of a plan as (token ids, label)."""
    out = []
    for rows in plan:
        for ids, _, labels, starts in rows:
            for at, label in enumerate(labels):
                if label != IGNORED:
                    out.append((ids[starts[at] : at - 1], label))
    return out


class Job:
    """One run of the contract above."""

    def __init__(self, source, target):
        self.source, self.target = Path(source), Path(target)
        with open(self.source / "job.json", encoding="utf-8") as file:
            self.config = json.load(file)
        self.options, self.shape = self.config["train"], Shape(**self.config["shape"])
        self.tokenizer = Tokenizer.load(self.source / "tokenizer.json")
        self.train_rows, self.held_rows = self._rows("train"), self._rows("held")
        keys = sorted({f"{row['language']}/{row['topic']}" for row in self.held_rows})
        self.labels = {key: index for index, key in enumerate(keys)}
        self.stopped = False
        self.target.mkdir(parents=True, exist_ok=True)
        self.metrics = open(self.target / "metrics.jsonl", "a", encoding="utf-8")

    def _rows(self, name):
        with open(self.source / f"{name}.jsonl", encoding="utf-8") as file:
            return [json.loads(line) for line in file]

    def emit(self, event, **values):
        line = json.dumps({"event": event, **values}, ensure_ascii=False)
        self.metrics.write(line + "\n")
        self.metrics.flush()
        print(line, flush=True)

    def plan(self):
        """Returns the batches of all epochs in order, encoded; the same for the same IN (J1)."""
        encoder = Encoder(self.tokenizer, self.labels, self.options, self.config["seed"])
        prng, plan = random.Random(self.config["seed"] + 1), []
        epochs = {}
        for row in self.train_rows:
            epochs.setdefault(row["epoch"], []).append(encoder.document(row, True))
        for epoch in sorted(epochs):
            encoded = epochs[epoch]
            for group in batches(encoded, self.options["batch_tokens"], prng):
                plan.append([encoded[index] for index in group])
        return plan

    def setup(self):
        torch.manual_seed(self.config["seed"])
        torch.set_num_threads(self.config["threads"])
        self.model = Llama(self.shape, self.options["dropout"])
        # Two judges that exist in training only: they say the topic from the state at
        # <|assistant|> and from the mean of the question's embeddings.
        self.judge = torch.nn.ModuleDict(
            {name: torch.nn.Linear(self.shape.width, len(self.labels)) for name in ("state", "bag")}
        )
        named = [*self.model.named_parameters(), *self.judge.named_parameters()]
        self.parameters = [weight for _, weight in named]
        wide = [w for w in self.parameters if w.dim() > 1]
        flat = [w for w in self.parameters if w.dim() < 2]
        self.optimiser = torch.optim.AdamW(
            [{"params": wide, "weight_decay": self.options["decay"]},
             {"params": flat, "weight_decay": 0.0}],
            lr=self.options["rate"], betas=(0.9, 0.95),
        )

    def warm_embeddings(self, plan):
        """Trains embeddings alone as a bag of words that tells the topic (a few seconds).

        Two thirds of what there is to know about a topic is in its words; with so few examples a
        transformer finds that out slowly when it has to learn the words and attention at once.
        """
        found, size = bags(plan), 256
        embedding, judge = self.model.token_embd.weight, self.judge["bag"]
        optimiser = torch.optim.Adam([embedding, *judge.parameters()], lr=5e-3)
        prng = random.Random(self.config["seed"] + 2)
        for _ in range(self.options["warm_passes"]):
            prng.shuffle(found)
            loss, hits = 0.0, 0
            for at in range(0, len(found), size):
                part = found[at : at + size]
                kept = [
                    [x for x in ids if prng.random() > 0.1] or ids[:1] for ids, _ in part
                ]
                offsets = np.cumsum([0] + [len(ids) for ids in kept[:-1]])
                mean = F.embedding_bag(
                    torch.tensor([x for ids in kept for x in ids]), embedding,
                    torch.tensor(offsets), mode="mean",
                )
                wanted = torch.tensor([label for _, label in part])
                scores = judge(mean)
                value = F.cross_entropy(scores, wanted, label_smoothing=0.05)
                optimiser.zero_grad(set_to_none=True)
                value.backward()
                optimiser.step()
                loss += value.item() * len(part)
                hits += (scores.argmax(-1) == wanted).sum().item()
            self.emit("warm", loss=round(loss / len(found), 4), bag=round(hits / len(found), 4))
        with torch.no_grad():  # Back to a scale at which tied logits begin small.
            scale = 0.03 / embedding.std()
            embedding.mul_(scale)
            judge.weight.div_(scale)

    def loss(self, rows):
        """Returns (whole loss, answer loss, topic hits, topics) of a batch."""
        pad = self.tokenizer.specials["<|pad|>"]
        ids, weights, labels, starts = collate(rows, pad)
        hidden = self.model(ids[:, :-1])
        targets, weights = ids[:, 1:], weights[:, 1:]
        chosen = weights > 0
        logits = self.model.logits(hidden[chosen])
        each = F.cross_entropy(logits, targets[chosen], reduction="none")
        weight = weights[chosen]
        said = weight == 1.0
        # Mean over answer tokens; user tokens weigh `user_weight` each against them.
        total = (each * weight).sum() / weight.sum()
        answer = each[said].mean()
        marked = labels[:, :-1] != IGNORED
        scores = self.judge["state"](F.dropout(hidden[marked], 0.2, self.model.training))
        wanted = labels[:, :-1][marked]
        topic = F.cross_entropy(scores, wanted, label_smoothing=0.05)
        bag = F.cross_entropy(self.judge["bag"](self.bag(ids[:, :-1], starts[:, :-1], marked)),
                              wanted, label_smoothing=0.05)
        hits = (scores.argmax(-1) == wanted).sum().item()
        extra = self.options["topic_weight"] * topic + self.options["bag_weight"] * bag
        return total + extra, answer.item(), hits, len(wanted)

    def bag(self, ids, starts, marked):
        """Returns the mean embedding of the question before each marked position."""
        sums = F.pad(self.model.token_embd(ids).cumsum(1), (0, 0, 1, 0))
        row, at = marked.nonzero(as_tuple=True)
        start = starts[marked]
        # The question runs from its start to just before <|im_end|>, which is before `at`.
        count = (at - 1 - start).clamp(min=1).unsqueeze(-1)
        return (sums[row, at - 1] - sums[row, start]) / count

    def held(self, step):
        """Measures held-out questions: answer perplexity and the topic head's accuracy."""
        self.model.eval()
        encoder = Encoder(self.tokenizer, self.labels, self.options, 0)
        sums, pad = {}, self.tokenizer.specials["<|pad|>"]
        with torch.no_grad():
            for language in ("en", "zh"):
                rows = [row for row in self.held_rows if row["language"] == language]
                loss, tokens, hits, bag_hits = 0.0, 0, 0, 0
                for at in range(0, len(rows), 32):
                    group = [
                        encoder.document({"language": language, "topics": [row["topic"]],
                                          "turns": [(row["question"], row["answer"])],
                                          "full": True}, False)
                        for row in rows[at : at + 32]
                    ]
                    ids, weights, labels, starts = collate(group, pad)
                    hidden = self.model(ids[:, :-1])
                    chosen = weights[:, 1:] == 1.0
                    logits = self.model.logits(hidden[chosen])
                    loss += F.cross_entropy(logits, ids[:, 1:][chosen], reduction="sum").item()
                    tokens += int(chosen.sum())
                    marked = labels[:, :-1] != IGNORED
                    wanted = labels[:, :-1][marked]
                    hits += (self.judge["state"](hidden[marked]).argmax(-1) == wanted).sum().item()
                    mean = self.bag(ids[:, :-1], starts[:, :-1], marked)
                    bag_hits += (self.judge["bag"](mean).argmax(-1) == wanted).sum().item()
                if rows:
                    sums[language] = {"perplexity": round(math.exp(loss / tokens), 4),
                                      "topicHead": round(hits / len(rows), 4),
                                      "bag": round(bag_hits / len(rows), 4)}
        self.model.train()
        self.emit("held", step=step, **sums)
        return sums

    def save(self, step, tokens, seconds):
        path = self.target / "checkpoint.pt"
        state = {"step": step, "tokens": tokens, "seconds": seconds,
                 "model": self.model.state_dict(), "judge": self.judge.state_dict(),
                 "optimiser": self.optimiser.state_dict(), "random": torch.get_rng_state()}
        torch.save(state, f"{path}.new")
        os.replace(f"{path}.new", path)

    def resume(self):
        path = self.target / "checkpoint.pt"
        if not path.exists():
            return 0, 0, 0.0
        state = torch.load(path)
        self.model.load_state_dict(state["model"])
        self.judge.load_state_dict(state["judge"])
        self.optimiser.load_state_dict(state["optimiser"])
        torch.set_rng_state(state["random"])
        return state["step"], state["tokens"], state["seconds"]

    def rate(self, step, steps):
        warm = self.options["warm_steps"]
        if step < warm:
            return (step + 1) / warm
        return 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))

    def run(self):
        """Trains to the end; returns the exit code."""
        if (self.target / "done.json").exists():
            return 0
        for name in (signal.SIGTERM, signal.SIGINT):
            signal.signal(name, lambda *_: setattr(self, "stopped", True))
        self.setup()
        plan = self.plan()
        first, tokens, before = self.resume()
        count = sum(w.numel() for w in self.model.parameters())
        self.emit("start", step=first, steps=len(plan), parameters=count, name=self.config["name"])
        began, hits, asked, losses = time.time(), 0, 0, []
        if first == 0:
            self.warm_embeddings(plan)
            self.held(0)
        self.model.train()
        for step in range(first, len(plan)):
            for group in self.optimiser.param_groups:
                group["lr"] = self.options["rate"] * self.rate(step, len(plan))
            whole, answer, right, topics = self.loss(plan[step])
            self.optimiser.zero_grad(set_to_none=True)
            whole.backward()
            torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
            self.optimiser.step()
            tokens += sum(len(row[0]) for row in plan[step])
            hits, asked = hits + right, asked + topics
            losses.append(answer)
            seconds, done = before + time.time() - began, step + 1
            if done % 50 == 0 or done == len(plan):
                self.emit("step", step=done, steps=len(plan), loss=round(np.mean(losses), 4),
                          topicHead=round(hits / max(1, asked), 4), tokens=tokens,
                          seconds=round(seconds, 1))
                hits, asked, losses = 0, 0, []
            if done % self.options["held_steps"] == 0 or done == len(plan):
                self.held(done)
            if done % self.options["checkpoint_steps"] == 0 or self.stopped:
                self.save(done, tokens, seconds)
            if self.stopped:
                return EXIT_AGAIN
        self.finish(len(plan), count, tokens, before + time.time() - began)
        return 0

    def finish(self, steps, count, tokens, seconds):
        self.save(steps, tokens, seconds)
        weights = gguf_weights(self.model)
        gguf.write(self.target / "model.gguf", self.shape, self.tokenizer, weights,
                   self.config["kind"], self.config["name"])
        sums = {"steps": steps, "parameters": count, "tokens": tokens, "seconds": round(seconds, 1)}
        with open(self.target / "done.json.new", "w", encoding="utf-8") as file:
            json.dump(sums, file)
        os.replace(self.target / "done.json.new", self.target / "done.json")
        self.emit("done", step=steps, **sums)


def gguf_weights(model):
    """Returns the weights under their GGUF names (the module's names are those already)."""
    return {name: weight.detach().numpy() for name, weight in model.named_parameters()}


if __name__ == "__main__":
    if len(sys.argv) != 3 or not (Path(sys.argv[1]) / "job.json").exists():
        print("usage: python3 -m lm.job IN OUT (IN holds job.json)", file=sys.stderr)
        sys.exit(2)
    sys.exit(Job(sys.argv[1], sys.argv[2]).run())
