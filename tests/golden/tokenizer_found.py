#!/usr/bin/env python3
"""Compares LINES_PROGRAM with HF `tokenizers` and with recorded ids over real vocabularies found in Python packages.

    python tests/golden/tokenizer_found.py LINES_PROGRAM FOLDER... [--texts N] [--only NAME] [--keep FOLDER]

FOLDER holds the unpacked source of llama-cpp-python (vendor/llama.cpp/models/ggml-vocab-*.gguf with .inp and .out:
texts and the ids that Hugging Face's tokenizers give) or the data of mistral-common (tekken_*.json, *.model.v*).
Each vocabulary is written as a tokenizer.json, in the parts of its family, and N (20,000) seeded texts are encoded and
decoded on both sides. Needs the packages tokenizers and gguf; tiktoken and sentencepiece are asked where installed.
Nothing of it is kept in the repository.
"""
import argparse
import base64
import json
import struct
import subprocess
import tempfile
from pathlib import Path

from tokenizers import Tokenizer

import stress_text
from tokenizer_stress import BYTE_LEVEL, DIGITS, KINDS, WITH_REGEX, metaspace, sequence, split

NORMAL, UNKNOWN, CONTROL, USER, UNUSED, BYTE = range(1, 7)
GPT2 = {"pre_tokenizer": WITH_REGEX}
DSC = {"pre_tokenizer": sequence(split("[\r\n]"), split(r"\s?\p{L}+"), split(r"\s?\p{P}+"), split("[一-龥\u0800-\u4e00\uac00-\ud7ff]+"), DIGITS, BYTE_LEVEL)}
SMALL = KINDS["smollm"][1]
FAMILIES = {"gpt-2": GPT2, "mpt": GPT2, "": GPT2, "llama-bpe": KINDS["llama3"][1], "qwen2": KINDS["qwen2"][1], "qwen35": KINDS["qwen35"][1],
            "starcoder": SMALL, "refact": SMALL, "command-r": dict(SMALL, normalizer={"type": "NFC"}), "deepseek-coder": DSC,
            "deepseek-llm": KINDS["deepseek_v2"][1]}
SKIPPED = {"falcon": "a stage behind ByteLevel", "bert-bge": "WordPiece"}


