"""One-line templates, by subject: [(template, name of the context)]."""

CONTEXTS = {
    "plain": {
        "x": 5, "neg": -3, "f": 2.5, "s": "Hello World", "e": "", "u": "Grüße 世界 🌍", "n": None, "t": True, "ff": False,
        "l": [3, 1, 2], "el": [], "ll": [[1, 2], [3]], "d": {"b": 1, "a": {"c": [1, {"k": "v"}]}, "items": 7, "Z": "z"},
        "ed": {}, "html": "<a href=\"x\">&'</a>", "lines": "a\n\n b\r\nc\x0bd\u2028e\n", "big": 9007199254740993,
        "people": [{"name": "bob", "age": 30, "city": {"zip": "b"}}, {"name": "Al", "age": 4, "city": {"zip": "a"}},
                   {"name": "al", "age": 30, "city": {"zip": "C"}}, {"name": "Cy", "age": None, "city": {}}],
        "mixed": [1, "a", None, 2.0, True, [], {}], "words": ["b", "A", "a", "B", "c"], "pad": "  x y  ",
        "quote": "it's", "dq": "say \"hi\"", "both": "'\"", "ctl": "\x00\x1f\x7f\u00a0\u200b\ufeff\t\n",
        "pct": "100%", "one": [1], "floats": [1.0, 1e16, 1e-5, 0.1, 123456789.125, -0.0, 1e22, 5e-324, 1.7976931348623157e308],
    },
}

WHITESPACE = r"""
a
{% if t %}
 b
{% endif %}
c

---
  {% if t %}  x  {% endif %}  
y
---
{%- if t -%}   x   {%- endif -%}   y
---
 {%+ if t +%}
x
 {%+ endif +%}
y
---
{% if t %}  {% if t %} z {% endif %}{% endif %}
---
{{ x }}
{{ x -}}
   {{- x }}
---
  {# comment #}
  a {# b #}  c
{#- d -#}   e
---
{% raw %} {{ x }} {% y %} {% endraw %} b
---
  {%- raw -%}  {{ x }}  {%- endraw -%}  b
---
{% raw %}
a
{% endraw %}
b
---
{{ '%}' }}{{ "}}" }}{{ '{{' }}
---
a{{ {'a': {'b': 1}} }}b
---
{% set a = 1 %}
{% set b = 2 %}
{{ a }}{{ b }}
---
	 {% if t %}	tab {% endif %}	
end
---
{#{# nested #}x
---
{% for i in l %}
  {{ i }}
{% endfor %}

---
{% for i in l -%}
  {{ i }}
{%- endfor %}
---
x {%- set q = 1 %} y {%- set q = 2 -%} z
---
{{ 1 -}}
 
 {% if t %} after stripped {% endif %}
---
{%if t%}tight{%endif%}
---
{%- if t %}
  {%- if t %}
    deep
  {%- endif %}
{%- endif %}
---
a
	{{- x }}
    {{ x }}
---
{#-#}a{#+#}b{##}c
---
{#- a +#}
b
---
{{+ x }} y
---
{% raw %}{% raw %}{% endraw %}
---
{%- generation %} a {% endgeneration -%} b
"""

