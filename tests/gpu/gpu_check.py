"""Everything that can be checked and measured on a GPU: gpu_check.py BUNDLE [PART...] [--json FILE] [--device cuda:0]

Parts: ops, models, text, law1, ranks, kill, address, sanitizer, load, speed, peers; without one all of them in this
order. A part may be narrowed to names of shapes and formats: speed:llama3-8b:bf16. Each returns rows (what, figure,
well or not). A table comes last; all figures are written as JSON, after each part.

--rehearse runs every part on what there is, small: on the CPU, or on kernels that the host runs (--modules). It says
whether this program is right, nothing of a GPU, and what it writes says so."""
import argparse
import datetime
import json
import os
import platform
import shutil
import subprocess
import sys
import time
import traceback

import check_right
import check_speed
from check_run import Check

PARTS = dict(ops=check_right.check_ops, models=check_right.check_models, text=check_right.check_text,
             law1=check_right.check_law1, ranks=check_right.check_ranks, kill=check_right.check_kill,
             address=check_right.check_address, sanitizer=check_right.check_sanitizer, load=check_speed.check_load,
             speed=check_speed.check_speed, peers=check_speed.check_peers)
NARROWED = ("load", "speed", "peers")


def run_part(text, check):
    """Rows as they are written, and how long it took."""
    name, *chosen = text.split(":")
    begin = time.monotonic()
    print(f"--- {text}", flush=True)
    try:
        rows = PARTS[name](check, chosen) if name in NARROWED else PARTS[name](check)
    except Exception as error:  # a part that fails is a row, and the others go on
        traceback.print_exc()
        rows = [(name, f"{type(error).__name__}: {error}", False)]
    rows = [dict(part=name, what=what, figure=figure, well=well) for what, figure, well in rows]
    for row in rows:
        print(line_of(row), flush=True)
    return rows, round(time.monotonic() - begin, 1)


def line_of(row):
    mark = {True: "ok", False: "WRONG", None: ""}[row["well"]]
    return f"{row['part']:9} {row['what']:58} {' '.join(row['figure'].split())[:110]:36} {mark}".rstrip()


def gpu_facts():
    """The name of the GPU, and its driver."""
    if not shutil.which("nvidia-smi"):
        return "none", "none"
    query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    lines = subprocess.run(query, capture_output=True, text=True, check=False).stdout.strip().splitlines()
    name, _, driver = (lines[0] if lines else "none, none").partition(", ")
    return (f"{len(lines)} x " if len(lines) > 1 else "") + name, driver


def facts_of(check):
    path = os.path.join(check.bundle, "commit")
    commit = "unknown"
    if os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            commit = file.read().strip()
    gpu, driver = gpu_facts()
    return dict(rehearsal=check.rehearse, date=datetime.date.today().isoformat(), gpu=gpu, driver=driver, commit=commit,
                device=check.device, host=platform.release(), cpus=os.cpu_count())


def write_json(path, facts, seconds, rows, figures):
    with open(path + ".part", "w", encoding="utf-8") as file:
        json.dump(dict(facts, seconds=seconds, rows=rows, figures=figures), file, indent=1)
        file.write("\n")
    os.replace(path + ".part", path)


def read_arguments(words):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle")
    parser.add_argument("parts", nargs="*", metavar="PART")
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--json", default="gpu-check.json", help="where the figures go [%(default)s]")
    parser.add_argument("--limit", type=float, default=540, metavar="SECONDS",
                        help="what is not begun after so long is left out, and said to be [%(default)s]")
    parser.add_argument("--cuda-libs", help="the folder of cuBLASLt and NCCL, where they are not found")
    parser.add_argument("--modules", help="the folder of tokenring-cuda.so, in place of the bundle's")
    parser.add_argument("--rehearse", action="store_true", help="small, on any device: no figure is a measurement")
    options = parser.parse_intermixed_args(words)
    for text in options.parts:
        if text.split(":")[0] not in PARTS:
            parser.error(f"there is no part {text!r}; there are: {', '.join(PARTS)}")
    return options


def main(words):
    options = read_arguments(words)
    check = Check(options.bundle, options.device, options.limit, options.rehearse, options.modules, options.cuda_libs)
    facts, rows, seconds = facts_of(check), [], {}
    for text in options.parts or PARTS:
        if check.left() < 5:
            rows.append(dict(part=text.split(":")[0], what=text, figure="not run: the time is over", well=None))
            continue
        found, seconds[text] = run_part(text, check)
        rows += found
        write_json(options.json, facts, seconds, rows, check.figures)
    print("\n" + ("REHEARSAL: nothing below is a measurement\n" if check.rehearse else ""), end="")
    for row in rows:
        print(line_of(row))
    num_wrong = sum(row["well"] is False for row in rows)
    print(f"{facts['gpu']}, driver {facts['driver']}, commit {facts['commit'][:12]}, {facts['date']}: "
          f"{sum(seconds.values()):.0f} s, {num_wrong} wrong; figures in {options.json}")
    return 1 if num_wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