def added(id, text, special, **flags):
    return dict({"id": id, "content": text, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": special}, **flags)


def file(model, added_tokens, parts, decoder):
    data = {"version": "1.0", "added_tokens": sorted(added_tokens, key=lambda token: token["id"]), "normalizer": None, "pre_tokenizer": None,
            "post_processor": None, "decoder": decoder, "model": model}
    for key, value in parts.items():
        if key.startswith("model."):
            model[key[6:]] = value
        elif key != "post_processor":
            data[key] = value
    return data


def merges_of(ranks):
    """Every way to write a token as two others, best token first: what no file of merges was kept of."""
    merges = []
    for token, rank in ranks.items():
        pairs = [(token[:i], token[i:]) for i in range(1, len(token)) if token[:i] in ranks and token[i:] in ranks]
        merges += sorted(((rank, left, right) for left, right in pairs), key=lambda pair: (ranks[pair[1]], ranks[pair[2]]))
    return [(left, right) for _, left, right in sorted(merges, key=lambda merge: merge[0])]


def sp_merges(scores, ids):
    merges = []
    for token, score in scores.items():
        pairs = [(token[:i], token[i:], score) for i in range(1, len(token)) if token[:i] in ids and token[i:] in ids]
        merges += sorted(pairs, key=lambda pair: (ids[pair[0]], ids[pair[1]]))
    return [list(merge[:2]) for merge in sorted(merges, key=lambda merge: (merge[2], len(merge[0]), len(merge[1])), reverse=True)]


def sp_bpe(tokens, scores, types, parts, merges=None, **flags):
    ids = {token: id for id, token in enumerate(tokens) if types[id] in (NORMAL, BYTE, UNKNOWN, UNUSED, USER)}
    plain = {token: scores[id] for token, id in ids.items() if types[id] in (NORMAL, UNUSED, USER)}
    vocab = {token: id for id, token in enumerate(tokens)}
    model = {"type": "BPE", "dropout": None, "unk_token": "<unk>", "fuse_unk": True, "byte_fallback": True, "vocab": vocab,
             "merges": merges if merges is not None else sp_merges(plain, {token: vocab[token] for token in plain})}
    marks = [added(id, token, types[id] != USER, **flags) for id, token in enumerate(tokens) if types[id] in (UNKNOWN, CONTROL, USER)]
    return file(model, marks, parts, parts["decoder"])


def unigram(tokens, scores, types):
    vocab = [[token, score] for token, score in zip(tokens, scores)]
    model = {"type": "Unigram", "unk_id": types.index(UNKNOWN), "vocab": vocab, "byte_fallback": False}
    marks = [added(id, token, True) for id, token in enumerate(tokens) if types[id] == CONTROL]
    return file(model, marks, {"pre_tokenizer": metaspace("always")}, metaspace("always"))


def byte_level(tokens, types, merges, parts):
    vocab = {token: id for id, token in enumerate(tokens) if types[id] == NORMAL}
    marks = [added(id, token, types[id] == CONTROL, normalized=parts.get("normalizer") is not None and types[id] == USER)
             for id, token in enumerate(tokens) if types[id] in (CONTROL, USER)]
    model = {"type": "BPE", "dropout": None, "unk_token": None, "fuse_unk": False, "byte_fallback": False, "vocab": vocab, "merges": merges}
    return file(model, marks, parts, dict(BYTE_LEVEL))


def from_gguf(path):
    from gguf import GGUFReader
    fields = {name: field.contents() for name, field in GGUFReader(path).fields.items()
              if name.startswith("tokenizer.ggml.") and "charsmap" not in name}
    get = lambda name, default=None: fields.get("tokenizer.ggml." + name, default)
    tokens, types = get("tokens"), list(get("token_type"))
    model, pre = get("model"), get("pre", "")
    if pre in SKIPPED:
        raise ValueError(SKIPPED[pre])
    if model == "gpt2":
        return byte_level(tokens, types, get("merges"), FAMILIES[pre])
    if model == "llama":
        parts = KINDS["llama2"][1]
        return sp_bpe(tokens, get("scores"), types, parts, rstrip="phi-3" in path.name)
    if model == "t5":
        return unigram(tokens, get("scores"), types)
    if model.startswith("gemma"):
        return sp_bpe(tokens, get("scores"), types, KINDS["gemma"][1], merges=get("merges"))
    raise ValueError(f"model {model}")


def varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def from_sentencepiece(path):
    """Field 1 of the protobuf: pieces of text (1), score (2) and type (3)."""
    data, at = path.read_bytes(), 0
    tokens, scores, types = [], [], []
    while at < len(data):
        tag, at = varint(data, at)
        if tag & 7 == 0:
            _, at = varint(data, at)
            continue
        length, at = varint(data, at)
        if tag >> 3 == 1:
            end, token, score, kind = at + length, "", 0.0, NORMAL
            while at < end:
                tag, at = varint(data, at)
                if tag >> 3 == 1:
                    length, at = varint(data, at)
                    token, at = data[at:at + length].decode(), at + length
                elif tag >> 3 == 2:
                    score, at = struct.unpack_from("<f", data, at)[0], at + 4
                else:
                    kind, at = varint(data, at)
            tokens, scores, types = tokens + [token], scores + [score], types + [kind]
        else:
            at += length
    return sp_bpe(tokens, scores, types, KINDS["llama2"][1])


def alphabet():
    """GPT-2's characters for the bytes."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = [byte for byte in range(256) if byte not in plain]
    return {**{byte: chr(byte) for byte in plain}, **{byte: chr(0x100 + i) for i, byte in enumerate(rest)}}


def from_tekken(path):
    data = json.loads(path.read_text())
    config, chars = data["config"], alphabet()
    num = config["default_num_special_tokens"]
    rows = data["vocab"][:config["default_vocab_size"] - num]
    ranks = {base64.b64decode(row["token_bytes"]): row["rank"] for row in rows}
    spell = lambda token: "".join(chars[byte] for byte in token)
    vocab = {spell(token): rank + num for token, rank in ranks.items()}
    model = {"type": "BPE", "dropout": None, "unk_token": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": True, "vocab": vocab,
             "merges": [[spell(left), spell(right)] for left, right in merges_of(ranks)]}
    special = {row["rank"]: row["token_str"] for row in data.get("special_tokens") or []}
    marks = [added(id, special.get(id, f"<SPECIAL_{id}>"), True) for id in range(num)]
    vocab.update({mark["content"]: mark["id"] for mark in marks})
    parts = {"pre_tokenizer": sequence(split(config["pattern"]), BYTE_LEVEL)}
    return file(model, marks, parts, dict(BYTE_LEVEL))


def recorded(path):
    """(text, ids) of the files beside a GGUF."""
    texts, ids = Path(str(path) + ".inp"), Path(str(path) + ".out")
    if not texts.exists():
        return []
    lines = ids.read_text().split("\n")
    cases = texts.read_bytes().decode().split("\n__ggml_vocab_test__\n")
    return [(text, [int(id) for id in line.split()]) for text, line in zip(cases, lines)]


def others(path, data):
    """Encoders of other packages for the same file."""
    if path.name.startswith("tekken"):
        import tiktoken
        source = json.loads(path.read_text())["config"]
        num = source["default_num_special_tokens"]
        rows = json.loads(path.read_text())["vocab"][:source["default_vocab_size"] - num]
        encoding = tiktoken.Encoding("tekken", pat_str=source["pattern"], mergeable_ranks={base64.b64decode(r["token_bytes"]): r["rank"] for r in rows},
                                     special_tokens={})
        return lambda text: [id + num for id in encoding.encode_ordinary(text)]
    if ".model." in path.name:
        import sentencepiece
        processor = sentencepiece.SentencePieceProcessor(model_file=str(path))
        return lambda text: processor.encode(text)
    return None


def run(program, data, lines):
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "tokenizer.json").write_text(json.dumps(data))
        text = "".join(json.dumps(line) + "\n" for line in lines)
        done = subprocess.run([program, folder], input=text, capture_output=True, text=True)
    if done.returncode != 0:
        raise ValueError(done.stderr.strip())
    return [json.loads(line) for line in done.stdout.split("\n")[:-1]]


def compare(program, path, data, num):
    cases = recorded(path)
    lines = [{"text": text} for text, _ in cases]
    lines += [{"text": stress_text.text(seed), "special": seed % 2 == 0} for seed in range(num)]
    found = run(program, data, lines)
    right = sum(answer["ids"] == ids for answer, (_, ids) in zip(found, cases))
    tokenizer = Tokenizer.from_str(json.dumps(data))
    wrong_ids = wrong_text = 0
    for line, answer in zip(lines, found):
        tokenizer.encode_special_tokens = not line.get("special", False)
        ids = tokenizer.encode(line["text"], add_special_tokens=False).ids
        text = tokenizer.decode(ids, skip_special_tokens=False)
        wrong_ids += ids != answer["ids"]
        wrong_text += text != answer["text"]
        if (ids != answer["ids"] or text != answer["text"]) and wrong_ids + wrong_text <= 2:
            print("   ", repr(line["text"]), "\n      wanted", ids, repr(text), "\n      found ", answer)
    print(f"{path.name}: {len(tokenizer.get_vocab())} tokens; {right} of {len(cases)} recorded texts equal; of {len(lines)} texts "
          f"{wrong_ids} differ from HF in ids, {wrong_text} in what they decode to", flush=True)
    try:
        other = others(path, data)
    except ImportError as problem:
        other = None
        print("   ", problem)
    if other:
        plain = [(line["text"], answer["ids"]) for line, answer in zip(lines, found) if not line.get("special") and not any(
            token["content"] in line["text"] for token in data["added_tokens"])][:5000]
        differing = [(text, ids, other(text)) for text, ids in plain if other(text) != ids]
        print(f"    {len(differing)} of {len(plain)} differ from the package's own encoder", *(differing[:2]))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--texts", type=int, default=20000)
    parser.add_argument("--only", default="")
    parser.add_argument("--keep", type=Path)
    args = parser.parse_args()
    readers = {"ggml-vocab-*.gguf": from_gguf, "tekken*.json": from_tekken, "*.model.v*": from_sentencepiece}
    for folder in args.folders:
        for pattern, read in readers.items():
            for path in sorted(folder.rglob(pattern)):
                if args.only not in path.name:
                    continue
                try:
                    data = read(path)
                    if args.keep:
                        (args.keep / path.name).mkdir(parents=True, exist_ok=True)
                        (args.keep / path.name / "tokenizer.json").write_text(json.dumps(data, ensure_ascii=False))
                    compare(args.program, path, data, args.texts)
                except (ValueError, KeyError) as problem:
                    print(f"{path.name}: left out, {problem}")


if __name__ == "__main__":
    main()
