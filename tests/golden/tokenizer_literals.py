#!/usr/bin/env python3
"""Records what HF `tokenizers` makes of texts in which a special token's literal is data, and of ties between tokens.

    python tests/golden/tokenizer_literals.py        (needs the package tokenizers; tokenizer_stress.py ran before)

Writes tests/golden/tokenizer/:
  literals.json   texts in which U+E000 stands behind the first character of each literal that is data, and of each kind of
                  tokenizer_stress.py the ids, as if those literals were no tokens: HF is given a copy of the tokenizer
                  whose special tokens have other names, and the text with control tokens by those names. Without
                  the merges that put special tokens together; null where a literal is a piece of a Unigram model. Twice for each kind: as it stands, and with special tokens
                  that are found in normalized text
  ties.json       a Unigram tokenizer in which a pair of tokens scores as much as the token that joins them, or a unit in
                  the last place more or less, and the ids of each
For tests/unit/text/test_tokenizer_marked.c and test_unigram.c.
"""
import json
import random
import struct

from tokenizers import Tokenizer

import stress_text
from tokenizer import OUT as FOLDER
from tokenizer_stress import KINDS, OUT as STRESS, dump, fnv, fold, kind_file

MARK = "\ue000"
SPECIALS = ["<unk>", "<s>", "</s>", "<|end|>", "<|user|>", "<mask>", "<pad>"]
ONLY_RAW = ("pieces", "llama2", "unigram_bytes")  # behind Strip HF's places are wrong; with Prepend such tokens begin with a space
NUM_SEEDED, NUM_FULL = 160, 24


def control(name):
    """Of two characters, as a model makes one alone a token."""
    return "\ue1ff" + chr(0xE100 + SPECIALS.index(name))


def written():
    """Lists of control tokens, as ("<s>",), and of text."""
    found = []
    for literal in SPECIALS:
        found += [[literal], ["a" + literal + "b"], ["say " + literal + " twice: " + literal + literal],
                  [("<|user|>",), " " + literal + "\n", ("<|end|>",), ("<s>",), "Hello " + literal]]
    found += [["<<s>s><s"], ["<|<|end|>|>"], ["<|end|" + "<|end|>"], [("<s>",), "</s>", ("</s>",), "</s>  x"], ["x \t<mask>", ("<mask>",), "<mask> y"],
              [("<pad>",), "  <pad>  ", ("<pad>",), "  z"], ["<a><s><a><b>"], ["abc<|end|>abc"], ["<s>" * 60], ["wordy<s> wordy"]]
    return found


def seeded(seed):
    rng = random.Random(seed)
    parts = []
    for _ in range(1 + rng.randrange(5)):
        if rng.random() < 0.4:
            parts.append((rng.choice(SPECIALS[1:]),))
        text = stress_text.text((1 << 41) + rng.randrange(1 << 30))[:60]
        for _ in range(rng.randrange(3)):
            at = rng.randrange(len(text) + 1)
            text = text[:at] + rng.choice(SPECIALS) + text[at:]
        parts.append(text.replace(MARK, ""))
    return parts


def mark(text):
    begins = {at for at in range(len(text)) for literal in SPECIALS if text.startswith(literal, at)}
    return "".join(char + MARK * (at in begins) for at, char in enumerate(text))


def marked(parts):
    return "".join(part[0] if isinstance(part, tuple) else mark(part) for part in parts)


def renamed(parts):
    return "".join(control(part[0]) if isinstance(part, tuple) else part for part in parts)


def unlearn(data):
    """Drops the merges that put special tokens together."""
    if "merges" in data["model"]:
        data["model"]["merges"] = [merge for merge in data["model"]["merges"] if not {*merge, "".join(merge)} & {*SPECIALS}]
    return data


def made(data):
    """Special tokens among the pieces of a Unigram model: with HF, plain text becomes them."""
    vocab = data["model"]["vocab"]
    return [name for name in SPECIALS if isinstance(vocab, list) and name in [text for text, _ in vocab]]


def rename(data):
    """The tokenizer with other names for its special tokens."""
    names = {name: control(name) for name in SPECIALS}
    data = json.loads(json.dumps(data))
    model, vocab = data["model"], data["model"]["vocab"]
    for token in data["added_tokens"]:
        token["content"] = names.get(token["content"], token["content"])
    model["vocab"] = ({names.get(text, text): id for text, id in vocab.items()} if isinstance(vocab, dict) else
                      [[names.get(text, text), score] for text, score in vocab])
    if model.get("unk_token"):
        model["unk_token"] = names[model["unk_token"]]
    data["post_processor"] = None
    return data


def record_literals():
    texts = written()
    texts += [seeded(seed) for seed in range(NUM_SEEDED)]
    rows = []
    for name, (base, parts) in KINDS.items():
        for normalized in (False, True) if name not in ONLY_RAW else (False,):
            data = unlearn(kind_file(json.loads((STRESS / f"{base}.json").read_text()), parts))
            data["added_tokens"] = [dict(token, normalized=normalized or token["normalized"]) for token in data["added_tokens"]]
            tokenizer, split = Tokenizer.from_str(json.dumps(rename(data))), Tokenizer.from_str(json.dumps(data))
            split.encode_special_tokens = True
            ids, pieces = [], made(data)
            for text in texts:
                plain = "".join(part for part in text if isinstance(part, str))
                leaks = any(literal in plain for literal in pieces)
                ids.append(None if leaks else tokenizer.encode(renamed(text), add_special_tokens=False).ids)
                if not leaks and len(text) == 1:  # what transformers calls split_special_tokens
                    assert ids[-1] == split.encode(plain, add_special_tokens=False).ids, (name, text)
            hashes = [fold(fnv(struct.pack(f"<{len(row)}i", *row))) if row is not None else None for row in ids]
            rows.append({"name": name, "normalized": normalized, "ids": ids[:NUM_FULL], "hashes": hashes[NUM_FULL:]})
    dump(FOLDER / "literals.json", {"mark": MARK, "texts": [marked(text) for text in texts], "kinds": rows})


def record_ties():
    rng = random.Random(11)
    vocab, texts = [["<unk>", 0.0]], []
    for i in range(400):
        left, right = chr(0x4E00 + 2 * i), chr(0x4E01 + 2 * i)
        one, two = (struct.unpack("f", struct.pack("f", -rng.uniform(2, 15)))[0] for _ in range(2))
        vocab += [[left, one], [right, two], [left + right, one + two]]
        texts.append(left + right)
    data = {"version": "1.0", "added_tokens": [], "normalizer": None, "pre_tokenizer": None, "post_processor": None, "decoder": None,
            "model": {"type": "Unigram", "unk_id": 0, "vocab": vocab, "byte_fallback": False}}
    tokenizer = Tokenizer.from_str(json.dumps(data))
    ids = [tokenizer.encode(text).ids for text in texts]
    assert 20 < sum(len(row) == 2 for row in ids) < 380
    dump(FOLDER / "ties.json", {"model": data["model"], "texts": texts, "ids": ids})


if __name__ == "__main__":
    record_ties()
    record_literals()
