"""jinja2 in the settings of HF transformers, with a fixed clock: what the C interpreter must equal."""
import datetime
import functools
import json

import jinja2
import jinja2.ext
import jinja2.nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

WALL_SECONDS = 1753700000  # 2025-07-28 10:53:20 UTC; the tests run with TZ=UTC


class Generation(jinja2.ext.Extension):
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("support"), [], [], body).set_lineno(line)

    def support(self, caller):
        return caller()


class Namespace(jinja2.utils.Namespace):
    def __init__(*args, **kwargs):
        self, args = args[0], args[1:]
        attrs = dict(*args, **kwargs)
        for name in attrs:
            Namespace.check(name)
        jinja2.utils.Namespace.__init__(self, attrs)

    def __setitem__(self, name, value):
        Namespace.check(name)
        jinja2.utils.Namespace.__setitem__(self, name, value)

    @staticmethod
    def check(name):
        if isinstance(name, str) and name.startswith("_"):
            raise jinja2.exceptions.SecurityError(name)


class Raised(jinja2.exceptions.TemplateError):
    pass


def raise_exception(message):
    raise Raised(message)


def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def strftime_now(format):
    now = datetime.datetime.fromtimestamp(WALL_SECONDS, datetime.timezone.utc).replace(tzinfo=None)
    return now.strftime(format)


def environment():
    env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True,
                                        extensions=[jinja2.ext.loopcontrols, Generation])
    env.filters["tojson"] = tojson
    env.filters["from_json"] = json.loads
    env.globals.update(raise_exception=raise_exception, strftime_now=strftime_now, namespace=Namespace, dict=dict)
    del env.globals["lipsum"]
    return env


ENV = environment()


@functools.lru_cache(64)
def compiled(source):
    return ENV.from_string(source)


def render(source, context):
    """The text, or None where Python raises; and what it raised."""
    try:
        text = compiled(source).render(**context)
        text.encode()  # a lone surrogate is no text
        return text, None
    except Exception as problem:
        return None, repr(problem)[:300]


def fnv1a(text):
    hash = 0xcbf29ce484222325
    for byte in text.encode():
        hash = (hash ^ byte) * 0x100000001b3 & 0xffffffffffffffff
    return hash
