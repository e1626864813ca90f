#!/usr/bin/env python3
"""Records what HF `tokenizers` makes of 20,000 seeded texts, for tests/unit/text/test_tokenizer_stress.c.

    python tests/golden/tokenizer_stress.py                  (needs the package tokenizers)
    python tests/golden/tokenizer_stress.py LINES_PROGRAM    compares the program with the package, text by text

Writes tests/golden/tokenizer_stress/:
  bpe.json, sp.json, ...  the tokenizers that the kinds are made of, trained here on seeded texts
  kinds.json              of each kind: its tokenizer and what it puts in place of the parts
  <kind>.hashes           32 bits for each text: of its ids, and of the text that they decode to
  <kind>.ids              the ids of the first 500 texts: a count and the ids, 16 bits each
  normalizers.json        32 bits for each of 2,000 texts under single normalizers
Even texts are encoded with special tokens recognised and the post-processor, odd ones without both.
"""
import base64
import collections
import json
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, trainers

import stress_text
from tokenizer import DEEPSEEK, LLAMA3, QWEN2

OUT = Path(__file__).parent / "tokenizer_stress"
NUM_TEXTS, NUM_IDS, NUM_NORMALIZED = 20000, 500, 2000
MASK = (1 << 64) - 1

WORD_ENDS = r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
TEKKEN = rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}*{LOWER}+|[^\r\n\p{{L}}\p{{N}}]?{UPPER}+{LOWER}*|\p{{N}}" + WORD_ENDS
FOLDED = "(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
O200K = rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}*{LOWER}+{FOLDED}|[^\r\n\p{{L}}\p{{N}}]?{UPPER}+{LOWER}*{FOLDED}|\p{{N}}{{1,3}}" + WORD_ENDS
QWEN35 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*"
          r"|\s*[\r\n]+|\s+(?!\S)|\s+")
DEEPSEEK_WORDS = (
    "\\s?[A-Za-z\u00b5\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u01ba\u01bc-\u01bf\u01c4-\u0293\u0295-\u02af\u0370-\u0373\u0376\u0377\u037b-"
    "\u037d\u037f\u0386\u0388-\u038a\u038c\u038e-\u03a1\u03a3-\u03f5\u03f7-\u0481\u048a-\u052f\u0531-\u0556\u10a0-\u10c5\u13a0-\u13f5"
    "\u13f8-\u13fd\u1c90-\u1cba\u1cbd-\u1cbf\u1d00-\u1d2b\u1d6b-\u1d77\u1d79-\u1d9a\u1e00-\u1f15\u1f18-\u1f1d\u1f20-\u1f45\u1f48-\u1f4d"
    "\u1f50-\u1f57\u1f59\u1f5b\u1f5d\u1f5f-\u1f7d\u1f80-\u1fb4\u1fb6-\u1fbc\u1fbe\u1fc2-\u1fc4\u1fc6-\u1fcc\u1fd0-\u1fd3\u1fd6-\u1fdb"
    "\u1fe0-\u1fec\u1ff2-\u1ff4\u1ff6-\u1ffc\u2102\u2107\u210a-\u2113\u2115\u2119-\u211d\u2124\u2126\u2128\u212a-\u212d\u212f-\u2134"
    "\u2139\u213c-\u213f\u2145-\u2149\u214e\u2183\u2184\u2c00-\u2c7b\u2c7e-\u2ce4\u2ceb-\u2cee\u2cf2\u2cf3\ua640-\ua66d\ua680-\ua69b"
    "\ua722-\ua76f\ua771-\ua787\ua78b-\ua78e\uab70-\uabbf\ufb00-\ufb06\ufb13-\ufb17\uff21-\uff3a\uff41-\uff5a\U00010400-\U0001044f"
    "\U000104b0-\U000104d3\U000104d8-\U000104fb\U00010c80-\U00010cb2\U00010cc0-\U00010cf2\U000118a0-\U000118df\U0001e900-\U0001e943]+")
DEEPSEEK_MARKS = "\\s?[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002]+"
DEEPSEEK_CJK = "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"


def split(pattern, behavior="Isolated", invert=False, kind="Regex"):
    return {"type": "Split", "pattern": {kind: pattern}, "behavior": behavior, "invert": invert}


def sequence(*members, name="pretokenizers"):
    return {"type": "Sequence", name: list(members)}


BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
WITH_REGEX = dict(BYTE_LEVEL, use_regex=True)
DIGITS = {"type": "Digits", "individual_digits": True}
PREPEND = {"type": "Prepend", "prepend": "▁"}
SPACES = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
BACK = {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}
FALLBACK, FUSE = {"type": "ByteFallback"}, {"type": "Fuse"}
LLAMA_DECODER = sequence(BACK, FALLBACK, FUSE, {"type": "Strip", "content": " ", "start": 1, "stop": 0}, name="decoders")


def metaspace(scheme, split=True):
    return {"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": split}


def template(*names):
    """Puts the tokens of these names, whose ids are 1 and on, in front of the text."""
    ids = {name: i + 1 for i, name in enumerate(names)}
    special = [{"SpecialToken": {"id": name, "type_id": 0}} for name in names]
    return {"type": "TemplateProcessing", "single": special + [{"Sequence": {"id": "A", "type_id": 0}}],
            "pair": special + [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {name: {"id": name, "ids": [id], "tokens": [name]} for name, id in ids.items()}}


# name: (tokenizer, parts in place of its own; "model." for options of the model)
KINDS = {
    "gpt2": ("bpe", {"pre_tokenizer": WITH_REGEX}),
    "llama3": ("bpe", {"pre_tokenizer": sequence(split(LLAMA3), BYTE_LEVEL), "model.ignore_merges": True,
                       "post_processor": sequence(dict(BYTE_LEVEL), template("<s>"), name="processors")}),
    "qwen2": ("bpe", {"normalizer": {"type": "NFC"}, "pre_tokenizer": sequence(split(QWEN2), BYTE_LEVEL)}),
    "qwen35": ("bpe", {"normalizer": {"type": "NFC"}, "pre_tokenizer": sequence(split(QWEN35), BYTE_LEVEL)}),
    "smollm": ("bpe", {"pre_tokenizer": sequence(DIGITS, WITH_REGEX)}),
    "deepseek_v3": ("bpe", {"normalizer": sequence(name="normalizers"), "pre_tokenizer": sequence(
        split(r"\p{N}{1,3}"), split("[一-龥\u3040-ゟ゠-ヿ]+"), split(DEEPSEEK), BYTE_LEVEL)}),
    "deepseek_v2": ("bpe", {"pre_tokenizer": sequence(
        split("[\r\n]"), split(DEEPSEEK_WORDS), split(DEEPSEEK_MARKS), split(r"\s+$"), split(DEEPSEEK_CJK), DIGITS,
        BYTE_LEVEL)}),
    "tekken": ("bpe", {"pre_tokenizer": sequence(split(TEKKEN), BYTE_LEVEL), "model.ignore_merges": True}),
    "o200k": ("bpe", {"pre_tokenizer": sequence(split(O200K), BYTE_LEVEL)}),
    "pieces": ("bpe", {"normalizer": sequence({"type": "Strip", "strip_left": True, "strip_right": True}, {"type": "NFKC"}, name="normalizers"),
                       "pre_tokenizer": sequence({"type": "WhitespaceSplit"}, {"type": "Punctuation", "behavior": "MergedWithPrevious"},
                                                 dict(BYTE_LEVEL, add_prefix_space=True))}),
    "words": ("bpe", {"normalizer": {"type": "NFKD"}, "pre_tokenizer": sequence({"type": "Whitespace"}, BYTE_LEVEL),
                      "post_processor": {"type": "RobertaProcessing", "sep": ["</s>", 2], "cls": ["<s>", 1], "trim_offsets": True,
                                         "add_prefix_space": True}}),
    "llama2": ("sp", {"normalizer": sequence(PREPEND, SPACES, name="normalizers"), "decoder": LLAMA_DECODER, "post_processor": template("<s>")}),
    "mistral": ("sp", {"pre_tokenizer": metaspace("first", False), "decoder": LLAMA_DECODER, "post_processor": template("<s>")}),
    "gemma": ("sp_joined", {"normalizer": SPACES, "pre_tokenizer": split(" ", "MergedWithPrevious", kind="String"),
                            "decoder": sequence(BACK, FALLBACK, FUSE, name="decoders"), "post_processor": template("<s>")}),
    "unk_fused": ("sp", {"model.byte_fallback": False, "pre_tokenizer": metaspace("always", False), "decoder": metaspace("always")}),
    "unk": ("sp", {"model.byte_fallback": False, "model.fuse_unk": False, "decoder": metaspace("never"), "pre_tokenizer": metaspace("never"),
                   "normalizer": sequence({"type": "NFD"}, {"type": "StripAccents"}, {"type": "Lowercase"},
                                          {"type": "Replace", "pattern": {"Regex": r"\d+|x{2,}"}, "content": "0"}, name="normalizers")}),
    "unigram": ("unigram", {"normalizer": {"type": "NFKC"}, "pre_tokenizer": metaspace("always"), "decoder": metaspace("always")}),
    "unigram_bytes": ("unigram", {"model.byte_fallback": True, "normalizer": sequence(PREPEND, SPACES, name="normalizers"),
                                  "decoder": LLAMA_DECODER, "post_processor": template("<s>", "</s>")}),
}


def corpus(first):
    """Texts of another stretch of seeds, and some prose that repeats."""
    prose = ["The quick brown fox jumps over the lazy dog, and the dog barks.", "It's 2024; we don't know what they're doing.",
             "def main():\n    for i in range(10):\n        print(i, end=' ')\n", "int main(void)\n{\n\treturn 0;\n}\n",
             "Der schnelle braune Fuchs springt über den faulen Hund.", "Съешь же ещё этих мягких французских булок.",
             "いろはにほへと ちりぬるを", "天地玄黄 宇宙洪荒", "El veloz murciélago hindú comía feliz cardillo y kiwi."]
    for i in range(4000):
        text = stress_text.text((1 << 40) + first + i)
        for token in ("wordy", "b><c", "abc"):  # added later; no word of the vocabulary may be one of them
            text = text.replace(token, "")
        yield text
        yield prose[i % len(prose)] + " " * (i % 5)


def added_tokens(rstrip):
    return [AddedToken("<unk>", special=True, normalized=False), AddedToken("<s>", special=True, normalized=False),
            AddedToken("</s>", special=True, normalized=False, rstrip=rstrip), AddedToken("<|end|>", special=True, normalized=False, rstrip=rstrip),
            AddedToken("<|user|>", special=True), AddedToken("<mask>", special=True, lstrip=True), AddedToken("<pad>", special=True, rstrip=True),
            AddedToken("wordy", single_word=True, normalized=True), AddedToken("<a>", normalized=False), AddedToken("<a><b>", normalized=False),
            AddedToken("b><c", normalized=True), AddedToken("abc", normalized=True), AddedToken("    ", normalized=False)]


def finish(tokenizer, rstrip):
    tokenizer.add_tokens(added_tokens(rstrip))
    return json.loads(tokenizer.to_str())


def make_bpe():
    """Byte-level. Merges were learnt across all borders, so that each place where a pattern cuts shows."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    trainer = trainers.BpeTrainer(vocab_size=1800, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False,
                                  special_tokens=["<unk>", "<s>", "</s>"], max_token_length=12)
    tokenizer.train_from_iterator(corpus(0), trainer)
    data = finish(tokenizer, False)
    data["decoder"] = dict(BYTE_LEVEL)
    return data


def add_bytes(data):
    """<0x00> to <0xFF> as ids 3 to 258, in front of what was learnt."""
    vocab = data["model"]["vocab"]
    names = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)]
    names += sorted((name for name in vocab if name not in names), key=vocab.get)
    data["model"]["vocab"] = {name: id for id, name in enumerate(names)}
    data["model"].update(byte_fallback=True, fuse_unk=True, unk_token="<unk>")
    return data


def make_sp(cut):
    """As SentencePiece: over characters; `cut`: no token goes on behind a word."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    if cut:
        tokenizer.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    trainer = trainers.BpeTrainer(vocab_size=1500, show_progress=False, special_tokens=["<unk>", "<s>", "</s>"], limit_alphabet=600,
                                  max_token_length=12)
    texts = (text.replace("\x00", "") for text in corpus(10000 + cut))  # no file has a NUL for a token
    tokenizer.train_from_iterator(texts, trainer)
    data = add_bytes(json.loads(tokenizer.to_str()))
    data.update(added_tokens=[], normalizer=None, pre_tokenizer=None)
    return finish(Tokenizer.from_str(json.dumps(data)), True)


def make_unigram():
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=1500, unk_token="<unk>", show_progress=False, special_tokens=["<unk>", "<s>", "</s>"],
                                      max_piece_length=12)
    count = collections.Counter(char for text in corpus(20000) for char in text)
    count.pop("\x00")
    common = {char for char, _ in count.most_common(600)}  # every one becomes a token
    tokenizer.train_from_iterator(("".join(filter(common.__contains__, text)) for text in corpus(20000)), trainer)
    data = json.loads(tokenizer.to_str())
    vocab = data["model"]["vocab"]
    data["model"]["vocab"] = vocab[:3] + [[f"<0x{byte:02X}>", 0.0] for byte in range(256)] + vocab[3:]
    data["model"]["unk_id"] = 0
    data["added_tokens"] = []
    return finish(Tokenizer.from_str(json.dumps(data)), True)


