"""Vectors in generated OpenCL C, written as the language has them.

TVM spells a broadcast ``(float8)(e, e, …)`` and a load of neighbours that it cannot prove aligned element by element,
through a vector of indices. OpenCL's vector loads need no alignment, so:

    (float8)(e, e, …)                                          =>  (float8)(e)
    int8 v = (int8)((b)+(1*0), (b)+(1*1), …);  … (float8)(p[v.s0],p[v.s1],…)   =>  int v = b;  … vload8(0, p + v)

Every second element comes out of two vectors, which end with the last one that is read:

    int8 v = (int8)((b)+(2*0), (b)+(2*1), …);  …  =>  (float8)(vload8(0, p + v).even, vload8(0, p + v + 7).odd)

Where functions of vectors are slow calls (PoCL), loads and stores become assignments through pointers to a vector type
without alignment, and the larger or smaller of two values a comparison, as the language defines them:

    vload8(0, p + v)            =>  (*(__global const act_float8 *)(p + v))
    vstore8(e, 0, p + v);       =>  *(__global act_float8 *)(p + v) = e;
    max(a, b), min(a, b)        =>  act_max(a, b), act_min(a, b), which are macros

Text that has none of these forms is returned as it is.
"""

from __future__ import annotations

import re

__all__ = ["tidy_vectors"]

_CONSTRUCTOR = re.compile(r"\(float([248])\)\(")
_INDEX = re.compile(r"(?P<type>int|long)(?P<lanes>[248]) (?P<name>\w+) = \((?P=type)(?P=lanes)\)\(")
_CALL = re.compile(r"\bv(?:load|store)(?P<lanes>[248])\(")
_SPACE = re.compile(r"(?P<space>__global|__local) (?P<type>\w+)(?:\*(?: restrict)?)? (?P<name>\w+)")
_TERM = re.compile(r"\((?P<base>.*)\)\+\((?:\(long\))?(?P<stride>[12])\*\d+\)")
_COMPARISONS = {"max": "((a) < (b) ? (b) : (a))", "min": "((b) < (a) ? (b) : (a))"}


def tidy_vectors(source: str, *, calls: bool) -> str:
    """The same program with broadcasts and loads of neighbours in their short form; without calls unless ``calls``."""
    source, strides = _scalar_indices(source)
    for name, (lanes, stride) in strides.items():
        elements = ",".join(rf"(?P=p)\[{name}\.s{lane:x}\]" for lane in range(1, lanes))
        gather = rf"\(float{lanes}\)\((?P<p>\w+)\[{name}\.s0\],{elements}\)"
        load = rf"vload{lanes}(0, \g<p> + {name})"
        if stride == 2:
            load = rf"(float{lanes})({load}.even, vload{lanes}(0, \g<p> + {name} + {lanes - 1}).odd)"
        source = re.sub(gather, load, source)
    source = _collapse_broadcasts(source)
    return source if calls else _without_calls(source)


def _without_calls(source: str) -> str:
    spaces = {match["name"]: (match["space"], match["type"]) for match in _SPACE.finditer(source)}
    types: set[str] = set()

    def written(text: str) -> str:
        parts, position = [], 0
        for match in _CALL.finditer(text):
            if match.start() < position:
                continue
            arguments, end = _arguments(text, match.end())
            *value, _, pointer = map(written, arguments)
            space, type_ = spaces.get(pointer.split(" ", 1)[0], ("__private", "float"))
            vector = f"{type_}{match['lanes']}"
            place = f"*({space} {'' if value else 'const '}act_{vector} *)({pointer})"
            parts += [text[position : match.start()], f"{place} = {value[0]}" if value else f"({place})"]
            types.add(vector)
            position = end
        return "".join([*parts, text[position:]])

    source = written(source)
    macros = []
    for name, definition in _COMPARISONS.items():
        source, count = re.subn(rf"\b{name}\(", f"act_{name}(", source)
        macros += [f"#define act_{name}(a, b) {definition}\n"] if count else []
    return "".join(
        [*macros, *(f"typedef {name} act_{name} __attribute__((aligned(4)));\n" for name in sorted(types)), source]
    )


def _scalar_indices(source: str) -> tuple[str, dict[str, tuple[int, int]]]:
    """Turn index vectors of equal steps into their first element; returns those names with their lanes and step."""
    found: dict[str, tuple[int, int]] = {}
    lines = source.split("\n")
    for number, line in enumerate(lines):
        match = _INDEX.search(line)
        if match is None:
            continue
        terms, _ = _arguments(line, match.end())
        parsed = [_TERM.fullmatch(term) for term in terms]
        starts = {(term["base"], int(term["stride"])) for term in parsed if term}
        name = match["name"]
        # Every use must be a whole gather, since the name becomes a scalar.
        if None not in parsed and len(starts) == 1 and name not in found and source.count(f" {name} =") == 1:
            base, stride = starts.pop()
            found[name] = int(match["lanes"]), stride
            lines[number] = f"{line[: match.start()]}{match['type']} {name} = {base};"
    return "\n".join(lines), found


def _collapse_broadcasts(source: str) -> str:
    parts, position = [], 0
    for match in _CONSTRUCTOR.finditer(source):
        if match.start() < position:
            continue
        elements, end = _arguments(source, match.end())
        if len(elements) > 1 and len(set(elements)) == 1:
            parts += [source[position : match.end()], elements[0], ")"]
            position = end
    return "".join([*parts, source[position:]])


def _arguments(source: str, start: int) -> tuple[list[str], int]:
    """Arguments of the call whose opening parenthesis ends at ``start``, and where its closing one ends."""
    elements: list[str] = []
    depth, begin = 0, start
    for position in range(start, len(source)):
        character = source[position]
        if character in "([":
            depth += 1
        elif character in ")]":
            if depth == 0:
                return [*elements, source[begin:position].strip()], position + 1
            depth -= 1
        elif character == "," and depth == 0:
            elements.append(source[begin:position].strip())
            begin = position + 1
    raise ValueError("unbalanced parentheses in generated source")
