#!/bin/sh
# nvcc.sh NVCC SOURCE OBJECT USAGE DEPFILE ARGUMENTS... - compile kernels, and keep what the assembler says of their registers
set -eu
nvcc=$1 source=$2 object=$3 usage=$4 depfile=$5
shift 5
if ! "$nvcc" -c "$source" -o "$object" -MD -MF "$depfile" -Xptxas -v "$@" 2>"$usage"; then
    grep -v '^ptxas info' "$usage" >&2
    exit 1
fi
grep -v '^ptxas info\|^ *[0-9]* bytes stack frame\|^Remark\|^$' "$usage" >&2 || true