def kind_file(base, parts):
    data = dict(base, model=dict(base["model"]))
    for key, value in parts.items():
        if key.startswith("model."):
            data["model"][key[6:]] = value
        else:
            data[key] = value
    return data


def fnv(blob, value=0xCBF29CE484222325):
    for byte in blob:
        value = (value ^ byte) * 0x100000001B3 & MASK
    return value


def fold(value):
    return (value ^ value >> 32) & 0xFFFFFFFF


def answer(tokenizer, seed):
    tokenizer.encode_special_tokens = seed % 2 == 1
    ids = tokenizer.encode(stress_text.text(seed), add_special_tokens=seed % 2 == 0).ids
    return ids, tokenizer.decode(ids, skip_special_tokens=False)


def record(name, data):
    tokenizer = Tokenizer.from_str(json.dumps(data))
    hashes, lists = [], bytearray()
    for seed in range(NUM_TEXTS):
        ids, back = answer(tokenizer, seed)
        hashes.append(fold(fnv(back.encode(), fnv(struct.pack(f"<{len(ids)}i", *ids)))))
        if seed < NUM_IDS:
            lists += struct.pack(f"<{len(ids) + 1}H", len(ids), *ids)
    (OUT / f"{name}.hashes").write_bytes(struct.pack(f"<{NUM_TEXTS}I", *hashes))
    (OUT / f"{name}.ids").write_bytes(lists)


