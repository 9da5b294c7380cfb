"""What is wrong with a file of settings, in words for the person who wrote it. Pure.

pydantic finds it; its own words are for programmers, and name neither the key that was meant nor those that there are.
Values are never shown: a secret may stand beside the fault.
"""

from collections.abc import Callable, Sequence
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

_PLAIN = {
    "missing": "is missing",
    "int_parsing": "is not a whole number",
    "int_type": "is not a whole number",
    "int_from_float": "is not a whole number",
    "float_parsing": "is not a number",
    "float_type": "is not a number",
    "string_type": "is not a text; put it in quotes",
    "bool_parsing": "is neither true nor false",
    "bool_type": "is neither true nor false",
    "path_type": "is not a text; put it in quotes",
    "model_type": "is not a table of keys and values",
    "dict_type": "is not a table of keys and values",
}
_SCALARS = ("str", "int", "float", "bool")
"""What a client's value may be, as pydantic names it."""
_SCALAR_FAULTS = {f"{kind}_{fault}" for kind in ("string", "int", "float", "bool") for fault in ("type", "parsing")}


def complaints(
    error: ValidationError,
    root: type[BaseModel],
    whole: str = "",
    origin: Callable[[tuple[int | str, ...]], str] = lambda _: "",
) -> list[str]:
    """Return one line for each fault: `[place] what`. `whole` is the place of a fault of the tree as a whole.

    `origin` says of a place, with the key that a fault names in its context, what is to be said of where it came from.
    """
    faults = error.errors(include_url=False, include_input=False)
    places = [fault["loc"] for fault in faults]
    found = []
    for fault in faults:
        at = fault["loc"]
        # pydantic says of each type that was possible that it is not that one
        if at and at[-1] in _SCALARS and fault["type"] in _SCALAR_FAULTS:
            if at[-1] == _SCALARS[0]:
                found.append(f"[{'.'.join(map(str, at[:-1]))}] is neither a text, nor a number, nor true or false")
            continue
        if fault["type"] == "too_short" and any(len(other) > len(at) and other[: len(at)] == at for other in places):
            continue  # what was there did not count because of its own fault, which is said
        key = fault.get("ctx", {}).get("key")
        said = origin(at if key is None else (*at, key))
        found.append(f"[{'.'.join(map(str, at)) or whole}] {_words(dict(fault), root)}{said}")
    return found


def _words(fault: dict[str, Any], root: type[BaseModel]) -> str:
    kind, at = fault["type"], fault["loc"]
    if kind == "extra_forbidden":
        known = _keys(root, at[:-1])
        close = get_close_matches(str(at[-1]), known, 1, 0.6)
        return f"is not known; did you mean `{close[0]}`?" if close else f"is not known; there are {', '.join(known)}"
    if kind == "string_pattern_mismatch":
        return f"does not match {fault['ctx']['pattern']}"
    if kind == "tuple_type" and len(at) == 1:
        return f"is not a list of tables: write [[{at[0]}]] above each of them"
    if kind == "tuple_type":
        return "is not a list"
    if kind in _PLAIN:
        return _PLAIN[kind]
    said = str(fault["msg"]).removeprefix("Value error, ")
    return said.replace("Input should be", "should be", 1)


def _keys(root: type[BaseModel], path: Sequence[int | str]) -> list[str]:
    section: type[BaseModel] | None = root
    for part in path:
        if isinstance(part, str) and section is not None:
            fields = section.model_fields.items()
            annotation = next((field.annotation for name, field in fields if part in (name, field.alias)), None)
            section = _model(annotation)
    return [] if section is None else [field.alias or name for name, field in section.model_fields.items()]


def _model(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for arg in get_args(annotation) if (found := _model(arg)) is not None), None)
