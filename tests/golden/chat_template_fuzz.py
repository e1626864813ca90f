"""Random templates through jinja2 and through the C interpreter.

    TZ=UTC python chat_template_fuzz.py LINES_PROGRAM [SEED [NUMBER]]

Prints each template on which the two differ (at most 20), and exits with 1 if there was one.
"""
import random
import re
import sys
import warnings

from chat_template_cases import CONTEXTS
from chat_template_compare import Interpreter
from jinja_reference import ENV, render

CONTEXT = CONTEXTS["plain"]
NAMES = list(CONTEXT) + ["undefd", "loop", "ns", "a", "b"]
STRINGS = ["''", "'a'", "'Hello World'", "'ä世🌍'", "' x '", "'a,b,,c'", "'%s'", "'3'", "'-1.5'", "'<b>'", "'A'", "\"it's\"",
           "'\\n'", "'name'", "'b'"]
NUMBERS = ["0", "1", "2", "-1", "3", "10", "1.0", "2.5", "-0.5", "1e3", "100"]
FILTERS = [name for name in ENV.filters if name not in
           ("filesizeformat", "pprint", "random", "striptags", "urlize", "wordwrap", "xmlattr", "urlencode")]
TESTS = [name for name in ENV.tests if name.isalpha()]
METHODS = ("capitalize count endswith find index join lower lstrip partition removeprefix replace rfind rsplit rstrip split "
           "splitlines startswith strip swapcase title upper zfill ljust rjust center isdigit isalpha isspace islower "
           "isupper istitle isalnum get items keys values copy append").split()
OPERATORS = ["+", "-", "*", "/", "//", "%", "**", "~", "==", "!=", "<", "<=", ">", ">=", "in", "not in", "and", "or"]
LOOP = ["index", "index0", "first", "last", "length", "revindex", "revindex0", "previtem", "nextitem", "depth", "cycle(1, 2)",
        "changed(1)"]


class Generator:
    def __init__(self, seed):
        self.random = random.Random(seed)

    def pick(self, items):
        return self.random.choice(items)

    def chance(self, percent):
        return self.random.random() * 100 < percent

    def literal(self, depth):
        kind = self.random.randrange(10)
        if kind < 3:
            return self.pick(STRINGS)
        if kind < 6:
            return self.pick(NUMBERS)
        if kind == 6:
            return self.pick(["true", "false", "none"])
        if depth <= 0:
            return "[]"
        items = [self.expression(depth - 1) for _ in range(self.random.randrange(4))]
        if kind == 7:
            return "[" + ", ".join(items) + "]"
        if kind == 8:
            return "(" + "".join(item + ", " for item in items) + ")"
        return "{" + ", ".join(self.pick(STRINGS + NUMBERS) + ": " + item for item in items) + "}"

    def arguments(self, depth):
        args = [self.expression(depth - 1) for _ in range(self.pick([0, 0, 1, 1, 1, 2, 3]))]
        if self.chance(10):
            args.append(self.pick(["attribute", "default_value", "boolean", "reverse", "indent", "width", "first", "d",
                                   "case_sensitive", "start", "count", "sort_keys"]) + "=" + self.expression(0))
        return "(" + ", ".join(args) + ")"

    def call_filter(self, depth):
        name = self.pick(FILTERS)
        if name in ("map", "select", "reject") and self.chance(80):
            arg = self.pick(FILTERS if name == "map" else TESTS)
            rest = ", " + self.expression(0) if self.chance(30) else ""
            return f"{name}('{arg}'{rest})|list"
        if name in ("selectattr", "rejectattr", "map", "sort", "groupby") and self.chance(80):
            keyword = "attribute=" if name in ("map", "sort") else ""
            return f"{name}({keyword}'{self.pick(['name', 'age', 'city.zip', '0', 'b'])}')|list"
        return name + (self.arguments(depth) if self.chance(40) else "")

    def expression(self, depth):
        if depth <= 0:
            return self.pick(NAMES) if self.chance(50) else self.literal(0)
        kind = self.random.randrange(16)
        inner = self.expression(depth - 1)
        if kind == 0:
            return self.pick(NAMES)
        if kind == 1:
            return self.literal(depth)
        if kind in (2, 3):
            return f"{inner} {self.pick(OPERATORS)} {self.expression(depth - 1)}"
        if kind == 4:
            return f"({inner})"
        if kind in (5, 6):
            return f"{inner}|{self.call_filter(depth)}"
        if kind == 7:
            return f"{inner} is {self.pick(['', 'not '])}{self.pick(TESTS)}" + (self.arguments(depth) if self.chance(25) else "")
        if kind == 8:
            return f"({inner}).{self.pick(METHODS)}{self.arguments(depth)}"
        if kind == 9:
            return f"{self.pick(NAMES)}.{self.pick(['b', 'a', 'name', 'items', 'c', 'nope', '0', '1'] + METHODS)}"
        if kind == 10:
            return f"({inner})[{self.expression(depth - 1)}]"
        if kind == 11:
            parts = [self.pick(["", "", "1", "-1", "2", "0"]) for _ in range(self.pick([2, 3]))]
            return f"({inner})[{':'.join(parts)}]"
        if kind == 12:
            other = f" else {self.expression(depth - 1)}" if self.chance(70) else ""
            return f"({inner} if {self.expression(depth - 1)}{other})"
        if kind == 13:
            return self.pick(["not ", "-", "+"]) + inner
        if kind == 14:
            return "loop." + self.pick(LOOP)
        return self.pick([f"range({self.pick(NUMBERS)})|list", f"dict(a={inner})", f"namespace(a={inner}).a",
                          f"m({inner})", f"m({inner}, b={inner})", f"joiner({inner})()", f"[{inner}][0]"])

    def tag(self, text):
        return "{%" + self.pick(["", "", "", "-", "+"]) + f" {text} " + self.pick(["", "", "", "-", "+"]) + "%}"

    def statements(self, depth):
        return "".join(self.statement(depth) for _ in range(self.random.randrange(1, 4)))

    def statement(self, depth):
        kind = self.random.randrange(18) if depth > 0 else self.random.randrange(5)
        if kind < 2:
            return self.pick(["text", " ", "\n", "  \n", " a\n  b", "\t", "{# c #}", "{#- c -#}", "<é>", "\n\n"])
        if kind < 4:
            return "{{" + self.pick(["", "", "-"]) + " " + self.expression(3) + " " + self.pick(["", "", "-"]) + "}}"
        if kind < 7:
            return self.tag(f"set {self.pick(['a', 'b', 'x', 's', 'l', 'ns.a'])} = {self.expression(2)}")
        if kind < 10:
            middle = self.tag(f"elif {self.expression(1)}") + self.statements(depth - 1) if self.chance(20) else ""
            other = self.tag("else") + self.statements(depth - 1) if self.chance(40) else ""
            return self.tag(f"if {self.expression(2)}") + self.statements(depth - 1) + middle + other + self.tag("endif")
        if kind < 14:
            over = self.pick(["l", "el", "people", "words", "range(3)", "d", "s[:3]", "mixed", self.expression(1)])
            if self.chance(15):
                over = self.pick(["a, b in d.items()", "a, b in ll", "(a, b) in d|dictsort"])
            else:
                over = self.pick(["a", "b", "x", "i"]) + " in " + over
            test = f" if {self.expression(1)}" if self.chance(25) else ""
            jump = self.tag(f"if {self.expression(1)}") + self.tag(self.pick(["break", "continue"])) + self.tag("endif")
            other = self.tag("else") + self.statements(depth - 1) if self.chance(20) else ""
            return (self.tag(f"for {over}{test}") + self.statements(depth - 1) + (jump if self.chance(20) else "") +
                    self.statements(depth - 1) + other + self.tag("endfor"))
        if kind == 14:
            return (self.tag(f"macro m({self.pick(['', 'a', 'a, b=x', 'a, b=a, x=1'])})") + self.statements(depth - 1) +
                    self.tag("endmacro"))
        if kind == 15:
            return self.tag(f"set {self.pick(['a', 'b', 's'])}{self.pick(['', '|upper', '|trim'])}") + self.statements(
                depth - 1) + self.tag("endset")
        if kind == 16:
            return self.pick([self.tag(f"filter {self.pick(['upper', 'trim', 'length', 'title', 'indent'])}"),
                              ]) + self.statements(depth - 1) + self.tag("endfilter")
        return self.pick([
            lambda: self.tag(f"with a={self.expression(1)}") + self.statements(depth - 1) + self.tag("endwith"),
            lambda: self.tag("call m(1)") + self.statements(depth - 1) + self.tag("endcall"),
            lambda: self.tag("generation") + self.statements(depth - 1) + self.tag("endgeneration"),
            lambda: self.tag("raw") + " {{ x }} " + self.tag("endraw"),
        ])()

    def template(self):
        head = self.pick(["", "{% set ns = namespace(a=1) %}"])
        return head + (self.statements(3) if self.chance(70) else "{{ " + self.expression(4) + " }}")


