"""Seeded texts that try a tokenizer: all scripts, joiners, controls, long runs, bytes that are no UTF-8.

The generator exists a second time in tests/unit/text/stress.h; both read tokenizer_stress/parts.json,
which `python stress_text.py` writes.
"""
import json
from pathlib import Path

PARTS = Path(__file__).parent / "tokenizer_stress/parts.json"
MASK = (1 << 64) - 1

FRAGMENTS = [
    "the", " the", "The", " and", "ing", " of", "'s", "'S", "'ll", "'re", "'VE", "'d", "'m", "'t", "'", "\u2019s", "'\u017f", "don't", " I'm", "0", "1", " 2", "42", "2024",
    "1234567", " 3.14", "1,000,000", "\u0663\u0664", "\u00bd", "\u2167", "\u00b2", ".", "...", ", ", "!", "?!", "()", "[{", "}]", "<", ">", "</", "<|", "|>", "==", "->", "//",
    "/* */", "#", "$", "_", "__init__", "a_b", "camelCase", "HTTPServer", "iOS", "XMLHttp2", "\u01c5", "x=1;\n", "if (x) {\n", "    return 0;\n", "\tfor i in range(10):\n",
    "http://a.b/c?d=e", "\\n", "\"", "`", "~", "^", "Caf\u00e9", "Cafe\u0301", "na\u00efve", "\u0301", "\u0323\u0301", "\u212b", "\u212a", "\u1e9b\u0323", "\u0958",
    "\u1100\u1161\u11a8", "\uac00\u11a8", "\ud55c\uad6d\uc5b4", "\u4e2d\u6587", "\u65e5\u672c\u8a9e\u306e", "\u30ab\u3099", "\uff76\uff9e", "\uff21\uff11", "\ufb01", "\u33a1",
    "\u2460", "\u24b6\u24d0", "\U0001f130", "\ufdfa", "\u041f\u0440\u0438\u0432\u0435\u0442", " \u043c\u0438\u0440", "\u0391\u03b8\u03ae\u03bd\u03b1", "\u03a3\u0391\u03a3",
    "\u05e9\u05dc\u05d5\u05dd", "\u0645\u0631\u062d\u0628\u0627", "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35", "\u0928\u092e\u0938\u094d\u0924\u0947", "\u0130", "\u0131", "\u00df",
    "\u1e9e", "\u2581", "\u2581\u2581", "a\u2581b", "\u2581the", "<0x41>", "<0xE4>", "<unk>", "<s>", "</s>", "<|end|>", "<mask>", "<pad>", "wordy", "<a>", "<a><b>", "b><c", "abc",
    "ab", "<|user|>", "\u00a0", "\u2003", "\u3000", "\u2028", "\u0085", "\u200b", "\u180e", "\ufeff", "\u00ad", "\u200e", "\ufffd", "\U0010ffff", "\ue000", "\x00", "\x7f",
]
SPACES = [" ", " ", "  ", "\n", "\t", "\r\n", " \n", "\n\n", "\u3000", "\u00a0", "\u2581", "\r", "    "]
EMOJI = ["\U0001f600", "\U0001f468", "\U0001f469", "\U0001f467", "\u2764", "\U0001f44d", "\U0001f3f3", "\U0001f308", "\u26a0", "\U0001f1e9", "\U0001f1ea", "1", "#"]
JOINERS = ["\u200d", "\ufe0f", "\U0001f3fd", "\u20e3", "\u200d", "\ufe0e", "\U0001f3fb", ""]
RANGES = [  # without marks and punctuation younger than some of HF's Unicode data
    [0x20, 0x7E], [0x61, 0x7A], [0x41, 0x5A], [0x30, 0x39], [0x00, 0x1F], [0x7F, 0x9F], [0xA0, 0xFF], [0x100, 0x17F], [0x180, 0x24F], [0x250, 0x2AF], [0x2B0, 0x2FF],
    [0x300, 0x36F], [0x370, 0x3FF], [0x400, 0x4FF], [0x500, 0x52F], [0x531, 0x58F], [0x591, 0x5F4], [0x600, 0x61C], [0x61E, 0x6FF], [0x700, 0x74F], [0x750, 0x77F], [0x780, 0x7B1],
    [0x7C0, 0x7FA], [0x800, 0x83E], [0x840, 0x85E], [0x8A0, 0x8C7], [0x8D4, 0x8FF], [0x900, 0x97F], [0x980, 0x9FB], [0xA01, 0xA75], [0xA81, 0xAF9], [0xB01, 0xB4D], [0xB56, 0xB77],
    [0xB82, 0xBFA], [0xC05, 0xC39], [0xC3D, 0xC5A], [0xC60, 0xC76], [0xC78, 0xC7F], [0xC85, 0xCDC], [0xCE0, 0xCF2], [0xD01, 0xD3A], [0xD3D, 0xD7F], [0xD82, 0xDF4], [0xE01, 0xE5B], [0xE81, 0xEB9], [0xEBB, 0xECD], [0xF00, 0xFDA],
    [0x1000, 0x109F], [0x10A0, 0x10FF], [0x1100, 0x11FF], [0x1200, 0x137C], [0x1380, 0x1399], [0x13A0, 0x13FD], [0x1400, 0x166C], [0x166E, 0x167F], [0x1680, 0x169C], [0x16A0, 0x16F8],
    [0x1700, 0x1714], [0x1720, 0x1773], [0x1780, 0x17F9], [0x1800, 0x180E], [0x1810, 0x18AA], [0x1900, 0x194F], [0x1950, 0x19DF], [0x1A00, 0x1A1F], [0x1A20, 0x1AAD], [0x1B00, 0x1B4C],
    [0x1B50, 0x1B7C], [0x1B80, 0x1BFF], [0x1C00, 0x1C7F], [0x1CD0, 0x1CF1], [0x1D00, 0x1DBF], [0x1DC0, 0x1DF5], [0x1DFB, 0x1DFF], [0x1E00, 0x1EFF], [0x1F00, 0x1FFE], [0x2000, 0x206F],
    [0x2070, 0x209C], [0x20A0, 0x20BF], [0x20D0, 0x20F0], [0x2100, 0x218B], [0x2190, 0x23FF], [0x2400, 0x2426], [0x2460, 0x24FF], [0x2500, 0x27BF], [0x2800, 0x28FF],
    [0x2C00, 0x2C5F], [0x2C60, 0x2CFF], [0x2D00, 0x2DDE], [0x2DE0, 0x2E42], [0x2E80, 0x2FD5], [0x3000, 0x303F], [0x3041, 0x30FF], [0x3105, 0x31BF], [0x3200, 0x32FE], [0x3300, 0x33FF],
    [0x3400, 0x4DBF], [0x4E00, 0x9FEF], [0xA000, 0xA4C6], [0xA4D0, 0xA6F7], [0xA722, 0xA7BF], [0xA800, 0xA82B], [0xA830, 0xA877], [0xA880, 0xA8FD], [0xA900, 0xA9DF], [0xA9E0, 0xAAFF],
    [0xAB01, 0xAB65], [0xAB70, 0xABF9], [0xAC00, 0xD7A3], [0xD7B0, 0xD7FB], [0xE000, 0xE0FF], [0xF900, 0xFAD9], [0xFB00, 0xFBC1], [0xFBD3, 0xFDFB], [0xFE00, 0xFE6B], [0xFF01, 0xFFEE],
    [0xFFF0, 0xFFFF], [0x10000, 0x100FA], [0x10280, 0x1031F], [0x10330, 0x103D5], [0x10400, 0x104FB], [0x10800, 0x1085F], [0x10900, 0x1093F], [0x10A00, 0x10A58],
    [0x10C80, 0x10CFF], [0x11000, 0x1106F], [0x11100, 0x11143], [0x11180, 0x111C8], [0x11300, 0x1133A], [0x1133C, 0x11374], [0x12000, 0x12399], [0x12400, 0x12474], [0x13000, 0x1342E],
    [0x16A40, 0x16AF5], [0x16F00, 0x16F44], [0x16F50, 0x16F7E], [0x17000, 0x187F7], [0x1B000, 0x1B11E], [0x1BC00, 0x1BC9F], [0x1D000, 0x1D0F5], [0x1D100, 0x1D1E8], [0x1D400, 0x1D7FF],
    [0x1E900, 0x1E95D], [0x1EE00, 0x1EEF1], [0x1F000, 0x1F0F5], [0x1F100, 0x1F16B], [0x1F170, 0x1F1AC], [0x1F200, 0x1F265], [0x1F300, 0x1F64F], [0x1F680, 0x1F6C5], [0x1F900, 0x1F93A],
    [0x20000, 0x2A6D6], [0x2F800, 0x2FA1D], [0x30000, 0x3134A], [0xE0001, 0xE007F], [0xE0100, 0xE01EF], [0xF0000, 0xF00FF],
]


