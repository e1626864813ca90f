"""What the assembler says of the kernels' registers and memory, against a table: usage.py FILE.usage...

A kernel that is not in the table, takes more than its row allows, or spills, is a failure: then more
blocks fit on an SM than the launch was designed for, or fewer."""
import re
import sys

# A part of the name, most registers, most bytes of static shared memory. Blocks on an SM follow: 65,536
# registers are 2 blocks of 256 threads at 128, 1 at 255.
BUDGETS = [
    ("activate_kernel", 32, 0),
    ("each_kernel", 32, 0),
    ("inl_kernel", 40, 0),
    ("decode_kernel", 255, 256),
    ("prefill_kernel", 255, 256),
    ("13latent_kernelI", 255, 256),  # attention_latent.cu
    ("f32_kernel", 80, 0),
    ("round_rows_kernel", 40, 256),
    ("round_runs_kernel", 40, 0),
    ("expand_kernel", 80, 0),
    ("order_kernel", 40, 0),
    ("packed_weightsI9row_codesELi8E", 255, 10 << 10),
    ("linear_kernelI", 240, 10 << 10),
    ("tile_kernelI10plain", 200, 0),
    ("tile_kernelI11opened", 255, 0),
    ("choose_kernel", 48, 13 << 10),
    ("sort_kernel", 48, 512),
    ("add_kernel", 48, 0),
    ("squares_kernel", 40, 256),
    ("norm_kernel", 64, 256),
    ("rope_kernel", 64, 10 << 10),
    ("13latent_kernel11", 64, 10 << 10),  # rope.cu
    ("embed_kernel", 40, 0),
    ("gather_kernel", 40, 0),
    ("convert_kernel", 40, 0),
    ("copy_blocks_kernel", 40, 0),
    ("move_kernel", 40, 0),
    ("give_ids_kernel", 32, 0),
    ("take_ids_kernel", 32, 0),
    ("spread_kernel", 48, 0),
    ("gather_candidates_kernel", 64, 2 << 10),
    ("sample_kernel", 128, 36 << 10),
    ("scan_kernel", 64, 3 << 10),
]
# Few rows read weights as fast as memory gives them only with two blocks or more on an SM.
DECODE_LINEAR = ("ELi1ELi1EE", 128)


def kernels(path):
    """(name, registers, static shared bytes, spilled bytes) of each entry of each target."""
    name, spilled = None, 0
    for line in open(path, encoding="utf-8"):
        if found := re.search(r"Compiling entry function '(\w+)'", line):
            name, spilled = found.group(1), 0
        elif found := re.search(r"(\d+) bytes spill stores, (\d+) bytes spill loads", line):
            spilled = int(found.group(1)) + int(found.group(2))
        elif (found := re.search(r"Used (\d+) registers", line)) and name:
            shared = re.search(r"(\d+) bytes smem", line)
            yield name, int(found.group(1)), int(shared.group(1)) if shared else 0, spilled


def problem(name, registers, shared, spilled):
    rows = [row for row in BUDGETS if row[0] in name]
    if not rows:
        return "has no row in the table"
    if spilled:
        return f"spills {spilled} bytes"
    if registers > rows[0][1]:
        return f"takes {registers} registers, {rows[0][1]} are allowed"
    if shared > rows[0][2]:
        return f"takes {shared} bytes of shared memory, {rows[0][2]} are allowed"
    if DECODE_LINEAR[0] in name and registers > DECODE_LINEAR[1]:
        return f"takes {registers} registers, {DECODE_LINEAR[1]} let two blocks run"
    return None


def main():
    found = [kernel for path in sys.argv[1:] for kernel in kernels(path)]
    problems = [(kernel[0], problem(*kernel)) for kernel in found]
    for name, registers, shared, _ in found:
        print(f"{registers:4} registers {shared:6} bytes shared  {name}")
    for name, words in problems:
        if words:
            print(f"{name} {words}", file=sys.stderr)
    if not found:
        print("there is no kernel in these files", file=sys.stderr)
    return 1 if not found or any(words for _, words in problems) else 0


if __name__ == "__main__":
    sys.exit(main())