# What we refuse on purpose or leave to Python: addresses in texts, integers beyond 64 bits, complex numbers.
UNRELIABLE = re.compile(r"built-in| at 0x[0-9a-f]+>|<function |<built-in |<class |<bound method|<jinja2\.|<dict_|-?\d{19,}|<reversed|<method", re.I)
LIMITS = re.compile(r"64 bits|a loop cannot be iterated|complex|is not supported|a precision beyond|padding wants|more than|cannot be sliced so")

# Names of methods have no addresses with us, so that they have fewer words.
COUNTED = re.compile(rf"\.({'|'.join(METHODS)})\b(?!\().*wordcount", re.S)


def same(source, wanted, found):
    if wanted is None:
        return "text" not in found
    if "text" not in found:
        return bool(LIMITS.search(found["error"]) or UNRELIABLE.search(wanted))
    if "method" in found["text"].lower() or "<m" in found["text"] or " at 0x" in wanted:
        return True
    if COUNTED.search(source):
        return True
    return found["text"] == wanted or bool(UNRELIABLE.search(wanted))


def main():
    warnings.simplefilter("ignore")  # of the code that jinja2 makes
    interpreter = Interpreter(sys.argv[1])
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    number = int(sys.argv[3]) if len(sys.argv) > 3 else 20000
    differing = rendered = 0
    for n in range(number):
        source = Generator(seed * 1000003 + n).template()
        if re.search(r"\*\*.*\*\*|\d\d\*\*", source):
            continue  # minutes of Python for its large integers
        wanted, problem = render(source, CONTEXT)
        if problem and ("surrogates" in problem or "MemoryError" in problem):
            continue
        found = interpreter.render(source, CONTEXT)
        rendered += wanted is not None
        if not same(source, wanted, found):
            differing += 1
            print(f"{seed * 1000003 + n}: {source!r}\n    wanted {wanted!r} {problem}\n    found  {found}")
            if differing == 20:
                break
    print(f"{differing} of {n + 1} differ, {rendered} were rendered")
    return differing > 0


if __name__ == "__main__":
    sys.exit(main())