class Random:
    """splitmix64"""

    def __init__(self, seed):
        self.state = seed & MASK

    def next(self):
        self.state = (self.state + 0x9E3779B97F4A7C15) & MASK
        z = self.state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        return z ^ (z >> 31)

    def below(self, n):
        return self.next() % n

    def pick(self, items):
        return items[self.below(len(items))]


def word(random):
    low, high = random.pick(RANGES)
    return "".join(chr(low + random.below(high - low + 1)) for _ in range(1 + random.below(8)))


def emoji(random):
    return "".join(random.pick(EMOJI) + random.pick(JOINERS) for _ in range(1 + random.below(4)))


def wild_bytes(random):
    """Bytes as they come, four of ten continuation and lead bytes, decoded as a server would; what they happen to
    spell beyond the scripts below U+0600 and CJK may be too young."""
    found = bytearray()
    for _ in range(1 + random.below(10)):
        found.append(random.below(256) if random.below(10) < 6 else 0x80 + random.below(0x78))
    text = found.decode("utf-8", errors="replace")
    return "".join(char if char < "\u0600" or "\u4e00" <= char <= "\u9fef" else "\ufffd" for char in text)


def part(random):
    kind = random.below(16)
    if kind < 6:
        return random.pick(FRAGMENTS)
    if kind < 10:
        return (" " if kind < 8 else "") + word(random)
    if kind < 12:
        return random.pick(SPACES)
    if kind == 12:
        return random.pick(SPACES) * (1 + random.below(40))
    if kind == 13:
        return random.pick(FRAGMENTS) * (1 + random.below(20))
    return emoji(random) if kind == 14 else wild_bytes(random)


def text(seed):
    random = Random(seed)
    return "".join(part(random) for _ in range(1 + random.below(20)))


def main():
    PARTS.parent.mkdir(exist_ok=True)
    data = {"fragments": FRAGMENTS, "spaces": SPACES, "emoji": EMOJI, "joiners": JOINERS, "ranges": RANGES}
    PARTS.write_text(json.dumps(data, ensure_ascii=True, separators=(",", ":")).replace('],"', '],\n"') + "\n")


if __name__ == "__main__":
    main()
