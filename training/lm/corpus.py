"""Reads the corpus of training/corpus and makes the documents of a training job from it.

C1: no `H:` line, nor anything equal to one but for case, punctuation and spaces, is ever in a
    document for training. Checked here for each document and by tests/test_corpus.py.
C2: the same folder and seed give the same documents, byte for byte.
"""

import hashlib
import json
import random
import re
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path

from . import noise

LANGUAGES = ("en", "zh")


@dataclass
class Topic:
    """One topic in one language. `dialogues` are lists of (user, assistant) pairs."""

    id: str
    language: str
    questions: list = field(default_factory=list)
    held: list = field(default_factory=list)
    answers: list = field(default_factory=list)
    dialogues: list = field(default_factory=list)


class CorpusError(Exception):
    """A line of the corpus that cannot be read; the message says file, line and why."""


def normal(text):
    """Returns text as it is compared: lower case, letters and digits only, slots kept."""
    text = unicodedata.normalize("NFKC", text).lower()
    return "".join(char for char in text if char.isalnum() or char in "{}")


def _topic_ids(folder):
    lines = (folder / "topics.txt").read_text("utf-8").splitlines()
    return [line.split("|")[0].strip() for line in lines if line[:1] not in ("", "#", "[")]


def _read_line(topic, mark, text, where, turn):
    """Adds one line to its topic; `turn` is the user's turn that waits for an answer, or null."""
    if mark == "Q":
        topic.questions.append(text)
    elif mark == "H":
        topic.held.append(text)
    elif mark == "A":
        topic.answers.append(text)
    elif mark == "U" and turn is None and topic.dialogues:
        return text
    elif mark == "B" and turn is not None:
        topic.dialogues[-1].append((turn, text))
    else:
        raise CorpusError(f"{where}: a {mark}: line has no place here")
    return None


def read(folder):
    """Returns the topics of a corpus folder, English first, in the order of topics.txt."""
    folder = Path(folder)
    known, topics = _topic_ids(folder), {}
    for language in LANGUAGES:
        for path in sorted((folder / language).glob("*.txt")):
            topic, turn = None, None
            for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
                where, line = f"{path}:{number}", line.strip()
                if line == "" or line.startswith("#"):
                    continue
                if line.startswith("== "):
                    key = (language, line[3:].strip())
                    if key[1] not in known or key in topics:
                        raise CorpusError(f"{where}: topic {key[1]} is unknown or there twice")
                    topic = topics[key] = Topic(key[1], language)
                    turn = None
                elif topic is None:
                    raise CorpusError(f"{where}: a line before the first topic")
                elif line.startswith("--"):
                    topic.dialogues.append([])
                    turn = None
                else:
                    found = re.fullmatch(r"([QHAUB]):\s*(\S.*)", line)
                    if found is None:
                        raise CorpusError(f"{where}: not a line of a known kind")
                    turn = _read_line(topic, found[1], found[2], where, turn)
    order = {name: index for index, name in enumerate(known)}
    return sorted(topics.values(), key=lambda t: (LANGUAGES.index(t.language), order[t.id]))


def checksum(folder):
    """Returns the SHA-256 over names and bytes of the corpus files, in order of their paths."""
    folder, digest = Path(folder), hashlib.sha256()
    for path in [folder / "slots.json", folder / "topics.txt", *sorted(folder.glob("*/*.txt"))]:
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0")
        digest.update(path.read_bytes() + b"\0")
    return digest.hexdigest()