EXPRESSIONS = r"""
1 + 2 * 3 - 4
7 // 2 ~ -7 // 2 ~ 7 % 3 ~ -7 % 3 ~ 7 % -3 ~ -7 % -3
7 / 2
6 / 2
2 ** 10
2 ** 3 ** 2
-2 ** 2
2 ** -1
2 ** 0.5
(-8) ** 2
0 ** 0
1e3
1.5e-7
0x1F + 0b101 + 0o17
1_000
1_0.2_5
007
1.0 + 1
7.5 // 2
-7.5 // 2
-7.5 % 2
7.5 % -2
1 / 0
1 // 0
1 % 0
1.0 / 0
9223372036854775807
9223372036854775807 + 0
true + true
not true
not 0 and 1
1 if t else 2
1 if ff
(1 if ff) is defined
1 if ff else 2 if ff else 3
x == 5 and s == 'Hello World' or nothing.at.all
1 < 2 < 3
1 < 3 < 2
1 == 1.0
true == 1
'a' == 1
'a' < 'b'
'a' < 1
[1, 2] < [1, 3]
(1, 2) == [1, 2]
[1, 'a'] == [1, 'a']
{'a': 1} == {'a': 1.0}
{} == []
none == none
undefd == undefd
undefd == none
undefd != 1
undefd < 1
undefd + 1
undefd ~ 'x'
'a' + 1
'a' + none
'a' ~ none ~ 1 ~ true ~ 1.0 ~ [1] ~ undefd
'a' * 3
3 * 'ab'
'a' * -1
[1] * 2
[1, 2] + [3]
(1,) + (2, 3)
[1] + (2,)
'a' 'b' "c"
'\n\t\\\'\"\x41\u00e9\U0001F600\101\q\d\/'|tojson
'\é\世'
"tab	in literal"
'a\
b'
'\x4'
'\ud83d'
'\N{DIGIT ONE}'
1 in [1, 2]
'a' in 'abc'
'a' not in 'abc'
not 'a' in 'abc'
1 in 'abc'
1 in undefd
'b' in d
'q' in d
none in [none]
'x' in none
'' in ''
2.0 in [1, 2]
"a" + " b "|trim
-1|abs
(-1)|abs
-x|abs
+x
-t
-'a'
not x is defined
x is defined and s is string
x is not defined
x is not none
(1, 2)
(1,)
()
1, 2
1,
[1, [2, (3,)], {'a': none, 'b': 1.5, 2: 'x', true: 'y'}]
{1: 'a', 1.0: 'b', true: 'c'}
{[1]: 2}
{(1, 2): 3}
{'a': 1, 'a': 2}
{'a': 1}.a
{'a': 1}['a']
[1, 2, 3][0]
[1, 2, 3][-1]
[1, 2, 3][5]
[1, 2, 3]['a']
[1, 2, 3][1:]
[1, 2, 3][:-1]
[1, 2, 3][::-1]
[1, 2, 3][::2]
[1, 2, 3][::0]
[1, 2, 3][5:1]
[1, 2, 3][-9:9]
[1, 2, 3][true]
[1, 2, 3]['a':]
s[1:4]
s[::-1]
s[-3:]
u[1]
u[-1]
u[::-1]
u[6:8]
u[100]
u|length
s.0
l.0
l.5
d.0
d['a']['c'][1].k
d.a.c.1.k
d.items
d['items']
d.items() | list
d.keys()
d.values()
d.items()
d.get('b')
d.get('zz')
d.get('zz', 9)
d.get('zz', default=9)
d.missing
d.missing.deeper
d['missing']['deeper']
d.missing is defined
undefd.x is defined
undefd
undefd()
undefd.x
undefd['x']
undefd[1:]
none.x
none.x.y
none['x']
x.y
x[0]
x()
s()
s.nope
s.nope()
d.update({'q': 1})
d.update
l.append(1)
l.append is defined
l.pop()
d.copy()
l.count(1)
l.index(2)
l.index(99)
(1, 1, 2).count(1)
''.__class__
''.__class__.__mro__
d.__len__
x.real is defined
range(3)
range(1, 4)|list
range(5, 0, -2)|list
range(0)|list
range(3)[1]
range(3)[-1]
range(10)[2:8:2]
range(10)[::-1]|list
range(100001)
range(100000)|length
range()
range('a')
range(1.5)
range(3) == range(0, 3)
range(1, 2, 0)
2 in range(3)
dict(a=1, b=2)
dict({'a': 1}, b=2)
dict([('a', 1), ('b', 2)])
dict([1])
namespace(a=1)
namespace({'a': 1}, b=2).b
namespace().x
namespace(a=1)['a']
namespace(_a=1)
strftime_now('%Y-%m-%d')
strftime_now('%d %b %Y')
strftime_now('%B %d, %Y %H:%M:%S %j %A %a %p %I %y')
strftime_now('%f|%z|%Z|%%|x')
raise_exception('Stop ' ~ x)
raise_exception()
lipsum
loop
self is defined
cycler('a', 'b').next()
joiner('; ')()
(s, x)[1]
s.upper
x is sameas x
{'a': 1, **{'b': 2}}
[x for x in l]
lambda: 1
x = 1
x if
x +
(x
x)
[1, 2
{'a': }
{'a' 1}
x | 
x is
x.
x..y
x[
x[]
x y
'unterminated
1 2
a.1b
{{ x }}
x $ y
x ? y : z
d.a.c[1]['k'] | upper
(d.a).c
d['a'].c|length
s|length + 1
1 + s|length
l|sort|join(',')|upper
(1 + 2) * 3
1 - 2 - 3
2 * 3 % 4
1 ~ 2 + 3
1 + 2 ~ 3
10 - 1 ~ 0
1 if x == 5 else 2 + 10
'%s and %d' % ('a', 5)
'%05.2f|%-5s|%5s|%x|%X|%o|%e|%g|%c|%r|%%' % (3.14159, 'ab', 'cd', 255, 255, 8, 1234.5, 0.0001, 'z', 'q')
'%s' % 5
'%s' % [1]
'%d' % 'a'
'%s %s' % 'a'
'%(a)s-%(b)d' % {'a': 'x', 'b': 3}
'%s' % (1, 2)
'%+d % d %#x %03d' % (5, 5, 255, 7)
'%.3s|%10.2s|' % ('abcdef', 'xyz')
'%i' % 3.99
'{} {}'.format(1, 'a')
'{0} {1} {0}'.format('x', 'y')
'{a} {b!r}'.format(a=1, b='q')
'{:>5}|{:<5}|{:^5}|{:*^7}'.format('a', 'b', 'c', 'd')
'{:05d}|{:+d}|{:,}|{:x}|{:.2f}|{:5.1f}|{:%}'.format(42, 42, 1234567, 255, 3.14159, 2.25, 0.5)
'{{}} {}'.format(1)
'{'.format(1)
'{x}'.format(1)
'{0.name}'.format({'name': 1})
'{0[name]}'.format({'name': 1})
'{}'.format(none)
big
big + 1
big|tojson
floats
floats|tojson
0.1 + 0.2
1e16
1e15
123456789012345680.0
1e-4
0.00001
1e100
100.0 * 1.1
2.5|round
3.5|round
2.675|round(2)
-2.5|round
1234.5678|round(-2)
2.5|round(0, 'ceil')
2.5|round(0, 'floor')
2.11|round(1, 'ceil')
5|round
15|round(-1)
25|round(-1)
'a'|round
undefd|round
mixed
d
both
quote
[quote, dq, both]
[ctl]
ctl|tojson
[u]
html
[html]
s is string and s is not number
""".strip("\n").split("\n")

