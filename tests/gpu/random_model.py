"""Models of random weights of known shapes, for speed: random_model.py SHAPE FORMAT FOLDER

Formats: bf16, fp8 (blocks of 128 x 128), int4 (GPTQ, groups of 128), q4_0 and q8_0 (a GGUF file). Never zeros, never
a constant: multiplying those is faster than multiplying numbers. Bytes come from a pool that is made once, each
tensor from another place of it, so a model is written as fast as the file system takes it."""
import json
import os
import struct
import sys
import zlib

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "bench")]
import gguf_random  # noqa: E402

SHAPES = {
    "qwen3-0.6b": dict(model_type="qwen3", architectures=["Qwen3ForCausalLM"], hidden_size=1024, intermediate_size=3072,
                       num_hidden_layers=28, num_attention_heads=16, num_key_value_heads=8, head_dim=128,
                       vocab_size=151936, tie_word_embeddings=True, rms_norm_eps=1e-6, rope_theta=1e6,
                       max_position_embeddings=40960, hidden_act="silu", torch_dtype="bfloat16", attention_bias=False),
    "llama3-8b": dict(model_type="llama", architectures=["LlamaForCausalLM"], hidden_size=4096, intermediate_size=14336,
                      num_hidden_layers=32, num_attention_heads=32, num_key_value_heads=8, head_dim=128,
                      vocab_size=128256, tie_word_embeddings=False, rms_norm_eps=1e-5, rope_theta=5e5,
                      max_position_embeddings=16384, hidden_act="silu", torch_dtype="bfloat16"),
    "tiny": dict(model_type="llama", architectures=["LlamaForCausalLM"], hidden_size=128, intermediate_size=256,
                 num_hidden_layers=1, num_attention_heads=4, num_key_value_heads=2, head_dim=32, vocab_size=1024,
                 tie_word_embeddings=False, rms_norm_eps=1e-5, rope_theta=1e4, max_position_embeddings=512,
                 hidden_act="silu", torch_dtype="bfloat16"),
}
FORMATS = ("bf16", "fp8", "int4", "q4_0", "q8_0")
GROUP = 128
POOL_BYTES = 48 << 20  # a multiple of all blocks' bytes is cut from it
QUANTIZATION = {
    "fp8": dict(quant_method="fp8", activation_scheme="dynamic", fmt="e4m3", weight_block_size=[GROUP, GROUP],
                modules_to_not_convert=["lm_head"]),
    "int4": dict(quant_method="gptq", bits=4, group_size=GROUP, desc_act=False, sym=True, checkpoint_format="gptq"),
}
SIZES = {"BF16": 2, "F16": 2, "F32": 4, "I32": 4, "F8_E4M3": 1}


def matrices(config):
    """(name, outputs, inputs) of a layer's linears."""
    hidden, width, dim = config["hidden_size"], config["intermediate_size"], config["head_dim"]
    q, kv = config["num_attention_heads"] * dim, config["num_key_value_heads"] * dim
    return (("self_attn.q_proj", q, hidden), ("self_attn.k_proj", kv, hidden), ("self_attn.v_proj", kv, hidden),
            ("self_attn.o_proj", hidden, q), ("mlp.gate_proj", width, hidden), ("mlp.up_proj", width, hidden),
            ("mlp.down_proj", hidden, width))