def record_normalizers():
    rows = [{"type": name} for name in ("NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents")]
    rows += [PREPEND, SPACES, {"type": "Strip", "strip_left": True, "strip_right": False}, {"type": "Strip", "strip_left": False, "strip_right": True},
             {"type": "Replace", "pattern": {"Regex": r"\s+"}, "content": "_ "}, {"type": "Replace", "pattern": {"String": "the"}, "content": ""}]
    base = json.loads(Tokenizer(models.BPE()).to_str())
    found = []
    for row in rows:
        normalizer = Tokenizer.from_str(json.dumps(dict(base, normalizer=row))).normalizer
        hashes = [fold(fnv(normalizer.normalize_str(stress_text.text(seed)).encode())) for seed in range(NUM_NORMALIZED)]
        found.append({"normalizer": row, "hashes": base64.b64encode(struct.pack(f"<{NUM_NORMALIZED}I", *hashes)).decode()})
    dump(OUT / "normalizers.json", found)


def dump(path, data):
    path.write_text(json.dumps(data, ensure_ascii=False, separators=(",", ":")) + "\n")


def make_all():
    stress_text.main()
    makers = {"bpe": make_bpe, "sp": lambda: make_sp(True), "sp_joined": lambda: make_sp(False), "unigram": make_unigram}
    for name, make in makers.items():
        dump(OUT / f"{name}.json", make())
    dump(OUT / "kinds.json", [{"name": name, "tokenizer": base, "parts": parts} for name, (base, parts) in KINDS.items()])
    record_normalizers()
    for name, (base, parts) in KINDS.items():
        record(name, kind_file(json.loads((OUT / f"{base}.json").read_text()), parts))
        print(name, flush=True)


def compare(program, names, num):
    """Prints the first differences of each kind."""
    for name in names or KINDS:
        base, parts = KINDS[name]
        data = json.dumps(kind_file(json.loads((OUT / f"{base}.json").read_text()), parts))
        tokenizer = Tokenizer.from_str(data)
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "tokenizer.json").write_text(data)
            lines = "".join(json.dumps({"text": stress_text.text(seed), "special": seed % 2 == 0, "add": seed % 2 == 0}) + "\n" for seed in range(num))
            found = subprocess.run([program, folder], input=lines, capture_output=True, text=True, check=True).stdout.split("\n")[:-1]
        differing = 0
        for seed, line in enumerate(found):
            ids, back = answer(tokenizer, seed)
            got = json.loads(line)
            if got["ids"] != ids or got["text"] != back:
                differing += 1
                if differing <= 3:
                    print(f"{name} {seed}: {stress_text.text(seed)!r}\n  wanted {ids} {back!r}\n  found  {got['ids']} {got['text']!r}")
        print(f"{name}: {differing} of {len(found)} differ")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        compare(sys.argv[1], sys.argv[3:], int(sys.argv[2]) if len(sys.argv) > 2 else NUM_TEXTS)
    else:
        make_all()