FILTERS = r"""
-5|abs
'a'|abs
s|capitalize
u|capitalize
s|center(20)
s|center(3)
html|e
html|escape
html|e|e
html|forceescape
html|safe
(html|safe) ~ '<'
(html|safe) + '<'
'<' + (html|safe)
(html|safe)|upper
(html|safe)|length
[html|safe]
(s|safe) is string
(s|safe) is escaped
(html|safe)|replace('<', '[')
(html|safe)[0:3] + '<'
undefd|default('D')
undefd|d
e|default('D')
e|default('D', true)
n|default('D')
n|default('D', boolean=true)
d.q|default('D')
undefd.q|default('D')
0|default(1, true)
d|dictsort
{'b': 1, 'A': 2, 'c': 0}|dictsort
{'b': 1, 'A': 2, 'c': 0}|dictsort(true)
{'b': 1, 'A': 2, 'c': 0}|dictsort(false, 'value')
{'b': 1, 'A': 2, 'c': 0}|dictsort(by='value', reverse=true)
{'b': 1, 2: 2}|dictsort
d|dictsort(by='x')
l|dictsort
l|first
el|first
s|first
d|first
n|first
undefd|first
5|first
l|last
el|last
s|last
u|last
d|last
(l|map('string'))|last
'3.5'|float
'x'|float
'x'|float(1)
'inf'|float
' 1_000.5 '|float
'0x10'|float
'1e3'|float
n|float
undefd|float
undefd|int
'3'|int
'3.7'|int
'x'|int
'x'|int(7)
' 42 '|int
'-5'|int
'+5'|int
'0x1f'|int(base=16)
'1f'|int(0, 16)
'101'|int(base=2)
'1_000'|int
'1__0'|int
3.99|int
-3.99|int
true|int
n|int
[]|int
''|int
'%s-%s'|format(1, 'a')
'%(a)s'|format(a=1)
'%s'|format(1, a=2)
people|groupby('age')|list|length
words|groupby(0)|list
['a', 'B', 'b', 'A']|groupby(0)|map('first')|list
s|indent
lines|indent
lines|indent(2)
lines|indent(2, true)
lines|indent(2, first=true, blank=true)
lines|indent('>> ')
lines|indent(width='ab', blank=true)
e|indent(2, true)
5|indent
undefd|indent
n|indent
d|items
d|items|list
undefd|items|list
l|items|list
n|items|list
l|join
l|join(', ')
l|join(d='-')
people|join(', ', attribute='name')
mixed|join('|')
s|join('.')
d|join(',')
u|join('-')
n|join
5|join
undefd|join(',')
el|join(',')
l|join(1)
l|length
d|length
s|length
n|length
5|length
undefd|length
range(3)|length
(l|map('string'))|length
d.items()|length
s|list
d|list
n|list
undefd|list
u|list
s|lower
u|lower
u|upper
'ß ŉ ﬁ ΐ İ'|upper
'İ ΑΣ ΑΣΑ Σ'|lower
'ǆ ﬁ ß'|title
5|upper
n|upper
l|upper
people|map(attribute='name')|list
people|map(attribute='city.zip')|list
people|map(attribute='city.zip', default='?')|list
people|map(attribute='name')|map('upper')|join(' ')
people|map('length')|list
people|map(attribute='nope')|list
people|map(attribute='nope.x')|list
l|map('string')|list
l|map('float')|list
ll|map('first')|list
ll|map(attribute=0)|list
ll|map(attribute='0')|list
ll|map('join', '-')|list
l|map('nope')|list
el|map('nope')|list
n|map('upper')|list
l|map|list
l|map(x=1)|list
words|map('replace', 'a', 'X')|list
undefd|map('upper')|list
5|map('string')|list
0|map('string')|list
l|max
l|min
words|max
words|min(case_sensitive=true)
people|max(attribute='age')
people[:3]|max(attribute='age')
people|min(attribute='name')
el|max
mixed|max
l|reject('odd')|list
l|reject('equalto', 1)|list
l|reject('eq', 1)|list
mixed|reject('none')|list
mixed|reject|list
mixed|select|list
mixed|select('string')|list
mixed|select('number')|list
l|select('>', 1)|list
l|select('in', [1, 2])|list
l|select('greaterthan', 1)|list
l|select('nope')|list
el|select('nope')|list
people|selectattr('age')|map(attribute='name')|list
people|selectattr('age', 'equalto', 30)|map(attribute='name')|list
people|selectattr('city.zip', 'defined')|list|length
people|selectattr('age', 'none')|list
people|rejectattr('age')|list
people|rejectattr('age', 'eq', 30)|map(attribute='age')|list
people|rejectattr('name', 'in', ['bob', 'al'])|map(attribute='name')|list
people|selectattr|list
people|selectattr('age', 'ge', 4)|list
s|replace('l', 'L')
s|replace('l', 'L', 1)
s|replace('', '-')
e|replace('', '-')
u|replace('ß', 'ss')
u|replace('', '.', 2)
5|replace(5, 6)
s|replace('o')
s|replace(old='o', new='0')
s|reverse
u|reverse
l|reverse|list
l|reverse
d|reverse|list
n|reverse
range(3)|reverse|list
l|sort
l|sort(true)
l|sort(reverse=true)
words|sort
words|sort(case_sensitive=true)
words|sort(true)
people|sort(attribute='name')|map(attribute='name')|list
people|sort(attribute='age')
people[:3]|sort(attribute='age,name')|map(attribute='name')|list
people[:3]|sort(attribute='age', reverse=true)|map(attribute='name')|list
mixed|sort
d|sort
s|sort
undefd|sort
n|sort
5|string
n|string
u|string|length
mixed|string
undefd|string
l|sum
ll|sum(start=[])
people[:3]|sum(attribute='age')
words|sum
l|sum(start=0.5)
s|title
"they're bill's (best) a-b [x] <y> {z}"|title
pad|title
d|tojson
mixed|tojson
html|tojson
u|tojson
u|tojson(ensure_ascii=true)
u|tojson(true)
d|tojson(indent=2)
d|tojson(indent=0)
d|tojson(indent='\t')
[[], {}, [[]]]|tojson(indent=1)
d|tojson(separators=(',', ':'))
d|tojson(separators=[',', ':'])
d|tojson(sort_keys=true)
d|tojson(false, 2, none, true)
d|tojson(separators=5)
undefd|tojson
[undefd]|tojson
(1, 2)|tojson
range(3)|tojson
d.items()|tojson
l|map('string')|tojson
namespace(a=1)|tojson
{1: 2, none: 3, true: 4, 1.5: 5}|tojson
{(1, 2): 3}|tojson
{'b': 1, 'a': {'d': 1, 'c': 2}}|tojson(sort_keys=true, indent=4)
''|tojson
n|tojson
1e400|tojson
(html|safe)|tojson
d|tojson(nope=1)
pad|trim
pad|trim ~ '|'
'xxaxx'|trim('x')
'abcba'|trim('ab')
u|trim('G🌍')
'\u00a0\u2003 a \u3000'|trim
5|trim
n|trim
undefd|trim
s|truncate(8)
s|truncate(8, true)
s|truncate(8, true, '…', 0)
s|truncate(3, false, '', 0)
s|truncate
s|truncate(2)
words|unique|list
words|unique(true)|list
[1, 1.0, true, 2, '1']|unique|list
people|unique(attribute='age')|map(attribute='name')|list
ll|unique|list
s|upper
'a b&c/ü?~'|urlencode
s|wordcount
"it's a-b c_d"|wordcount
u|wordcount
e|wordcount
l|batch(2)|list
l|batch(2, 'x')|list
l|slice(2)|list
l|slice(2, 'x')|list
range(10)|slice(3)|list
range(10)|batch(4, 0)|list
people|attr('name')
d|attr('items') is defined
d|attr('b') is defined
s|attr('upper')()
'[1, {"a": null}]'|from_json
'nope'|from_json
s|nope
s|nope if ff else 1
(s|nope) if ff
s|pprint
s|upper()
s|upper(1)
s|join(',', 1, 2)
s|default(x=1)
s | upper | lower | title
s|upper.x
s|upper|length is odd
l|first|string ~ 'x'
""".strip("\n").split("\n")

