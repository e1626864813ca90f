#!/usr/bin/env python3
"""Records what HF `tokenizers` decodes of growing outputs, for tests/unit/frontend/test_session_stream.c.

    python tests/golden/tokenizer_streams.py        (needs the package tokenizers; tokenizer_stress.py ran before)

Writes tests/golden/tokenizer_stress/streams.json: for each kind some streams, each with the ids of a prompt, ids behind it, the text
that these add to the prompt's, and for each of them how many bytes of that text are whole characters with it. Some tokens are spelt
by the tokens of their bytes, and special ones lie between, as a model may put them.
"""
import json
import random

from tokenizers import Tokenizer

import stress_text
from tokenizer_stress import KINDS, OUT, dump, kind_file

NUM_STREAMS, NUM_IDS = 14, 28
WORDS = [" the", " cat", " sat", "\u4f60\u597d", " \u4e16\u754c", "\U0001f600", "\U0001f468\u200d\U0001f469\u200d\U0001f467", "e\u0301", " caf\u00e9", "\n",
         "   ", "\u0928\u092e\u0938\u094d\u0924\u0947", "\u2581", " x\u2581y", "\u0645\u0631\u062d\u0628\u0627", "'s", "1,000", "\U00010348", "\u00a0"]


def text_of(rng):
    if rng.random() < 0.5:
        return "".join(rng.choice(WORDS) for _ in range(12))
    return stress_text.text((1 << 42) + rng.randrange(1 << 30))[:50].replace("\ufffd", "")


def spell(tokenizer, id, byte_level):
    """The ids of the bytes of a token, or itself where it has none."""
    if byte_level:
        names = list(tokenizer.id_to_token(id))
    else:
        names = [f"<0x{byte:02X}>" for byte in tokenizer.id_to_token(id).encode()]
    ids = [tokenizer.token_to_id(name) for name in names]
    return ids if None not in ids else [id]


def ids_of(tokenizer, rng, kind, special):
    byte_level = KINDS[kind][0] == "bpe"
    spelt = byte_level or "bytes" in kind or kind in ("llama2", "mistral", "gemma")
    ids = []
    for id in tokenizer.encode(text_of(rng), add_special_tokens=False).ids:
        is_added = id in tokenizer.get_added_tokens_decoder()
        name = tokenizer.id_to_token(id)
        if spelt and not is_added and rng.random() < 0.3 and "\u2581" not in name and not name.startswith("<0x"):
            ids += spell(tokenizer, id, byte_level)
        else:
            ids.append(id)
        if rng.random() < 0.05:
            ids.insert(max(0, len(ids) - 1), special)
    return ids[:NUM_IDS]


def grow(tokenizer, prompt, ids):
    """The text behind the prompt with each id, as far as it consists of whole characters."""
    before = tokenizer.decode(prompt, skip_special_tokens=True)
    shown, texts = "", []
    for k in range(1, len(ids) + 1):
        text = tokenizer.decode(prompt + ids[:k], skip_special_tokens=True)
        if not text.startswith(before):
            return None
        text = text[len(before):].rstrip("\ufffd")
        if len(text) > len(shown):  # of a run of bytes that is no text yet HF shows nothing, not even what was whole
            if not text.startswith(shown):
                return None
            shown = text
        texts.append(shown)
    whole = tokenizer.decode(prompt + ids, skip_special_tokens=True)
    return texts if before + shown == whole and "\ufffd" not in shown else None


def main():
    found = []
    for kind, (base, parts) in KINDS.items():
        tokenizer = Tokenizer.from_str(json.dumps(kind_file(json.loads((OUT / f"{base}.json").read_text()), parts)))
        rng, streams = random.Random(kind), []
        special = tokenizer.token_to_id("<|end|>")
        while len(streams) < NUM_STREAMS:
            prompt = tokenizer.encode(rng.choice(["Hi", "x", "Once upon a time"]), add_special_tokens=rng.random() < 0.5).ids
            ids = ids_of(tokenizer, rng, kind, special)
            texts = grow(tokenizer, prompt, ids)
            if texts:
                streams.append({"prompt": prompt, "ids": ids, "text": texts[-1], "ends": [len(text.encode()) for text in texts]})
        found.append({"name": kind, "streams": streams})
    dump(OUT / "streams.json", found)


if __name__ == "__main__":
    main()
