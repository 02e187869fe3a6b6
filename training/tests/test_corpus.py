"""Claims about the corpus and what training is made of. Standard library only.

    python3 -m unittest discover -s training/tests -t training
"""

import random
import unittest
from pathlib import Path

from lm import corpus, noise, tokenizer

FOLDER = Path(__file__).resolve().parent.parent / "corpus"
OPTIONS = {"noise": 1.0, "full": 0.3, "chains": 0.15, "dialogue_copies": 1}


class CorpusTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.topics = corpus.read(FOLDER)
        cls.documents = corpus.Builder(cls.topics, 7, OPTIONS).epoch()

    def test_no_held_out_question_is_in_a_training_document(self):
        held = {corpus.normal(text) for topic in self.topics for text in topic.held}
        for topic in self.topics:
            for index, text in enumerate(topic.held):
                held.add(corpus.normal(noise.fill_fixed(text, topic.language, index)))
        for document in self.documents:
            for question, _ in document["turns"]:
                self.assertNotIn(corpus.normal(question), held)

    def test_a_held_out_question_among_the_questions_is_left_out(self):
        topic = corpus.Topic("t", "en", ["Where is it?", "track it now"], ["where IS it"], ["A."])
        documents = corpus.Builder([topic], 1, {**OPTIONS, "noise": 0, "chains": 0}).epoch()
        asked = {turn[0] for document in documents for turn in document["turns"]}
        self.assertEqual(asked, {"track it now"})

    def test_both_languages_have_the_same_topics_with_answers_and_held_out_questions(self):
        ids = {x: {t.id for t in self.topics if t.language == x} for x in corpus.LANGUAGES}
        self.assertEqual(ids["en"], ids["zh"])
        for topic in self.topics:
            self.assertGreaterEqual(len(topic.answers), 2, topic)
            self.assertGreaterEqual(len(topic.held), 4, topic)
            self.assertGreaterEqual(len(topic.questions), 30, topic)

    def test_a_fifth_to_a_third_of_the_documents_have_several_turns(self):
        documents = corpus.Builder(self.topics, 7, {**OPTIONS, "dialogue_copies": 2}).epoch()
        share = sum(len(document["turns"]) > 1 for document in documents) / len(documents)
        self.assertGreater(share, 0.18)
        self.assertLess(share, 0.34)

    def test_the_same_seed_gives_the_same_documents_and_no_slot_is_left(self):
        again = corpus.Builder(self.topics, 7, OPTIONS).epoch()
        self.assertEqual(self.documents, again)
        for document in self.documents:
            for question, answer in document["turns"]:
                self.assertNotRegex(question + answer, r"\{\w+\}")


class TokenizerTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.texts = ["how do I return a parcel?", "怎么退货？退款多久到账", "退款退货怎么退"] * 5
        cls.tokens = tokenizer.train([(text, 1) for text in cls.texts], 400)

    def test_any_text_survives_a_round_trip(self):
        for text in [*self.texts, "a\r\n  b", "😀 龘 <|im_end|>", "नमस्ते"]:
            self.assertEqual(self.tokens.decode(self.tokens.encode(text)), text)
            noisy = self.tokens.encode_noisy(text, random.Random(1), 0.3)
            self.assertEqual(self.tokens.decode(noisy), text)

    def test_no_token_of_known_text_ends_inside_a_character(self):
        for text in self.texts:
            for index in self.tokens.encode(text):
                self.tokens.vocab[index].decode("utf-8")

    def test_ideographs_join_in_pairs_at_most(self):
        for data in self.tokens.vocab[256:]:
            text = data.decode("utf-8", "ignore")
            self.assertTrue(text.isascii() or len(text) <= 2, text)


if __name__ == "__main__":
    unittest.main()