TESTS = [f"{value} is {test}" for value in ("undefd", "n", "t", "0", "1", "1.0", "f", "s", "e", "l", "d", "(1,)", "range(2)",
                                            "d.items()", "dict", "namespace(a=1)", "s.upper", "(l|map('string'))")
         for test in ("defined", "undefined", "none", "boolean", "true", "false", "integer", "float", "number", "string",
                      "mapping", "sequence", "iterable", "callable")]
TESTS += r"""
x is odd
x is even
f is odd
s is odd
undefd is odd
x is divisibleby 5
x is divisibleby(2)
x is divisibleby
x is divisibleby(0)
x is sameas(5)
n is sameas none
t is sameas(true)
l is sameas(l)
l is sameas([3, 1, 2])
x is eq 5
x is equalto(5)
x is ne 5
x is lt 6
x is le 5
x is gt 5
x is ge 5
x is greaterthan(1)
x is lessthan(1)
x is in [5]
x is in(l)
x is not in l
'a' is in 'abc'
s is lower
s is upper
'abc' is lower
'ABC' is upper
'' is lower
1 is lower
'é' is lower
'upper' is filter
'nope' is filter
'odd' is test
s is nope
s is nope if ff else 1
x is odd is even
x is odd and x is even
x is odd or nope
x is odd + 1
not x is odd
x is not odd
x is divisibleby 5 and true
x is eq x.y
x is eq -1
x is eq [1][0]
s is string ~ 'a'
x is odd | string
x is defined == true
x is none(1)
""".strip("\n").split("\n")

