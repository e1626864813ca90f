#!/bin/sh
# no_driver.sh TOKENRING MODULES - what the program says of a GPU where there is none
set -u
tokenring=$1
export TOKENRING_MODULES=$2
[ ! -e /dev/nvidiactl ] || exit 77

# says SENTENCE ARGUMENTS...: generate fails with exit code 1 to 4 and the sentence
says() {
    sentence=$1
    shift
    out=$("$tokenring" generate -p hello --max-tokens 2 "$@" 2>&1)
    code=$?
    case $out in
    *"$sentence"*) [ "$code" -ge 1 ] && [ "$code" -le 4 ] && return 0 ;;
    esac
    echo "wanted '$sentence' and a code from 1 to 4 of: $*" >&2
    echo "got $code and: $out" >&2
    exit 1
}

says "no NVIDIA driver answers on this machine" --device cuda
says "no NVIDIA driver answers on this machine" --device cuda:0
says "wanted auto, cpu, cuda or cuda:0,1" --device gpu
says "wanted the numbers of 1 devices" --device cuda:0,1
"$tokenring" generate -p hello --max-tokens 2 --device auto >/dev/null || exit 1
TOKENRING_MODULES=/nonexistent says "there is no such module" --device cuda
