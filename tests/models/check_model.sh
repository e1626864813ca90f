#!/bin/sh
# check_model.sh MODEL.pml LTL [-DVARIANT...]: the model must hold, each single variant must fail.
set -eu
model=$1 ltl=$2
shift 2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

# Prints "holds" or "fails" for the model with the given define.
verdict() {
    rm -f pan*
    spin -a $1 "$model" >spin.log 2>&1 || { cat spin.log >&2; exit 2; }
    gcc -O2 -w -DNFAIR=3 -o pan_live pan.c
    gcc -O2 -w -DSAFETY -DNOCLAIM -o pan_safe pan.c
    ./pan_safe -m1000000 >safe.log 2>&1
    ./pan_live -a -f -N "$ltl" -m1000000 >live.log 2>&1
    if grep -q "max search depth too small\|out of memory" safe.log live.log; then
        echo "search was cut" >&2
        exit 2
    fi
    if grep -q "errors: 0" safe.log && grep -q "errors: 0" live.log; then
        echo holds
    else
        echo fails
    fi
}

result=$(verdict "")
states=$(sed -n 's/^ *\([0-9]*\) states, stored.*/\1/p' "$work/safe.log")
echo "$(basename "$model"): $result, $states states"
[ "$result" = holds ]
for variant in "$@"; do
    result=$(verdict "$variant")
    echo "  $variant: $result (must fail)"
    [ "$result" = fails ]
done
