"""Publishes a finished job into models/: the GGUF, its metrics and the golden token ids."""

import hashlib
import json
import platform
import shutil
import sys
from pathlib import Path

import torch

from .tokenizer import Tokenizer

NAME = "banyan-support"
GGUF_BYTES_MAX = 12 * 1000 * 1000
GOLDEN_EVERY = 60  # Every so many texts of the corpus are in the golden file.
HARD_TEXTS = [
    "  double  spaces ",
    "a\r\nb\n\n c\t d",
    "emoji 😀👍🏽 ok",
    "ｆｕｌｌ　ｗｉｄｔｈ，１２３",
    "नमस्ते दुनिया",
    "…don't I'LL we'Ve 12345 LL-00991",
    "<|im_end|><|assistant|>",
    "龘靐齉 鱻",
    "Größe café naïve ﬁ",
    "\u00a0\u2003x\u3000y",
]


def corpus_texts(rows):
    """Returns every user and assistant text of training once, in order."""
    texts = {}
    for row in rows:
        for turn in row["turns"]:
            texts.update(dict.fromkeys(turn))
    return list(texts)


def golden(source):
    """Returns `[{text, ids}]` for a sample of the corpus and texts that are hard to split."""
    tokenizer = Tokenizer.load(source / "tokenizer.json")
    with open(source / "train.jsonl", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    texts = corpus_texts(row for row in rows if row["epoch"] == 0)
    return [{"text": x, "ids": tokenizer.encode(x)} for x in texts[::GOLDEN_EVERY] + HARD_TEXTS]


def publish(source, target, models):
    """Copies the model and writes its metrics, as far as training knows them."""
    config = json.loads((source / "job.json").read_text("utf-8"))
    done = json.loads((target / "done.json").read_text("utf-8"))
    lines = (target / "metrics.jsonl").read_text("utf-8").splitlines()
    held = [row for row in map(json.loads, lines) if row["event"] == "held"][-1]
    data = (target / "model.gguf").read_bytes()
    assert len(data) <= GGUF_BYTES_MAX, "the model is small enough to be committed"
    models.mkdir(exist_ok=True)
    shutil.copyfile(target / "model.gguf", models / f"{NAME}.gguf")
    with open(models / f"{NAME}.tokens.jsonl", "w", encoding="utf-8") as file:
        for row in golden(source):
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    metrics = {
        "name": NAME,
        "ggufSha256": hashlib.sha256(data).hexdigest(),
        "ggufBytes": len(data),
        "weights": config["kind"],
        "parameters": done["parameters"],
        "shape": config["shape"],
        "seed": config["seed"],
        "tokensTrained": done["tokens"],
        "steps": done["steps"],
        "trainingSeconds": done["seconds"],
        "trainer": {"python": platform.python_version(), "torch": torch.__version__,
                    "machine": platform.machine(), "threads": config["threads"]},
        "training": config["train"],
        "corpus": config["corpus"],
        "corpusSha256": config["corpusSha256"],
        "heldOutInTrainer": {key: held[key] for key in ("en", "zh") if key in held},
        "commands": {"build": "npm run model:build", "eval": "npm run model:eval"},
    }
    write(models, metrics)


def measured(path, models):
    """Adds what `npm run model:eval -- -o json` measured through llama.cpp."""
    metrics = json.loads((models / f"{NAME}.json").read_text("utf-8"))
    found = json.loads(path.read_text("utf-8"))
    assert found["ggufSha256"] == metrics["ggufSha256"], "the published model was measured"
    metrics["heldOut"] = {key: found[key] for key in ("en", "zh")}
    write(models, metrics)


def write(models, metrics):
    text = json.dumps(metrics, ensure_ascii=False, indent=2)
    (models / f"{NAME}.json").write_text(text + "\n", "utf-8")


if __name__ == "__main__":
    verb, *paths = [sys.argv[1], *map(Path, sys.argv[2:])]
    {"publish": publish, "measured": measured}[verb](*paths)