METHODS = r"""
s.upper()
s.lower()
s.title()
s.capitalize()
s.swapcase()
"they're x2y ǆ ß"|string
"they're x2y ǆ".title()
'ÀÉ'.lower()
pad.strip() ~ '|'
pad.lstrip() ~ '|'
pad.rstrip() ~ '|'
'xyaxy'.strip('xy')
'xyaxy'.lstrip('yx')
'xyaxy'.rstrip('x')
'xyaxy'.strip(none)
'xyaxy'.strip(1)
'a,b,,c'.split(',')
'a,b,,c'.split(',', 1)
'a,b,,c'.split(',', -1)
'a,b,,c'.split(sep=',', maxsplit=2)
'  a  b '.split()
'  a  b '.split(' ')
'  a  b  c '.split(none, 1)
''.split()
''.split(',')
'a'.split('')
'a<b>c'.split('<b>')[-1]
'a,b,,c'.rsplit(',', 1)
'  a  b  c '.rsplit(none, 1)
'  a  b  c '.rsplit()
'a,b,,c'.rsplit(',')
u.split(' ')
'a\u2003b\u00a0c'.split()
lines.splitlines()
lines.splitlines(true)
''.splitlines()
'a\r\nb\rc\n'.splitlines()
s.startswith('He')
s.startswith('x')
s.startswith(('x', 'He'))
s.startswith(['x'])
s.startswith('lo', 3)
s.startswith('', 99)
s.startswith(1)
s.endswith('ld')
s.endswith(('x', 'ld'))
s.endswith('lo', 0, 5)
s.find('o')
s.find('o', 5)
s.find('zz')
s.find('')
s.find('', 99)
u.find('界')
u.find('世', -5)
s.rfind('o')
u.rfind(' ')
s.index('W')
s.index('zz')
s.rindex('l')
s.count('l')
s.count('')
u.count('')
s.count('l', 3)
s.count('l', 3, 4)
'aaaa'.count('aa')
s.replace('l', 'L')
s.replace('l', 'L', 1)
s.replace('', '-')
s.replace('l')
s.replace('l', 1)
', '.join(['a', 'b'])
', '.join([1])
'-'.join('abc')
'-'.join(d)
'-'.join(n)
s.removeprefix('Hello ')
s.removesuffix('World')
s.removeprefix('x')
s.partition(' ')
s.partition('x')
s.rpartition('o')
s.rpartition('x')
s.partition('')
'ab'.ljust(5) ~ '|'
'ab'.rjust(5, '*')
'ab'.center(5, '*')
'abc'.center(6, '*')
'ab'.center(5, '**')
'42'.zfill(5)
'-42'.zfill(5)
'ab'.zfill(1)
'abc'.isalpha()
'abc1'.isalpha()
'abc1'.isalnum()
'123'.isdigit()
'12a'.isdigit()
''.isdigit()
' \n'.isspace()
'abc'.islower()
'ABC'.isupper()
'Ab Cd'.istitle()
'abé'.isascii()
'ab\n'.isprintable()
'١'.isdigit()
s.encode()
s.nope()
s.upper(1)
s.split(',', 'a')
s.split(nope=1)
d.get()
d.get('a', 1, 2)
d.items(1)
d.get([])
'a' in d.keys()
1 in d.values()
d.keys()|list
d.values()|list|length
d.items()|first
d.keys()[0]
d.popitem()
(s|safe).upper() is escaped
(s|safe).split(' ')
s.split(' ')[0].lower()[1:]
s.format()
ed.items()|list
d.a.items()
l.sort()
l.copy()
l.index(1, 2)
(1, 2).index(2)
(1, 2).append(1)
x.bit_length is defined
""".strip("\n").split("\n")