def linear(name, outputs, inputs, form):
    """The tensors of one linear: name, type, shape."""
    if form == "fp8":
        yield name + ".weight", "F8_E4M3", (outputs, inputs)
        yield name + ".weight_scale_inv", "F32", (-(-outputs // GROUP), -(-inputs // GROUP))
    elif form == "int4":
        yield name + ".qweight", "I32", (inputs // 8, outputs)
        yield name + ".qzeros", "I32", (-(-inputs // GROUP), outputs // 8)
        yield name + ".scales", "F16", (-(-inputs // GROUP), outputs)
        yield name + ".g_idx", "I32", (inputs,)
    else:
        yield name + ".weight", "BF16", (outputs, inputs)


def tensors(config, form):
    """(name, type, shape) in the order of the file."""
    hidden, plain = config["hidden_size"], "F16" if form == "int4" else "BF16"
    yield "model.embed_tokens.weight", plain, (config["vocab_size"], hidden)
    for layer in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{layer}."
        yield prefix + "input_layernorm.weight", plain, (hidden,)
        for name, outputs, inputs in matrices(config):
            yield from linear(prefix + name, outputs, inputs, form)
        if config["model_type"] == "qwen3":
            yield prefix + "self_attn.q_norm.weight", plain, (config["head_dim"],)
            yield prefix + "self_attn.k_norm.weight", plain, (config["head_dim"],)
        yield prefix + "post_attention_layernorm.weight", plain, (hidden,)
    yield "model.norm.weight", plain, (hidden,)
    if not config["tie_word_embeddings"]:
        yield "lm_head.weight", plain, (config["vocab_size"], hidden)


# --- bytes ---------------------------------------------------------------------------------------------------


def patterned(size, fixed):
    """A pool of random elements of `size` bytes; `fixed` says of a byte which bits stay and what the others are."""
    pool = bytearray(os.urandom(POOL_BYTES // size * size))
    for at, (keep, bits) in fixed.items():
        pool[at::size] = bytes(pool[at::size]).translate(bytes((i & keep) | bits for i in range(256)))
    return memoryview(bytes(pool))


MAKERS = {
    "BF16": lambda: patterned(2, {1: (0x80, 0x3c)}),               # +-2^-7 .. 2^-6
    "F16": lambda: patterned(2, {1: (0x80, 0x20)}),                # the same
    "scale F16": lambda: patterned(2, {1: (0x01, 0x18)}),          # 0.002 .. 0.004
    "F32": lambda: patterned(4, {2: (0x3f, 0x40), 3: (0, 0x3c)}),  # 0.012 .. 0.016
    "F8_E4M3": lambda: patterned(1, {0: (0x8f, 0x30)}),            # +-0.5 .. 1.9
    "I32": lambda: patterned(4, {}),
    "zeros I32": lambda: memoryview(b"\x77" * POOL_BYTES),         # 7, and the format adds one
}
pools = {}


def random_pieces(kind, name, num_bytes):
    """Pieces of the pool of that kind that have so many bytes together, from a place of the tensor's own."""
    if kind not in pools:
        pools[kind] = MAKERS[kind]()
    pool = pools[kind]
    at = zlib.crc32(name.encode()) % (len(pool) // 4) // 64 * 64
    while num_bytes > 0:
        piece = pool[at:at + num_bytes]
        yield piece
        num_bytes -= len(piece)
        at = 0


def values(name, kind, shape):
    """The bytes of a tensor, in pieces."""
    num = 1
    for dim in shape:
        num *= dim
    if name.endswith("g_idx"):
        return [struct.pack(f"<{num}i", *(k // GROUP for k in range(num)))]
    if len(shape) == 1:  # norms are about 1
        return [struct.pack("<H", 0x3c00 if kind == "F16" else 0x3f80) * num]
    special = {"qzeros": "zeros I32", "scales": "scale F16"}.get(name.rsplit(".", 1)[1], kind)
    return random_pieces(special, name, num * SIZES[kind])


# --- files ---------------------------------------------------------------------------------------------------


def write_safetensors(config, form, folder):
    header, at = {}, 0
    listed = list(tensors(config, form))
    for name, kind, dims in listed:
        num = SIZES[kind]
        for dim in dims:
            num *= dim
        header[name] = {"dtype": kind, "shape": list(dims), "data_offsets": [at, at + num]}
        at += num
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(os.path.join(folder, "model.safetensors"), "wb", buffering=0) as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name, kind, dims in listed:
            for piece in values(name, kind, dims):
                write_all(file, piece)
    known = dict(config, **({"quantization_config": QUANTIZATION[form]} if form in QUANTIZATION else {}))
    if form == "int4":
        known["torch_dtype"] = "float16"
    with open(os.path.join(folder, "config.json"), "w", encoding="utf-8") as file:
        json.dump(known, file)


def write_all(file, piece):
    piece = memoryview(piece)
    while len(piece) > 0:
        piece = piece[file.write(piece[:1 << 30]):]


def gguf_shape(config):
    return dict(arch="qwen3" if config["model_type"] == "qwen3" else "llama", layers=config["num_hidden_layers"],
                hidden=config["hidden_size"], ff=config["intermediate_size"], heads=config["num_attention_heads"],
                kv_heads=config["num_key_value_heads"], head=config["head_dim"], vocab=config["vocab_size"],
                pre="qwen2" if config["model_type"] == "qwen3" else "llama-bpe", theta=config["rope_theta"],
                eps=config["rms_norm_eps"], context=config["max_position_embeddings"],
                qk_norm=config["model_type"] == "qwen3")


def write_gguf(config, form, path):
    """The output matrix is the embedding: as many bytes are read for a token as of a matrix of its own."""
    shape = gguf_shape(config)
    block = gguf_random.TYPES[form][2]
    MAKERS[form] = lambda: memoryview(gguf_random.random_rows(form, POOL_BYTES // block // 1024, 1024 * 32))
    keys, listed, infos, offset = gguf_random.metadata(shape), list(gguf_random.tensors(shape, form)), [], 0
    for name, rows, cols, kind in listed:
        dims = [cols, rows] if rows else [cols]
        infos.append(gguf_random.text(name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims,
                                                          gguf_random.TYPES[kind][0], offset))
        offset += aligned(gguf_random.num_bytes(rows, cols, kind))
    head = b"GGUF" + struct.pack("<IQQ", 3, len(infos), len(keys))
    head += b"".join(gguf_random.text(k) + gguf_random.value_of(v) for k, v in keys.items()) + b"".join(infos)
    with open(path, "wb", buffering=0) as file:
        write_all(file, head + bytes(-len(head) % gguf_random.ALIGNMENT))
        for name, rows, cols, kind in listed:
            num = gguf_random.num_bytes(rows, cols, kind)
            for piece in random_blocks(form, name, num, block) if rows else [gguf_random.random_norm(cols)]:
                write_all(file, piece)
            write_all(file, bytes(aligned(num) - num))


def aligned(num):
    return -(-num // gguf_random.ALIGNMENT) * gguf_random.ALIGNMENT


def random_blocks(form, name, num_bytes, block):
    """As random_pieces(), at the beginning of a block."""
    if form not in pools:
        pools[form] = MAKERS[form]()
    pool = pools[form]
    at = zlib.crc32(name.encode()) % (len(pool) // block // 4) * block
    while num_bytes > 0:
        piece = pool[at:at + num_bytes]
        yield piece
        num_bytes -= len(piece)
        at = 0


def write_model(shape, form, folder, tokenizer=None):
    """Returns what `tokenring` takes as MODEL. `tokenizer`: a folder whose tokenizer safetensors get."""
    os.makedirs(folder, exist_ok=True)
    config = SHAPES[shape]
    if form in gguf_random.TYPES and form != "bf16":
        path = os.path.join(folder, f"{shape}.gguf")
        write_gguf(config, form, path)
        return path
    write_safetensors(config, form, folder)
    if tokenizer:
        write_tokenizer(tokenizer, folder, config["vocab_size"])
    return folder


def write_tokenizer(source, folder, vocab_size):
    """That of `source`, and a word for each further token: one without text would be no event of a stream."""
    with open(os.path.join(source, "tokenizer.json"), encoding="utf-8") as file:
        tokenizer = json.load(file)
    vocab = tokenizer["model"]["vocab"]
    known = max([*vocab.values(), *(token["id"] for token in tokenizer.get("added_tokens", []))]) + 1
    vocab.update((f"w{i}", i) for i in range(known, vocab_size))
    with open(os.path.join(folder, "tokenizer.json"), "w", encoding="utf-8") as file:
        json.dump(tokenizer, file)
    with open(os.path.join(source, "tokenizer_config.json"), "rb") as file, \
            open(os.path.join(folder, "tokenizer_config.json"), "wb") as copy:
        copy.write(file.read())


# --- what a step reads and computes ----------------------------------------------------------------------------


def weight_bytes(shape, form):
    """Of weights for one step: all matrices, the embedding where it is the output matrix too."""
    config = SHAPES[shape]
    head = config["vocab_size"] * config["hidden_size"]
    if form in gguf_random.TYPES and form != "bf16":
        _, elements, size = gguf_random.TYPES[form]
        return (body(shape) + head) * size // elements
    each = {"bf16": 2.0, "fp8": 1.0 + 4.0 / GROUP ** 2, "int4": 0.5 + 2.5 / GROUP}[form]
    return int(body(shape) * each) + 2 * head


def body(shape):
    """Parameters of all layers' linears."""
    config = SHAPES[shape]
    return config["num_hidden_layers"] * sum(outputs * inputs for _, outputs, inputs in matrices(config))


def kv_bytes(shape):
    """Of one position, in f16."""
    config = SHAPES[shape]
    return config["num_hidden_layers"] * 2 * config["num_key_value_heads"] * config["head_dim"] * 2


def prefill_flops(shape, num):
    """Of a prompt of so many tokens: its layers' linears, and attention to what lies before."""
    config = SHAPES[shape]
    width = config["num_attention_heads"] * config["head_dim"]
    return 2 * num * body(shape) + 2 * num * num * config["num_hidden_layers"] * width


if __name__ == "__main__":
    print(write_model(*sys.argv[1:4]))
