"""Documents that somebody hands over: JSON text → plain values → dataclasses whose fields are what they are annotated
to be. The one way in; each reader says for itself what else must hold.
"""

import dataclasses
import json
import types
import typing

MOST_JSON = 1 << 27  # bytes; the largest vocabularies take a quarter of it
MOST_NESTED = 64  # JSON in JSON in JSON
MOST_NUMBER = 1 << 60  # FLOPs of the largest models are far below, and sums of a few stay in 64 bits


def parsed(text: str | bytes, most: int = MOST_JSON):
    """The value of a JSON text. Raises ValueError for what is none, is longer than `most`, or nests without end."""
    if len(text) > most:
        raise ValueError("it is longer than any such file")
    try:
        found = json.loads(text)
    except RecursionError:
        raise ValueError("it is nested deeper than any such file") from None
    level = [found]
    for _ in range(MOST_NESTED):
        level = [x for x in level if isinstance(x, dict | list)]
        if not level:
            return found
        level = [x for outer in level for x in (outer.values() if isinstance(outer, dict) else outer)]
    raise ValueError("it is nested deeper than any such file")


def typed(kind, value, name: str = "it"):
    """`value`, a plain one, as `kind`: a dataclass (from a dict of its fields), int, float, str, bool, bytes, dict,
    None, a union of those, tuple[X, ...], tuple[X, Y], list[X] or dict[str, X].

    Nothing is converted but lists into tuples. Numbers are finite and at most MOST_NUMBER. Raises ValueError, naming
    the place.
    """
    if dataclasses.is_dataclass(kind):
        return _filled(kind, value, name)
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        for one in inner:
            try:
                return typed(one, value, name)
            except ValueError:
                continue
    elif origin is tuple and isinstance(value, list | tuple):
        if inner[1:] == (...,):
            return tuple(typed(inner[0], x, f"{name}[{i}]") for i, x in enumerate(value))
        if len(value) == len(inner):
            return tuple(typed(k, x, f"{name}[{i}]") for i, (k, x) in enumerate(zip(inner, value)))
    elif origin is list and isinstance(value, list):
        return [typed(inner[0], x, f"{name}[{i}]") for i, x in enumerate(value)]
    elif origin is dict and isinstance(value, dict):
        return {k: typed(inner[1], x, f"{name}.{k}") for k, x in value.items()}
    elif kind in (None, type(None)) and value is None:
        return None
    elif kind in (int, float) and type(value) in (int, kind):
        if -MOST_NUMBER <= value <= MOST_NUMBER:  # NaN is not
            return value
    elif isinstance(kind, type) and type(value) is kind:
        return value
    raise ValueError(f"{name} is not {_name(kind)}")


def _filled(kind, value, name: str):
    if isinstance(value, kind):
        return value
    if not isinstance(value, dict):
        raise ValueError(f"{name} is not an object")
    known = {x.name: x for x in dataclasses.fields(kind)}
    unknown = next((x for x in value if x not in known), None)
    missing = next((k for k, x in known.items() if k not in value and _needed(x)), None)
    if unknown is not None or missing is not None:
        raise ValueError(f"{name} has {f'no {missing}' if missing is not None else f'an unknown {unknown}'}")
    hints = typing.get_type_hints(kind)
    return kind(**{k: typed(hints[k], x, k) for k, x in value.items()})


def _needed(one: dataclasses.Field) -> bool:
    return one.default is dataclasses.MISSING and one.default_factory is dataclasses.MISSING


def _name(kind) -> str:
    words = {int: "a whole number", float: "a number", str: "a text", bool: "true or false", dict: "an object"}
    return words.get(kind) or ("a list" if typing.get_origin(kind) in (tuple, list) else "what it should be")