STATEMENTS = r"""
{% for i in l %}{{ i }}{% endfor %}
{% for i in l %}{{ loop.index }}{{ loop.index0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.depth }}{{ loop.depth0 }};{% endfor %}
{% for i in l %}{{ loop.previtem }}-{{ loop.nextitem }};{% endfor %}
{% for i in l %}{{ loop.previtem is defined }}{{ loop.nextitem is defined }}{% endfor %}
{% for i in l %}{{ loop.cycle('a', 'b') }}{% endfor %}
{% for i in l %}{{ loop.cycle() }}{% endfor %}
{% for i in [1, 1, 2] %}{{ loop.changed(i) }}{% endfor %}
{% for i in l %}{{ loop }}{% endfor %}
{% for i in l %}{{ loop.nope }}{% endfor %}
{% for i in l if i > 1 %}{{ i }}{{ loop.last }}{{ loop.length }}{{ loop.index }};{% endfor %}
{% for i in l if loop.first %}{{ i }}{% endfor %}
{% for i in el %}x{% else %}empty{% endfor %}
{% for i in l if i > 9 %}x{% else %}none{% endfor %}
{% for i in l %}x{% else %}never{% endfor %}
{% for i in l %}{% continue %}{% else %}all skipped{% endfor %}
{% for i in l %}{% break %}{% else %}broken{% endfor %}
{% for i in l %}{% if loop.index == 2 %}{% break %}{% endif %}{{ i }}{% else %}e{% endfor %}
{% for i in l %}{% if loop.index == 2 %}{% continue %}{% endif %}{{ i }}{% endfor %}
{% for i in l %}{% for j in l %}{% if j == i %}{% break %}{% endif %}{{ i }}{{ j }} {% endfor %}{% endfor %}
{% break %}
{% continue %}
{% for i in l %}{% macro m() %}{% break %}{% endmacro %}{% endfor %}
{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}
{% for k, v in d|dictsort %}{{ k }}={{ v }};{% endfor %}
{% for k in d %}{{ k }}{% endfor %}
{% for a, b in ll %}{{ a }}{% endfor %}
{% for (a, b), c in [((1, 2), 3)] %}{{ a }}{{ b }}{{ c }}{% endfor %}
{% for a, in [(1,)] %}{{ a }}{% endfor %}
{% for c in u %}{{ c }}.{% endfor %}
{% for i in n %}x{% endfor %}
{% for i in 5 %}x{% endfor %}
{% for i in undefd %}x{% else %}e{% endfor %}
{% for i in 1, 2 %}{{ i }}{% endfor %}
{% for i in (l if t else el) %}{{ i }}{% endfor %}
{% for i in range(3) %}{{ i }}{% endfor %}{{ i }}
{% for x in [1] %}{{ x }}{% endfor %}{{ x }}
{% for loop in l %}{% endfor %}
{% for i in l %}{% set loop = 1 %}{% endfor %}
{% set x=1 %}{% for i in [1,2] %}{{x}}{% set x=i+5 %}{{x}}{% endfor %}{{x}}
{% for i in l %}{% set i = i * 2 %}{{ i }}{% endfor %}
{% for i in l %}{% for j in [loop.index] %}{{ j }}{{ loop.index }}{% endfor %}{% endfor %}
{% for i in l recursive %}{{ i }}{% endfor %}
{% for i in [[1, [2]], [3]] recursive %}{{ loop.depth }}{% for j in i %}{% if j is number %}{{ j }}{% endif %}{% endfor %}{% set r = i|select('iterable')|list %}{% if r %}({{ loop(r) }}){% endif %}{% endfor %}
{% for i in l %}{{ loop(l) }}{% endfor %}
{% for i in l|map('string') %}{{ loop.length }}{{ i }}{{ loop.last }}{% endfor %}
{% set g = l|map('string') %}{{ g|list }}{{ g|list }}
{% set g = l|map('string') %}{% for i in g %}{{ i }}{% break %}{% endfor %}{{ g|list }}
{% if x == 5 %}a{% elif x == 6 %}b{% else %}c{% endif %}
{% if x == 6 %}a{% elif x == 5 %}b{% else %}c{% endif %}
{% if ff %}a{% elif ff %}b{% elif ff %}c{% endif %}
{% if undefd %}a{% else %}b{% endif %}
{% if undefd.x %}a{% endif %}
{% if %}a{% endif %}
{% if t %}a
{% endif %}
{% if t %}a{% endfor %}
{% if t %}a{% else %}b{% else %}c{% endif %}
{% if t %}{% set y = 1 %}{% endif %}{{ y }}
{% if ff %}{% set y = 1 %}{% endif %}{{ y }}
{% if ff %}{% set x = 1 %}{% endif %}{{ x }}
{% set y = 1 %}{{ y }}
{% set y = 1, 2 %}{{ y }}
{% set a, b = 1, 2 %}{{ a }}{{ b }}
{% set a, b = [1] %}
{% set (a, b) = 'xy' %}{{ a }}{{ b }}
{% set a, (b, c) = 1, (2, 3) %}{{ a }}{{ b }}{{ c }}
{% set x = x + 1 %}{{ x }}
{% set 1 = 2 %}
{% set true = 2 %}
{% set x.y = 2 %}
{% set d.b = 2 %}
{% set d['b'] = 2 %}
{% set y %}a{{ x }}b{% endset %}{{ y }}
{% set y | upper %}a{{ x }}b{% endset %}{{ y }}
{% set y | upper | replace('A', z) %}{% set z = 'Q' %}a{% endset %}{{ y }}
{% set y %}{% set w = 1 %}{% endset %}{{ w }}
{% set a, b %}xy{% endset %}{{ a }}
{% set ns = namespace(i=0) %}{% for j in l %}{% set ns.i = ns.i + j %}{% endfor %}{{ ns.i }}
{% set ns = namespace() %}{% set ns.a = 1 %}{{ ns.a }}{{ ns.b }}{{ ns }}
{% set ns = namespace() %}{% set ns.a %}block{% endset %}{{ ns.a }}
{% set ns = namespace() %}{% set ns._a = 1 %}
{% set ns = namespace() %}{% set ns['a'] = 1 %}
{% set ns.a = 1 %}
{% set ns = namespace() %}{% set ns.x, ns.y = 1, 2 %}{{ ns.x }}{{ ns.y }}
{% macro m(a, b=2) %}{{ a }}-{{ b }}{% endmacro %}{{ m(1) }}|{{ m(1, 3) }}|{{ m(b=5, a=4) }}|{{ m() }}
{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, 2) }}
{% macro m(a) %}{{ a }}{% endmacro %}{{ m(b=2) }}
{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, a=2) }}
{% macro m() %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, a=3) }}
{% macro m(a) %}{{ a is defined }}{{ a }}{% endmacro %}{{ m() }}
{% macro m(a, b=a) %}{{ b }}{% endmacro %}{{ m(7) }}
{% macro m(a=b, b=1) %}{{ a }}{{ b }}{% endmacro %}{{ m() }}
{% macro m(a=1, b) %}{% endmacro %}
{% macro m(x) %}{{ x }}{{ s }}{% endmacro %}{% set s = 'changed' %}{{ m(1) }}
{% macro m() %}{{ later }}{% endmacro %}{% set later = 'L' %}{{ m() }}
{% macro m() %}{{ x }}{% endmacro %}{{ m() }}{% set x = 1 %}{{ m() }}
{% macro m() %}{% set q = 1 %}{% endmacro %}{{ m() }}{{ q }}
{% for i in l %}{% macro m() %}{{ i }}{% endmacro %}{{ m() }}{% endfor %}
{% macro m() %}{{ i }}{% endmacro %}{% for i in l %}{{ m() }}{% endfor %}
{% macro m() %}{{ loop }}{% endmacro %}{% for i in l %}{{ m() }}{% endfor %}
{% macro f(n) %}{% if n > 0 %}{{ n }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(5) }}
{% macro m() %}  a  {% endmacro %}[{{ m() }}][{{ m()|trim }}]
{% macro m() %}x{% endmacro %}{{ m.name }}{{ m is callable }}{{ m() is string }}{{ m }}
{% macro m(a) %}[{{ caller() }}{{ a }}]{% endmacro %}{% call m(1) %}body{% endcall %}
{% macro m() %}{{ caller(5) }}{% endmacro %}{% call(v) m() %}<{{ v }}>{% endcall %}
{% macro m() %}{{ caller() }}{% endmacro %}{{ m() }}
{% macro m() %}{{ caller is defined }}{% endmacro %}{{ m() }}{% call m() %}{% endcall %}
{% macro m() %}x{% endmacro %}{% call m() %}{% endcall %}
{% call x %}{% endcall %}
{% macro m() %}a{% endmacro %}{% macro m() %}b{% endmacro %}{{ m() }}
{{ m() }}{% macro m() %}a{% endmacro %}
{% macro m(a, b) %}{{ a }}{{ b }}{% endmacro %}{{ m(*[1, 2]) }}{{ m(**{'a': 3, 'b': 4}) }}{{ m(1, *[2]) }}
{% macro m(a) %}{{ a }}{% endmacro %}{{ m(*5) }}
{% macro m(a) %}{{ a }}{% endmacro %}{{ m(**5) }}
{% macro m(a) %}{{ a }}{% endmacro %}{{ m(a=1, a=2) }}
{% macro true() %}{% endmacro %}
{% filter upper %}a{{ s }}{% endfilter %}
{% filter upper|replace('A', 'x') %}a{{ s }}{% endfilter %}
{% filter trim %}  {% set q = 1 %} a {% endfilter %}{{ q }}
{% filter nope %}a{% endfilter %}
{% if ff %}{% filter nope %}a{% endfilter %}{% endif %}b
{% if ff %}{{ s|nope }}{% endif %}b
{% if t %}{{ s|nope }}{% endif %}b
{% with a=1, b=x %}{{ a }}{{ b }}{% endwith %}{{ a }}
{% with a=1, b=a %}{{ b }}{% endwith %}
{% with %}{% set q = 1 %}{{ q }}{% endwith %}{{ q }}
{% with a, b = (1, 2) %}{{ a }}{{ b }}{% endwith %}
{% print x %}{% print x, s %}
{% generation %}a{% set q = 1 %}{{ q }}{% endgeneration %}{{ q }}
{% for i in l %}{% generation %}{{ i }}{{ loop.index }}{% endgeneration %}{% endfor %}
{% nope %}
{% endif %}
{% else %}
{% %}
{% 1 %}
{{ }}
{{ x
{% if x
{# open
{% raw %} open
{% set x = 1 }}
{{ x %}
{% for %}{% endfor %}
{% for i l %}{% endfor %}
{% for i in %}{% endfor %}
{% for i in l %}
{% for 1 in l %}{% endfor %}
{% for a.b in l %}{% endfor %}
{% macro %}{% endmacro %}
{% macro m %}{% endmacro %}
{% if x: %}colon{% endif %}
{% for i in l: %}{{ i }}{% endfor %}
{% set y = {'a': [1, {'b': 2}]} %}{{ y.a[1].b }}
{% set y = cycler('a', 'b') %}{{ y.next() }}{{ y.next() }}{{ y.next() }}{{ y.current }}{{ y.reset() }}{{ y.next() }}
{% set j = joiner() %}{% for i in l %}{{ j() }}{{ i }}{% endfor %}
{% set ns = namespace(a=[]) %}{% for i in l %}{% set ns.a = ns.a + [i] %}{% endfor %}{{ ns.a }}
{% set ns = namespace(s='') %}{% for i in l %}{% set ns.s = ns.s + i|string %}{% set old = ns.s %}{% set ns.s = ns.s + '!' %}{{ old + '?' }}{% endfor %}{{ ns.s }}
{% set a = 'x' * 300 %}{% set b = a + 'y' %}{% set c = b + '1' %}{% set e = b + '2' %}{{ c[-3:] }}{{ e[-3:] }}{{ (c + '3')[-3:] }}{{ (c + '4')[-3:] }}
{% set range = 5 %}{{ range }}
{% for i in l %}{% if i == 1 %}{% set y %}a{% break %}b{% endset %}{% endif %}{{ i }}{% endfor %}
{% for i in l %}{% filter upper %}{{ i }}x{% continue %}y{% endfilter %}{% endfor %}
{% if t %}{% macro m() %}in if{% endmacro %}{% endif %}{{ m() }}
{% for q in l %}{% set z = s %}{% for r in [1] %}{{ z }}{% set z = r %}{{ z }}{% endfor %}{{ z }}{% endfor %}
{% for q in [1] %}{% for r in [1] %}{{ s }}{% endfor %}{% set s = 2 %}{{ s }}{% endfor %}
{% for q in [1] %}{{ s }}{% for r in [1] %}{{ s }}{% endfor %}{% set s = 2 %}{{ s }}{% endfor %}
{% if t %}{% set s = 1 %}{% else %}{% set s = 2 %}{% endif %}{% macro m() %}{{ s }}{% endmacro %}{{ m() }}
{% macro m() %}{{ s }}{% endmacro %}{{ m() }}{% if ff %}{% set s = 1 %}{% endif %}{{ m() }}
{% macro m() %}{{ s }}{% endmacro %}{{ m() }}{% if t %}{% set s = 1 %}{% elif t %}{% set s = 2 %}{% else %}{% set s = 3 %}{% endif %}{{ m() }}
{% macro m() %}{{ s }}{% endmacro %}{{ m() }}{% for i in l %}{% set s = 1 %}{% endfor %}{{ m() }}
{% macro m(s) %}{% macro k() %}{{ s }}{{ x }}{% endmacro %}{{ k() }}{% endmacro %}{{ m(3) }}
{% block a %}{% endblock %}
{% include 'a' %}
{% extends 'a' %}
{% import 'a' as b %}
{% from 'a' import b %}
{% do 1 %}
{% autoescape true %}{% endautoescape %}
{% trans %}{% endtrans %}
""".strip("\n").split("\n")

# Errors of Python that are not ours to repeat, or texts that nobody can rely on (addresses).
LEFT_OUT = {
    "[1, 2, 3]['a':]",
    "d.update", "d.items", "s.upper", "lipsum", "self is defined", "{% block a %}{% endblock %}",
    "{% autoescape true %}{% endautoescape %}", "9223372036854775807 + 0", "s|pprint", "l|reverse", "d|items",
    "s.encode()", "x.real is defined", "x.bit_length is defined", "'\\N{DIGIT ONE}'", "(1, 2).append(1)",
    "{% if ff %}{% filter nope %}a{% endfilter %}{% endif %}b", "{% for a.b in l %}{% endfor %}", "l|batch(2)", "people|attr('name')",
}


def cases():
    for source in WHITESPACE.strip("\n").split("\n---\n"):
        yield source, "plain"
    for source in EXPRESSIONS + FILTERS + TESTS + METHODS:
        if source not in LEFT_OUT:
            yield "{{ " + source + " }}", "plain"
    for source in STATEMENTS:
        if source not in LEFT_OUT:
            yield source, "plain"
