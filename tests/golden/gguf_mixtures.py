"""Which type llama.cpp's llama-quantize gives each tensor: gguf/mixtures.txt

    python tests/golden/gguf_mixtures.py LLAMA_QUANTIZE

Random models of several depths, numbers of KV heads and experts, as GGUF in F16; a line for each choice, model and
kind of tensor: its types from the first layer to the last by their bits (4 is Q4_K, 8 Q8_0). Needs numpy and gguf.
"""

import pathlib
import subprocess
import sys
import tempfile

import gguf
import numpy

CHOICES = ["Q2_K", "Q3_K_S", "Q3_K_M", "Q3_K_L", "Q4_K_S", "Q4_K_M", "Q5_K_S", "Q5_K_M"]
WIDTH, HEADS, VOCAB = 256, 8, 32
MODELS = [(3, 4, 0), (10, 2, 0), (20, 8, 0), (33, 2, 0), (80, 1, 0), (9, 2, 8), (9, 2, 4)]  # layers, KV heads, experts
KINDS = ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_down"]


def write_model(path, layers, kv_heads, experts):
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(64)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(WIDTH)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(kv_heads)
    writer.add_layer_norm_rms_eps(1e-5)
    if experts:
        writer.add_expert_count(experts)
        writer.add_expert_used_count(2)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list([chr(97 + i) for i in range(VOCAB)])
    writer.add_token_types([1] * VOCAB)
    writer.add_token_merges([])
    random = numpy.random.default_rng(1)

    def add(name, *shape):
        kind = numpy.float16 if len(shape) > 1 else numpy.float32
        writer.add_tensor(name, random.standard_normal(shape).astype(kind))

    add("token_embd.weight", VOCAB, WIDTH)
    add("output_norm.weight", WIDTH)
    add("output.weight", VOCAB, WIDTH)
    for layer in range(layers):
        def of(kind, *shape):
            add(f"blk.{layer}.{kind}.weight", *shape)
        of("attn_norm", WIDTH)
        of("ffn_norm", WIDTH)
        of("attn_q", WIDTH, WIDTH)
        of("attn_k", WIDTH // HEADS * kv_heads, WIDTH)
        of("attn_v", WIDTH // HEADS * kv_heads, WIDTH)
        of("attn_output", WIDTH, WIDTH)
        stack = (experts,) if experts else ()
        if experts:
            writer.add_tensor(f"blk.{layer}.ffn_gate_inp.weight", random.standard_normal((experts, WIDTH)).astype(numpy.float32))
        for kind in ("ffn_gate", "ffn_up", "ffn_down"):
            of(kind + ("_exps" if experts else ""), *stack, WIDTH, WIDTH)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main():
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        source, made = pathlib.Path(folder) / "f16.gguf", pathlib.Path(folder) / "made.gguf"
        for model in MODELS:
            write_model(source, *model)
            for choice in CHOICES:
                subprocess.run([sys.argv[1], source, made, choice, "1"], check=True, capture_output=True)
                bits = {t.name: t.tensor_type.name[1] for t in gguf.GGUFReader(made).tensors}
                for kind in KINDS:
                    suffix = "_exps" if model[2] and kind.startswith("ffn") else ""
                    row = "".join(bits[f"blk.{layer}.{kind}{suffix}.weight"] for layer in range(model[0]))
                    lines.append(" ".join([choice.lower(), *map(str, model), kind, row]))
                lines.append(" ".join([choice.lower(), *map(str, model), "output", bits["output.weight"]]))
    (pathlib.Path(__file__).parent / "gguf" / "mixtures.txt").write_text("\n".join(lines) + "\n")


main()
