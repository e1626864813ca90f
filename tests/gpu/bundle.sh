#!/bin/sh
# bundle.sh BUILD BUNDLE - programs, the libraries they need that another machine may lack, golden models, Ringlet and what runs them all
set -eu
build=$1 bundle=$2 most_mb=30
rm -rf "$bundle"
mkdir -p "$bundle/bin" "$bundle/lib" "$bundle/golden/gguf" "$bundle/models/ringlet"
for program in tokenring tests/e2e/tokenring_hooked tests/gpu/gpu_ops tests/gpu/gpu_models kernels/cuda/tokenring-cuda.so; do
    strip "$build/$program" -o "$bundle/bin/$(basename "$program")"
done
# All but the C library itself, which is the other machine's.
for program in "$bundle"/bin/*; do
    ldd "$program" | awk '/=> \// {print $3}'
done | sort -u | while read -r library; do
    case $(basename "$library") in
    libc.so* | libm.so* | ld-linux* | libpthread* | libdl* | librt*) ;;
    *) strip "$library" -o "$bundle/lib/$(basename "$library")" 2>/dev/null || cp "$library" "$bundle/lib/" ;;
    esac
done
# Models alone: what others computed of them stays here, and of two that are alike one.
cp -r tests/golden/families tests/golden/quantized "$bundle/golden/"
find "$bundle/golden" \( -name '*.f32' -o -name '*.i32' \) -exec rm -f {} +
rm -rf "$bundle"/golden/families/*_wrapped "$bundle"/golden/families/*_odd_window
cp tests/golden/gguf/llama_*.gguf "$bundle/golden/gguf/"
for name in config.json generation_config.json tokenizer.json tokenizer_config.json model.safetensors; do
    cp "models/ringlet/$name" "$bundle/models/ringlet/"
done
cp tests/gpu/*.py tests/bench/gguf_random.py "$bundle/"
git rev-parse HEAD >"$bundle/commit" 2>/dev/null || echo unknown >"$bundle/commit"
[ -z "$(git status --porcelain --untracked-files=no 2>/dev/null)" ] || echo "$(cat "$bundle/commit") and changes" >"$bundle/commit"
size=$(find "$bundle" -type f -printf '%s\n' | awk '{sum += $1} END {printf "%.1f", sum / 1e6}')
echo "$bundle: $size MB"
[ "${size%.*}" -lt "$most_mb" ] || { echo "that is more than $most_mb MB" >&2; exit 1; }
