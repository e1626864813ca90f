"""What others do on this GPU, as JSON lines: check_peer.py ceilings | transformers SHAPE [--rehearse]

A process of its own: its memory goes back when it ends. With --rehearse all of it is small and on the CPU."""
import json
import sys
import time

import random_model


def say(**figure):
    print(json.dumps(figure), flush=True)


def place(small):
    import torch
    if small:
        return torch, torch.device("cpu")
    if not torch.cuda.is_available():
        raise SystemExit("PyTorch finds no GPU")
    return torch, torch.device("cuda:0")


def seconds(torch, run, repeats, small):
    """Of the fastest run, after three that nobody counts."""
    times = []
    for i in range(repeats + 3):
        if not small:
            torch.cuda.synchronize()
        begin = time.perf_counter()
        run()
        if not small:
            torch.cuda.synchronize()
        times.append(time.perf_counter() - begin)
    return min(times[3:])


def fp8_flops(torch, device, size, inner, small):
    """Of the product FP8 by FP8 with one scale for each row, or None where PyTorch or the GPU has none."""
    try:
        a, b = (torch.randn(size, size, device=device).to(torch.float8_e4m3fn) for _ in range(2))
        scales = torch.ones(size, 1, device=device), torch.ones(1, size, device=device)

        def multiply():
            for _ in range(inner):
                torch._scaled_mm(a, b.t(), scale_a=scales[0], scale_b=scales[1], out_dtype=torch.bfloat16)
        return 2.0 * inner * size ** 3 / seconds(torch, multiply, 6, small)
    except (RuntimeError, AttributeError, TypeError, NotImplementedError, ValueError):
        return None


def ceilings(small):
    """A copy counts the bytes read and written; the product is of random numbers: zeros run faster."""
    torch, device = place(small)
    num, size, inner = (1 << 16, 64, 1) if small else (4 << 30, 8192, 4)
    x = torch.randint(0, 255, (num,), dtype=torch.uint8, device=device)
    y = torch.empty_like(x)
    copy = 2.0 * num / seconds(torch, lambda: y.copy_(x), 6, small)
    a, b = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))

    def multiply():
        for _ in range(inner):
            a @ b
    flops = 2.0 * inner * size ** 3 / seconds(torch, multiply, 6, small)
    say(copy_bytes_per_s=copy, bf16_flops=flops, fp8_flops=fp8_flops(torch, device, size, inner, small),
        torch=torch.__version__)


def make_model(torch, device, shape):
    """The shape with random weights, made where they are used."""
    import transformers
    known = dict(random_model.SHAPES[shape])
    config = transformers.AutoConfig.for_model(known.pop("model_type"), **known)
    torch.set_default_dtype(torch.bfloat16)
    with device:
        model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="sdpa", dtype=torch.bfloat16)
    return transformers, model.to(device).eval()


def timed_generate(torch, model, device, num, context, output, small, **more):
    ids = torch.randint(0, 900, (num, context), device=device)
    begin = time.perf_counter()
    model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=output, min_new_tokens=output,
                   do_sample=False, pad_token_id=0, **more)
    if not small:
        torch.cuda.synchronize()
    return time.perf_counter() - begin


def decode_rate(torch, model, device, num, context, output, small, **more):
    """Tokens after the first: a long answer less a short one, both after one that nobody counts."""
    args = (torch, model, device, num, context)
    timed_generate(*args, output, small, **more)
    short = timed_generate(*args, 2, small, **more)
    whole = timed_generate(*args, output, small, **more)
    return num * (output - 2) / max(whole - short, 1e-9)


def continuous(torch, transformers, model, num, context, output):
    """Its continuous batching: all tokens over all of the time, prompts included."""
    prompts = torch.randint(0, 900, (num, context)).tolist()
    config = transformers.GenerationConfig(max_new_tokens=output, do_sample=False, eos_token_id=-1, pad_token_id=0)
    begin = time.perf_counter()
    answers = model.generate_batch(inputs=prompts, generation_config=config, progress_bar=False)
    took = time.perf_counter() - begin
    total = sum(len(answer.generated_tokens) for answer in answers.values())
    return total / took, total


def guarded(what, run):
    """A figure, or why there is none: versions differ in what they can do."""
    try:
        say(what=what, **run())
    except Exception as error:  # whatever it is, the other figures are wanted
        say(what=what, problem=f"{type(error).__name__}: {error}"[:200])


def peers(shape, small):
    torch, device = place(small)
    transformers, model = make_model(torch, device, shape)
    context, output, batches, prompts = (8, 4, (1, 2), (16,)) if small else (512, 128, (1, 8, 64), (512, 2048, 8192))
    version = dict(torch=torch.__version__, transformers=transformers.__version__)

    def prefill(num):
        ids = torch.randint(0, 900, (1, num), device=device)
        with torch.inference_mode():
            took = seconds(torch, lambda: model(ids, logits_to_keep=1, use_cache=True), 3, small)
        return dict(tokens_per_s=num / took, prompt_len=num, **version)
    for num in prompts:
        guarded(f"transformers, prefill {num}", lambda num=num: prefill(num))
    for num in batches:
        guarded(f"transformers, decode, batch {num}", lambda num=num: dict(
            tokens_per_s=decode_rate(torch, model, device, num, context, output, small), sequences=num, **version))
    if not small:
        guarded("transformers, static cache with graphs, decode, batch 1", lambda: dict(
            tokens_per_s=decode_rate(torch, model, device, 1, context, output, small, cache_implementation="static"),
            sequences=1, **version))
    for num in (2,) if small else (64, 256):
        def batch(num=num):
            rate, total = continuous(torch, transformers, model, num, context, output)
            return dict(tokens_per_s=rate, sequences=num, tokens=total, **version)
        guarded(f"transformers, continuous batching, {num} requests", batch)


def main():
    small = "--rehearse" in sys.argv
    words = [word for word in sys.argv[1:] if word != "--rehearse"]
    try:
        import torch  # noqa: F401
    except ImportError:
        raise SystemExit("PyTorch is not there")
    if words[0] == "ceilings":
        ceilings(small)
    else:
        peers(words[1], small)


if __name__ == "__main__":
    main()
