"""Makes the input folder of the job that trains `banyan-support`: corpus, tokenizer, settings."""

import argparse
import json
import sys
import time
from pathlib import Path

from . import corpus, tokenizer

CORPUS = {"noise": 1.0, "full": 0.2, "chains": 0.18, "dialogue_copies": 1}
TRAIN = {
    "batch_tokens": 3072,
    "rate": 2e-3,
    "warm_steps": 60,
    "decay": 0.1,
    "dropout": 0.1,
    "merge_drop": 0.1,
    "user_weight": 0.1,
    "topic_weight": 0.3,
    "bag_weight": 0.2,
    "warm_passes": 4,
    "answer_head": 12,
    "held_steps": 250,
    "checkpoint_steps": 250,
}
SHAPES = {
    "full": {"vocab": 4096, "width": 192, "layers": 4, "heads": 6, "kv_heads": 3, "hidden": 512},
    "smoke": {"vocab": 4096, "width": 64, "layers": 2, "heads": 2, "kv_heads": 1, "hidden": 128},
}


def counted_texts(topics, rows):
    """Returns what the tokenizer learns from: answers count more, since they are said more."""
    texts = [(answer, 8) for topic in topics for answer in topic.answers]
    return texts + [(turn[0], 1) for row in rows for turn in row["turns"]]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("corpus")
    parser.add_argument("out")
    parser.add_argument("--epochs", type=int, default=9)
    parser.add_argument("--seed", type=int, default=20261123)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--shape", choices=sorted(SHAPES), default="full")
    parser.add_argument("--set", action="append", default=[], help="train option: key=number")
    args = parser.parse_args()
    began, out = time.time(), Path(args.out)
    options = {**CORPUS, "epochs": args.epochs}
    counts = corpus.build(args.corpus, out, args.seed, options)
    with open(out / "train.jsonl", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    first = [row for row in rows if row["epoch"] < 2]
    size = SHAPES[args.shape]["vocab"]
    learned = tokenizer.train(counted_texts(corpus.read(args.corpus), first), size)
    learned.save(out / "tokenizer.json")
    train = dict(TRAIN)
    for text in args.set:
        key, value = text.split("=")
        assert key in train, f"{key} is an option of training"
        train[key] = type(train[key])(float(value))
    shape = {**SHAPES[args.shape], "context": 512}
    job = {"name": "banyan-support", "seed": args.seed, "threads": args.threads, "kind": "Q8_0",
           "shape": shape, "train": train, "corpus": {**counts, **options},
           "corpusSha256": corpus.checksum(args.corpus)}
    with open(out / "job.json", "w", encoding="utf-8") as file:
        json.dump(job, file, ensure_ascii=False, indent=2)
    seconds = round(time.time() - began, 1)
    merges = len(learned.merges)
    print(json.dumps({"event": "prepared", "seconds": seconds, "merges": merges, **counts}))


if __name__ == "__main__":
    sys.exit(main())
