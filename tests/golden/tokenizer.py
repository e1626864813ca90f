#!/usr/bin/env python3
"""Records what Hugging Face `tokenizers` makes of texts, for tests/unit/text/test_tokenizer.c.

Run: python tests/golden/tokenizer.py        (needs the package tokenizers)

Writes tests/golden/tokenizer/:
  <name>/tokenizer.json   three small byte-level BPE tokenizers, trained here on made-up text
  texts.json              the texts, what NFC makes of them, and the parts of the seeded generator
  <name>.json             ids of each text, special tokens on with post-processor and off without
  <name>.hashes           FNV-1a (64 bit, little endian) over the ids of each seeded text
  variants.json           other pre-tokenizers in the first tokenizer's place: hashes of each text
The generator, `seeded_text`, exists a second time in the test.
"""
import json
import struct
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers
from tokenizers import pre_tokenizers, processors, trainers

from stress_text import Random

HERE = Path(__file__).parent
OUT = HERE / "tokenizer"
RINGLET = HERE.parent.parent / "models/ringlet/tokenizer.json"
NUM_SEEDED = 5000
MASK = (1 << 64) - 1

WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA3 = WORDS + r"\p{N}{1,3}" + REST
QWEN2 = WORDS + r"\p{N}" + REST
DEEPSEEK = (
    r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+|"""
    r""" ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"""
)


FRAGMENTS = [
    " ", "  ", "   ", "\t", "\n", "\r\n", "\n\n", "\r", "\x0b", "\x00", "\x7f", "\u00a0", "\u2003", "\u3000", "\u2028", "\u0085",
    "\u200b", "\u180e", "\ufeff", "a", "b", "the", " the", "The", "THE", "'s", "'S", "'ll", "'LL", "'re", "'ve", "'d", "'m", "'t", "'",
    "\u2019s", "'\u017f", "don't", "I'm", "we'Ve", "0", "1", "12", "123", "1234567890", "3.14", "1,000", "\u0663", "\u00bd", "\u2167", "\u00b2",
    ".", "...", ",", "!", "?!", "()", "[{", "}]", "<", ">", "</", "<|", "|>", "==", "->", "//", "/* */", "#", "$", "_", "__init__", "a_b",
    "Caf\u00e9", "Cafe\u0301", "\u0301", "\u0323\u0301", "\u0301\u0323", "\u212b", "\u212a", "\u1e9b\u0323", "\u0958", "\u09c7\u09be", "\u1100\u1161\u11a8",
    "\uac00\u11a8", "\ud55c\uad6d\uc5b4", "\u4e2d\u6587", "\u65e5\u672c\u8a9e\u306e", "\u30ab\u30bf\u30ab\u30ca", "\u041f\u0440\u0438\u0432\u0435\u0442", " \u043c\u0438\u0440",
    "\u0391\u03b8\u03ae\u03bd\u03b1", "\u05e9\u05dc\u05d5\u05dd", "\u0645\u0631\u062d\u0628\u0627", "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35", "\u0928\u092e\u0938\u094d\u0924\u0947",
    "\U0001f600", "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\U0001f44d\U0001f3fd", "\U0001f1e9\U0001f1ea", "\u2764\ufe0f", "\u00df", "\u1e9e", "\u0130", "\u01c5",
    "ringing", " banana", "na", "naïve", "fiancée", "x=1;", "if (x) {", "    return 0;\n", "http://a.b/c?d=e", "\\n", "\"", "`", "~", "^",
    "<|end|>", "<mask>", "<pad>", "wordy", "<a>", "<a><b>", "b><c", "abc", "ab", "Ça", "C\u0327a", "    ", "<|im_start|>", "<|im_end|>",
    "<tool_call>", "</tool_call>", "<|endoftext|>", "<|begin|>",
]
RANGES = [
    [0x20, 0x7E], [0x20, 0x7E], [0x61, 0x7A], [0x61, 0x7A], [0x30, 0x39], [0x00, 0x1F], [0x80, 0xFF], [0x100, 0x24F], [0x300, 0x36F],
    [0x391, 0x3A1], [0x400, 0x4FF], [0x5D0, 0x5EA], [0x620, 0x64A], [0x64B, 0x652], [0x904, 0x94D], [0x958, 0x95F], [0xE01, 0xE3A],
    [0x1100, 0x1112], [0x1161, 0x1175], [0x11A8, 0x11C2], [0xAC00, 0xD7A3], [0x1E00, 0x1EFF], [0x1F80, 0x1FAF], [0x2000, 0x2064],
    [0x2070, 0x2071], [0x2150, 0x2188], [0x2190, 0x21FF], [0x2460, 0x24FF], [0x2500, 0x257F], [0x3041, 0x3096], [0x30A1, 0x30FA],
    [0x4E00, 0x9FA5], [0xE000, 0xE0FF], [0xF900, 0xFA0D], [0xFB1D, 0xFB36], [0xFE00, 0xFE0F], [0xFF01, 0xFF5E], [0x1D15E, 0x1D164],
    [0x1D400, 0x1D454], [0x1F300, 0x1F64F], [0x1F3FB, 0x1F3FF], [0x2F800, 0x2FA1D], [0xE0020, 0xE007F],
]


def seeded_text(seed):
    """Parts in a row: 9 of 16 a fragment, 5 of 16 a character, 2 of 16 a fragment many times."""
    random = Random(seed)
    parts = []
    for _ in range(1 + random.below(24)):
        kind = random.below(16)
        if kind < 9:
            parts.append(FRAGMENTS[random.below(len(FRAGMENTS))])
        elif kind < 14:
            low, high = RANGES[random.below(len(RANGES))]
            parts.append(chr(low + random.below(high - low + 1)))
        else:
            fragment = FRAGMENTS[random.below(len(FRAGMENTS))]
            parts.append(fragment * (1 + random.below(40)))
    return "".join(parts)


def written_texts():
    """The cases that a person would think of; seeded ones fill up to 340."""
    texts = ["", " ", "a", "Hello world", "Hello, world! It's 2024.", "don't DON'T don\u2019t", "hello   world", "x \n y", "x\n\n\ny  \n", "\t\tindent\n\t\tmore",
             "a" * 200, "ab" * 100, " " * 100, "\n" * 50, " \n" * 30, "1" * 64, "1234 5678 90", "\u00e9" * 40, "e\u0301" * 40, "\u0301" * 60,
             "\u0301\u0323" * 40, "a" + "\u0323\u0301\u0316" * 20, "\x00\x01\x02", "a\x00b", "\ufeffBOM", "\u202eRTL", "\U0010ffff", "\ue000", "word" * 60,
             "The quick brown fox jumps over the lazy dog. " * 8]
    tokens = ["<|end|>", "<mask>", "<pad>", "wordy", "<a>", "<a><b>", "b><c", "abc", "Ça", "C\u0327a", "<|im_start|>", "<tool_call>", "<|endoftext|>", "<|begin|>", "    "]
    for token in tokens:
        texts += [token, "x" + token + "x", "x " + token + " x", "x \n\t" + token + " \u3000\n y", token * 3, token + " " + token, token[:-1], " " + token[1:],
                  "1" + token + "2", "_" + token, token + "\u0301"]
    texts += ["<a><b><c>", "<a><b", "<a><b><a><b>>", "abcabcab", "ab abc abcd", "wordy, wordy.wordy wordys", "  <mask>  <mask>  ", "  <pad>  <pad>  ", "<pad>    <mask>    <pad>"]
    for code in ("int main(void)\n{\n    return 0;\n}\n", "def f(x):\n\treturn x**2  # y\r\n", "{\"a\": [1, 2.5e-3, null]}\n", "SELECT * FROM t WHERE a='b';"):
        texts += [code, code * 4]
    seed = 1 << 32
    while len(texts) < 340:
        texts.append(seeded_text(seed))
        seed += 1
    return texts


def training_text():
    random = Random(7)
    syllables = ["ba", "na", "ri", "ng", "to", "ken", "er", "the", "in", "st", "al", "ou", "é", "ü", "ж", "и", "中", "の", "ab", "c"]
    lines = []
    for _ in range(3000):
        line = []
        for _ in range(4 + random.below(8)):
            kind = random.below(12)
            if kind < 8:
                line.append("".join(syllables[random.below(len(syllables))] for _ in range(1 + random.below(3))))
            elif kind < 9:
                line.append(str(random.below(10000)))
            else:
                line.append(FRAGMENTS[random.below(len(FRAGMENTS) - 20)])
        lines.append(" ".join(line) + ("\n" if random.below(2) else "  "))
    lines += ["The quick brown fox jumps over the lazy dog. Hello, world! It's 2024.\n"] * 40
    lines += ["int main(void)\n{\n    return 0;\n}\n", "a" * 64, " " * 32, "1" * 9] * 20
    return lines


def added_tokens():
    return [
        AddedToken("<|end|>", special=True),
        AddedToken("<mask>", special=True, lstrip=True),
        AddedToken("<pad>", special=True, rstrip=True),
        AddedToken("wordy", single_word=True, normalized=True),
        AddedToken("<a>", normalized=False),
        AddedToken("<a><b>", normalized=False),
        AddedToken("b><c", normalized=True),
        AddedToken("abc", normalized=True),
        AddedToken("Ça", normalized=True),
        AddedToken("    ", normalized=False),
        AddedToken("\n\t", normalized=False, rstrip=True),
    ]


def train(name, normalizer, pre_tokenizer, vocab_size):
    tokenizer = Tokenizer(models.BPE())
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    trainer = trainers.BpeTrainer(vocab_size=vocab_size, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False,
                                  special_tokens=["<|begin|>"] if name == "llama3" else [])
    tokenizer.train_from_iterator(training_text(), trainer)
    tokenizer.add_tokens(added_tokens())
    return json.loads(tokenizer.to_str())


def drop_merges(data):
    """Leaves words in the vocabulary that no merge reaches, as in files made from tiktoken's."""
    merges = data["model"]["merges"]
    used = {side for merge in merges for side in merge}
    data["model"]["merges"] = [m for i, m in enumerate(merges) if i % 3 or "".join(m) in used]
    assert len(data["model"]["merges"]) < len(merges) - 50


def make_tokenizers():
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    split = lambda pattern: pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated"), byte_level])
    gpt2 = train("gpt2", None, pre_tokenizers.ByteLevel(add_prefix_space=False), 900)
    gpt2["model"]["merges"] = [" ".join(merge) for merge in gpt2["model"]["merges"]]  # the older spelling
    llama3 = train("llama3", None, split(LLAMA3), 1000)
    llama3["model"]["ignore_merges"] = True
    drop_merges(llama3)
    begin = llama3["model"]["vocab"]["<|begin|>"]
    llama3["post_processor"] = {
        "type": "Sequence",
        "processors": [
            {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False, "use_regex": True},
            {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<|begin|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
             "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
             "special_tokens": {"<|begin|>": {"id": "<|begin|>", "ids": [begin], "tokens": ["<|begin|>"]}}},
        ],
    }
    qwen2 = train("qwen2", normalizers.NFC(), split(QWEN2), 1000)
    return {"gpt2": gpt2, "llama3": llama3, "qwen2": qwen2}


def variants():
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    with_regex = dict(byte_level, use_regex=True)
    split = lambda pattern, behavior="Isolated", invert=False: {"type": "Split", "pattern": pattern, "behavior": behavior, "invert": invert}
    sequence = lambda *members: {"type": "Sequence", "pretokenizers": list(members)}
    found = {
        "digits": sequence({"type": "Digits", "individual_digits": True}, with_regex),
        "digit runs": sequence({"type": "Digits", "individual_digits": False}, with_regex),
        "prefix space": dict(with_regex, add_prefix_space=True),
        "prefix space behind digits": sequence({"type": "Digits", "individual_digits": True}, dict(with_regex, add_prefix_space=True)),
        "no split": byte_level,
        "deepseek": sequence(split({"Regex": r"\p{N}{1,3}"}), split({"Regex": "[一-龥\u3040-ゟ゠-ヿ]+"}), split({"Regex": DEEPSEEK}), byte_level),
        "empty matches": sequence(split({"Regex": "a*"}), byte_level),
    }
    for behavior in ("Isolated", "Removed", "MergedWithPrevious", "MergedWithNext", "Contiguous"):
        for invert in (False, True):
            found[f"{behavior} {invert}"] = sequence(split({"String": " "}, behavior, invert), byte_level)
    found["Llama 3 removed"] = sequence(split({"Regex": LLAMA3}, "Removed", True), byte_level)
    found["Llama 3 contiguous"] = sequence(split({"Regex": LLAMA3}, "Contiguous"), byte_level)
    return found


def fnv(ids):
    value = 0xCBF29CE484222325
    for byte in struct.pack(f"<{len(ids)}i", *ids):
        value = (value ^ byte) * 0x100000001B3 & MASK
    return value


def dump(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("]],[[", "]],\n[[") + "\n"
    assert json.loads(text) == data  # no string was broken
    path.write_text(text)


def record(name, tokenizer, texts):
    both = []
    for text in texts:
        tokenizer.encode_special_tokens = False
        on = tokenizer.encode(text, add_special_tokens=True).ids
        tokenizer.encode_special_tokens = True
        both.append([on, tokenizer.encode(text, add_special_tokens=False).ids])
    tokenizer.encode_special_tokens = False
    dump(OUT / f"{name}.json", both)
    hashes = [fnv(tokenizer.encode(seeded_text(seed), add_special_tokens=False).ids) for seed in range(NUM_SEEDED)]
    (OUT / f"{name}.hashes").write_bytes(struct.pack(f"<{NUM_SEEDED}Q", *hashes))


def main():
    texts = written_texts()
    nfc = normalizers.NFC()
    assert len(texts) >= 300
    dump(OUT / "texts.json", {"fragments": FRAGMENTS, "ranges": RANGES, "texts": texts, "nfc": [nfc.normalize_str(text) for text in texts]})
    made = make_tokenizers()
    for name, data in made.items():
        path = OUT / name / "tokenizer.json"
        dump(path, data)
        assert path.stat().st_size < 100_000
        record(name, Tokenizer.from_file(str(path)), texts)
    record("ringlet", Tokenizer.from_file(str(RINGLET)), texts)
    rows = []
    for name, pre_tokenizer in variants().items():
        tokenizer = Tokenizer.from_str(json.dumps(dict(made["gpt2"], pre_tokenizer=pre_tokenizer)))
        hashes = [f"{fnv(tokenizer.encode(text, add_special_tokens=False).ids):016x}" for text in texts]
        rows.append({"name": name, "pre_tokenizer": pre_tokenizer, "hashes": "".join(hashes)})
    dump(OUT / "variants.json", rows)


if __name__ == "__main__":
    main()
