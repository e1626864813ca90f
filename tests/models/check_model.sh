#!/bin/sh
# check_model.sh MODEL.pml CLAIM[,CLAIM...] [-E] [-DVARIANT...]: the model must hold, each variant must fail.
# Compiling takes longer than searching: -O1. -E: processes may be left waiting at the end. A variant of several defines joins them: -DA+-DB.
set -eu
model=$1 claims=$2 ends=
shift 2
if [ "${1:-}" = -E ]; then
    ends=-E
    shift
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

# Succeeds when the search `log` was complete and found no error.
is_clean() {
    if grep -q "max search depth too small\|out of memory" "$1"; then
        echo "search was cut" >&2
        exit 2
    fi
    grep -q "errors: 0" "$1"
}

# Prints "holds" or "fails" for the model with the given defines.
verdict() {
    rm -f pan*
    spin -a $1 "$model" >spin.log 2>&1 || { cat spin.log >&2; exit 2; }
    gcc -O1 -w -DSAFETY -DNOCLAIM -DCOLLAPSE -o pan_safe pan.c
    ./pan_safe $ends -m2000000 >safe.log 2>&1
    if ! is_clean safe.log; then
        echo fails
        return
    fi
    gcc -O1 -w -DNFAIR=4 -DCOLLAPSE -o pan_live pan.c
    for claim in $(echo "$claims" | tr , ' '); do
        ./pan_live -a -f -N "$claim" -m2000000 >live.log 2>&1
        if ! is_clean live.log; then
            echo fails
            return
        fi
    done
    echo holds
}

result=$(verdict "")
states=$(sed -n 's/^ *\([0-9.e+]*\) states, stored.*/\1/p' "$work/safe.log")
echo "$(basename "$model"): $result, $states states"
[ "$result" = holds ]
for variant in "$@"; do
    result=$(verdict "$(echo "$variant" | tr + ' ')")
    echo "  $variant: $result (must fail)"
    [ "$result" = fails ]
done
