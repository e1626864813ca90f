"""Compare the C interpreter with jinja2, template by template.

    TZ=UTC python chat_template_compare.py LINES_PROGRAM FILE.jinja ...

prints for each file how many of the grid's renderings are equal, and the first that is not.
"""
import json
import pathlib
import subprocess
import sys

from chat_template_grid import contexts
from jinja_reference import render


class Interpreter:
    def __init__(self, program):
        self.child = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def render(self, source, context):
        line = json.dumps({"template": source, "context": context}, ensure_ascii=False) + "\n"
        self.child.stdin.write(line.encode())
        self.child.stdin.flush()
        answer = self.child.stdout.readline()
        if not answer:
            raise SystemExit(f"the interpreter died of {source!r} with {context!r}")
        return json.loads(answer)


def main():
    interpreter = Interpreter(sys.argv[1])
    for path in sys.argv[2:]:
        source = pathlib.Path(path).read_bytes().decode()
        if path.endswith(".json"):
            source = json.loads(source)["chat_template"]
        equal, raised, shown, num = 0, 0, None, 0
        for name, context in contexts():
            num += 1
            wanted, problem = render(source, context)
            found = interpreter.render(source, context)
            if found.get("text") == wanted:
                equal += 1
                raised += wanted is None
            elif shown is None:
                shown = (name, wanted, problem, found)
        print(f"{equal:4} of {num} ({raised} raise)  {path.split('/')[-1]}")
        if shown:
            print("   ", shown[0], "\n    wanted", repr(shown[1])[-600:], shown[2], "\n    found ", repr(shown[3])[-600:])


if __name__ == "__main__":
    main()
