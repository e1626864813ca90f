#!/bin/sh
# bundle.sh BUILD BUNDLE - programs, the libraries they need that another machine may lack, golden models and Ringlet
set -eu
build=$1 bundle=$2
rm -rf "$bundle"
mkdir -p "$bundle/bin" "$bundle/lib" "$bundle/golden"
for program in tokenring tests/gpu/gpu_ops tests/gpu/gpu_models; do
    cp "$build/$program" "$bundle/bin/"
done
cp "$build/kernels/cuda/tokenring-cuda.so" "$bundle/bin/"
strip "$bundle"/bin/*
# All but the C library itself, which is the other machine's.
for program in "$bundle"/bin/*; do
    ldd "$program" | awk '/=> \// {print $3}'
done | sort -u | while read -r library; do
    case $(basename "$library") in
    libc.so* | libm.so* | ld-linux* | libpthread* | libdl* | librt*) ;;
    *) cp "$library" "$bundle/lib/" ;;
    esac
done
# Models alone: what others computed of them stays here, and of two that are alike one.
cp -r tests/golden/families tests/golden/quantized "$bundle/golden/"
find "$bundle/golden" -name '*.f32' -o -name '*.i32' | xargs rm -f
rm -rf "$bundle"/golden/families/*_wrapped "$bundle"/golden/families/*_odd_window
mkdir -p "$bundle/golden/gguf"
cp tests/golden/gguf/llama_*.gguf "$bundle/golden/gguf/"
mkdir -p "$bundle/models/ringlet"
cp models/ringlet/*.json models/ringlet/*.safetensors "$bundle/models/ringlet/"
git rev-parse HEAD >"$bundle/commit" 2>/dev/null || echo unknown >"$bundle/commit"
size=$(du -sm "$bundle" | cut -f1)
echo "$bundle: $size MB"
[ "$size" -le 30 ] || { echo "that is more than 30 MB" >&2; exit 1; }