class Builder:
    """Makes documents: `{language, topics, turns, full}` with one topic (or null) for each turn."""

    def __init__(self, topics, seed, options):
        self.topics, self.options = topics, options
        self.prng = random.Random(seed)
        self.held = {normal(text) for topic in topics for text in topic.held}
        self.topic_of = {(t.language, a): t.id for t in topics for a in t.answers}
        self.dropped = 0
        self._find_conflicts()

    def _find_conflicts(self):
        """A Chinese question without ideographs ("hi") that English has too is English."""
        english = {normal(q) for t in self.topics if t.language == "en" for q in t.questions}
        self.foreign = {
            q
            for t in self.topics
            if t.language == "zh"
            for q in t.questions
            if normal(q).isascii() and normal(q) in english
        }

    def _question(self, topic):
        """Returns one noisy question of the topic that is not a held-out one (C1)."""
        for _ in range(20):
            text = self.prng.choice(topic.questions)
            if text not in self.foreign:
                out = noise.vary(text, topic, self.prng, self.options["noise"])
                if normal(out) not in self.held:
                    return out
                self.dropped += 1
        raise CorpusError(f"{topic.language} {topic.id}: no question is free of held-out ones")

    def _noisy(self, topic, text):
        """Returns a noisy form of one given question, or null where it is held out."""
        level = self.options["noise"] if self.prng.random() < 0.9 else 0
        out = noise.vary(text, topic, self.prng, level)
        if normal(out) in self.held:
            self.dropped += 1
            return None
        return out

    def _document(self, topic, turns, ids):
        full = self.prng.random() < self.options["full"]
        return {"language": topic.language, "topics": ids, "turns": turns, "full": full}

    def _chain(self, topic, text):
        """Returns a document of two or three turns that ends in the given question."""
        same = [t for t in self.topics if t.language == topic.language]
        turns, ids = [], []
        for _ in range(1 if self.prng.random() < 0.8 else 2):
            before = self.prng.choice(same)
            turns.append((self._question(before), self.prng.choice(before.answers)))
            ids.append(before.id)
        turns.append((text, self.prng.choice(topic.answers)))
        return self._document(topic, turns, [*ids, topic.id])

    def _dialogue(self, topic, dialogue):
        turns = []
        for user, assistant in dialogue:
            noisy = self._noisy(topic, user)
            if noisy is None:
                return None
            turns.append((noisy, assistant))
        ids = [self.topic_of.get((topic.language, answer)) for _, answer in turns]
        return {**self._document(topic, turns, ids), "full": self.prng.random() < 0.5}

    def epoch(self):
        """Returns every question once, in a new form, with chains and dialogues among them."""
        documents = []
        for topic in self.topics:
            mean = sum(len(t.questions) for t in self.topics) / len(self.topics)
            questions = [q for q in topic.questions if q not in self.foreign]
            # Class balance: a topic with few questions has some of them twice.
            extra = max(0, round(mean) - len(questions))
            for text in questions + [self.prng.choice(questions) for _ in range(extra)]:
                noisy = self._noisy(topic, text)
                if noisy is None:
                    continue
                if self.prng.random() < self.options["chains"]:
                    documents.append(self._chain(topic, noisy))
                    continue
                turns = [(noisy, self.prng.choice(topic.answers))]
                documents.append(self._document(topic, turns, [topic.id]))
            for dialogue in topic.dialogues:
                for _ in range(self.options["dialogue_copies"]):
                    documents.append(self._dialogue(topic, dialogue))
        documents = [document for document in documents if document is not None]
        self.prng.shuffle(documents)
        return documents


def held_documents(topics):
    """Returns the held-out pairs: each `H:` line, slots filled, with one of the answers."""
    out = []
    for topic in topics:
        for index, text in enumerate(topic.held):
            filled = noise.fill_fixed(text, topic.language, index)
            out.append(
                {
                    "language": topic.language,
                    "topic": topic.id,
                    "question": filled,
                    "answer": topic.answers[index % len(topic.answers)],
                }
            )
    return out


def build(folder, out, seed, options):
    """Writes the input folder of a training job; returns counts. See job.py for the contract."""
    topics = read(folder)
    for topic in topics:
        where = f"{topic.language} {topic.id}"
        if not topic.questions or not topic.answers:
            raise CorpusError(f"{where}: no question or no answer")
    builder, out = Builder(topics, seed, options), Path(out)
    out.mkdir(parents=True, exist_ok=True)
    counts = {"documents": 0, "multiTurn": 0}
    with open(out / "train.jsonl", "w", encoding="utf-8") as file:
        for epoch in range(options["epochs"]):
            for document in builder.epoch():
                row = {"epoch": epoch, **document}
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
                counts["documents"] += 1
                counts["multiTurn"] += len(document["turns"]) > 1
    with open(out / "held.jsonl", "w", encoding="utf-8") as file:
        for row in held_documents(topics):
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    counts["heldOutCollisions"] = builder.dropped
    counts["topics"] = {x: sum(t.language == x for t in topics) for x in LANGUAGES}
    counts["questions"] = {
        x: sum(len(t.questions) for t in topics if t.language == x) for x in LANGUAGES
    }
    counts["held"] = {x: sum(len(t.held) for t in topics if t.language == x) for x in LANGUAGES}
    return counts
