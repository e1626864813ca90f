"""Record what jinja2 makes of templates and conversations, for tests/unit/text/test_chat_template.c.

    python chat_template.py [FOLDER_OF_REAL_TEMPLATES]

Writes chat_template/
    cases.json      [template, text or null] of the one-line templates, and their variables
    grid.json       the conversations and the contexts made of them
    own.json        {file: hashes} of templates/*.jinja over the grid, and some of the texts
    ringlet.json    hashes of the embedded model's template
    real.json       {file: hashes} of the real templates, which are not part of this repository

Hashes are FNV-1a 64 in hexadecimal of each rendered text, '-' where jinja2 raises, in the order of
the grid. The clock stands at jinja_reference.WALL_SECONDS, in UTC.
"""
import json
import pathlib
import sys

from chat_template_cases import CONTEXTS, cases
from chat_template_grid import CONVERSATIONS, TIME, WEATHER, contexts
from jinja_reference import fnv1a, render

HERE = pathlib.Path(__file__).resolve().parent
OUT = HERE / "chat_template"


def write(name, value):
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    (OUT / name).write_text(text.replace('],["', '],\n["') + "\n")


def compact(context):
    """A context with the conversation by name and the tools as a mark."""
    row = dict(context)
    row["messages"] = next(name for name, value in CONVERSATIONS.items() if value is context["messages"])
    if row.get("tools") == [WEATHER, TIME]:
        row["tools"] = "TOOLS"
    return row


def hashes(source):
    row = []
    for _, context in contexts():
        text, _ = render(source, context)
        row.append("-" if text is None else f"{fnv1a(text):016x}")
    return ",".join(row)


def read(path):
    text = path.read_bytes().decode()
    return json.loads(text)["chat_template"] if path.suffix == ".json" else text


def main():
    OUT.mkdir(exist_ok=True)
    write("cases.json", {"context": CONTEXTS["plain"],
                         "cases": [[source, render(source, CONTEXTS[name])[0]] for source, name in cases()]})
    write("grid.json", {"conversations": CONVERSATIONS, "tools": [WEATHER, TIME],
                        "contexts": [[name, compact(context)] for name, context in contexts()]})
    own = sorted((HERE / "templates").glob("*.jinja"))
    shown = [context for name, context in contexts() if name == "tool_calls/tools/True/False"]
    rows = {path.name: read(path) for path in own}
    write("own.json", {name: {"hashes": hashes(source), "text": render(source, shown[0])[0]}
                       for name, source in rows.items()})
    ringlet = read(HERE.parent.parent / "models" / "ringlet" / "tokenizer_config.json")
    write("ringlet.json", hashes(ringlet))
    if len(sys.argv) > 1:
        real = sorted(pathlib.Path(sys.argv[1]).glob("*.jinja"))
        write("real.json", {path.name: hashes(read(path)) for path in real})


if __name__ == "__main__":
    main()
