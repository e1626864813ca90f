"""What a chat template refuses is the client's error, in the template's words."""
import json
import urllib.error
import urllib.request

TEMPLATE = """{%- for message in messages -%}
{%- if message.role not in ('user', 'assistant') %}{{ raise_exception('No role ' ~ message.role ~ ' "here": 50% ä') }}{% endif -%}
{{- message.content.missing.more if message.content == 'break' else message.content -}}
{%- if message.content == 'spin' %}{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}{% endif -%}
{%- if message.content == 'grow' %}{% set ns = namespace(s='xxxxxxxx') %}{% for a in range(60) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}{% endif -%}
{%- if message.content == 'recur' %}{% macro m(n) %}{{ m(n + 1) }}{% endmacro %}{{ m(0) }}{% endif -%}
{%- endfor -%}"""


def ask(server, role, content):
    body = {"model": "ringlet", "messages": [{"role": role, "content": content}], "max_tokens": 1}
    request = urllib.request.Request(server.url + "/v1/chat/completions", json.dumps(body).encode(), {"content-type": "application/json"})
    try:
        return 200, json.load(urllib.request.urlopen(request, timeout=120))
    except urllib.error.HTTPError as problem:
        return problem.code, json.load(problem)["error"]


def test_template_that_raises_gives_400_with_its_own_words(own_server, tmp_path):
    path = tmp_path / "template.jinja"
    path.write_text(TEMPLATE)
    server = own_server("--chat-template", str(path))

    code, error = ask(server, "system", "hello")
    assert code == 400 and error["param"] == "messages"
    assert 'No role system "here": 50% ä' in error["message"]

    for content in ("break", "spin", "grow", "recur"):  # Python's TypeError, steps, output, recursion
        code, error = ask(server, "user", content)
        assert code == 400 and error["param"] == "messages", (content, error)

    assert ask(server, "user", "hello")[0] == 200
