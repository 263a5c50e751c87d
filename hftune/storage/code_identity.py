"""Which code and which values a recipe's part is: equal for an equal part, in whatever process or notebook.

A function is its syntax tree, so that comments, docstrings and formatting count for nothing, together with
what it reads: defaults, closures, and the globals that it names, followed through the user's own functions,
classes and modules. Where no source can be had, its bytecode stands for the tree. Code of libraries and of
hftune is its name: their versions are recorded. The name of hftune's code has no module, so that it may be
moved. What a function itself changes (a counter, a list that it fills) is no part of what it is.
"""

import argparse
import ast
import contextlib
import copy
import dataclasses
import dis
import enum
import functools
import hashlib
import importlib.util
import linecache
import logging
import os
import sys
import sysconfig
import types
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import torch

VERSION = 2  # of how code is written down: hashes of another version cannot be compared
CHANGING = {"add", "append", "appendleft", "clear", "discard", "extend", "insert", "pop", "popleft"} | {
    *("remove", "setdefault", "update", "write"),
}
CONSTRUCTORS = {"__init__", "__new__", "__post_init__"}
DEEPEST = 100  # values within values that are told apart
PLAIN = (type(None), bool, int, float, complex, str, bytes, type(...), range, slice)
NAMESPACES = (types.SimpleNamespace, argparse.Namespace)
PACKAGE = Path(__file__).resolve().parents[1]
RECIPES = (PACKAGE.parent / "recipes", PACKAGE / "recipes")  # of a clone, and installed


def identify(part: Any) -> str:
    """Returns `VERSION:` and a hash (hex) of what a function, object or value is, the same in any process."""
    return f"{VERSION}:{hashlib.sha256(_Description().of(part).encode()).hexdigest()[:32]}"


class _Description:
    """Writes down values, each as a hash, once: what stands within itself comes to an end."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[Any, str]] = {}  # the value too, so that no other gets its id
        self._homes: set[Path] = set()  # folders of the files that functions stand in
        self._depth = 0

    def of(self, value: Any) -> str:
        if isinstance(value, str | PurePath) and os.path.isabs(value):
            return f"{type(value).__name__}({self._from_home(value)!r})"
        if isinstance(value, PLAIN):
            return repr(value)
        if id(value) not in self._known:
            self._known[id(value)] = value, "itself"
            self._depth += 1
            text = _name(type(value))
            if self._depth <= DEEPEST:
                text = self._of_code(value) or self._of_values(value) or self._of_instance(value)
            self._depth -= 1
            self._known[id(value)] = value, hashlib.sha256(text.encode()).hexdigest()
        return self._known[id(value)][1]

    def _from_home(self, path: str | PurePath) -> str:
        """Returns a path near a recipe's file from there on, so that a project can be moved."""
        for home in sorted(self._homes):
            if home.parent != home.parent.parent and PurePath(path).is_relative_to(home.parent):
                return os.path.relpath(path, home)
        return str(path)

    def _of_code(self, value: Any) -> str:
        """Writes down what can be called or imported; "" for anything else."""
        if isinstance(value, functools.partial):
            return f"partial({self.of(value.func)}, {self.of(value.args)}, {self.of(value.keywords)})"
        if isinstance(value, types.MethodType):
            return f"method({self.of(value.__func__)}, {self.of(value.__self__)})"
        if isinstance(value, types.FunctionType):
            return self._function(value)
        if isinstance(value, staticmethod | classmethod):
            return self.of(value.__func__)
        if isinstance(value, property):
            return f"property({self.of(value.fget)}, {self.of(value.fset)})"
        if isinstance(value, type):
            return self._class(value)
        if isinstance(value, types.ModuleType):
            return _module(value.__name__, set())
        return ""

    def _of_values(self, value: Any) -> str:
        """Writes down tensors, arrays and containers; "" for anything else."""
        if isinstance(value, torch.Tensor):
            return f"tensor({value.dtype}, {tuple(value.shape)}, {_digest(value)})"
        if isinstance(value, torch.distributions.Distribution):
            return f"{_name(type(value))}({self.of(vars(value))})"
        if isinstance(value, np.ndarray):
            content = repr(value.tolist()).encode() if value.dtype.hasobject else value.tobytes()
            return f"array({value.dtype}, {value.shape}, {hashlib.sha256(content).hexdigest()})"
        if isinstance(value, dict):
            return f"dict({', '.join(f'{self.of(key)}: {self.of(item)}' for key, item in value.items())})"
        if isinstance(value, set | frozenset):
            return f"set({', '.join(sorted(map(self.of, value)))})"
        if isinstance(value, list | tuple):
            return f"{type(value).__name__}({', '.join(map(self.of, value))})"
        if isinstance(value, enum.Enum):
            return f"{type(value).__name__}.{value.name}={self.of(value.value)}"
        return ""

    def _of_instance(self, value: Any) -> str:
        """Writes down an object by its class and attributes; of a library's, the public plain ones."""
        kind, own = type(value), _is_own(type(value))
        if hasattr(value, "__wrapped__"):  # functools.cache and the like
            return f"{_name(kind)} of {self.of(value.__wrapped__)}"
        if not own and hasattr(value, "flush"):  # a file or a log: where it writes to decides no number
            return _name(kind)
        if not own and hasattr(kind, "to_numpy"):  # a table or column of pandas
            return f"{_name(kind)}({self.of(value.to_numpy())})"
        slots = [slot for base in kind.__mro__ for slot in vars(base).get("__slots__", ()) if own]
        fields = {slot: getattr(value, slot) for slot in slots if hasattr(value, slot)}
        fields |= getattr(value, "__dict__", {})
        if isinstance(value, torch.nn.Module):
            fields = {name: item for name, item in fields.items() if name[0] != "_" and name != "training"}
            fields |= {"(children)": dict(value.named_children()), "(state)": dict(value.state_dict())}
        elif not own and not isinstance(value, NAMESPACES) and (_is_of_python(kind) or not fields):
            text = (
                _name(kind)
                if hasattr(value, "__next__") or isinstance(value, logging.Logger)
                else repr(value)
            )
            return text if " at 0x" not in text else _name(kind)
        if own:
            changed = _changed_by_methods(kind)
            fields = {name: item for name, item in fields.items() if name not in changed}
        elif not isinstance(value, NAMESPACES) and not dataclasses.is_dataclass(value):
            shown = (*PLAIN, tuple, list, dict, torch.Tensor, np.ndarray, types.FunctionType)
            fields = {
                name: item for name, item in fields.items() if name[0] != "_" and isinstance(item, shown)
            }
        return f"{self.of(kind)}({', '.join(f'{name}={self.of(fields[name])}' for name in sorted(fields))})"

    def _class(self, kind: type) -> str:
        if not _is_own(kind):
            return _name(kind)
        # made by Python, dataclass and transformers' registration, which may come between two looks
        made = {"__dict__", "__weakref__", "__doc__", "__module__", "__qualname__", "__firstlineno__"} | {
            *("__static_attributes__", "__annotations__", "__annotate__", "__annotate_func__", "__slots__"),
            *("__dataclass_fields__", "__dataclass_params__", "__match_args__", "_abc_impl", "__hash__"),
            "_auto_class",
        }
        members = {name: item for name, item in vars(kind).items() if name not in made}
        written = [f"{name}={self.of(members[name])}" for name in sorted(members)]
        return f"class {kind.__name__}({', '.join(map(self.of, kind.__bases__))}): {', '.join(written)}"

    def _function(self, function: types.FunctionType) -> str:
        code = function.__code__
        if os.path.isfile(code.co_filename):
            self._homes.add(Path(code.co_filename).absolute().parent)
        if not _is_own_file(code.co_filename):
            if hasattr(function, "__wrapped__"):  # a library's decorator around it, such as torch.no_grad
                return f"{code.co_qualname} of {self.of(function.__wrapped__)}"
            return _name(function)
        tree = _tree_of(code)
        body = ast.dump(_without_words(tree)) if tree else _bytecode(code)
        given = f"{self.of(function.__defaults__)}, {self.of(function.__kwdefaults__)}"
        read = [f"{name}={self.of(value)}" for name, value in _values_read(function, tree).items()]
        read += sorted({_module(name, set()) for name in _imports_inside(code)})
        return f"{body}; {given}; {'; '.join(read)}"


def _values_read(function: types.FunctionType, tree: ast.AST | None) -> dict[str, Any]:
    """Returns the closures and globals that a function reads and does not change, by name."""
    code = function.__code__
    cells = {}
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        with contextlib.suppress(ValueError):  # not filled yet
            cells[name] = cell.cell_contents
    scope = {**function.__globals__, **cells}
    changed = _changed(tree) if tree else set()
    read = {}
    for name, attribute in sorted(_names_read(code)):
        if name not in scope or name in changed or attribute in CHANGING:
            continue
        if name in ("__file__", "__name__"):  # a project may be moved, a recipe be launched or imported
            continue
        value = scope[name]
        if isinstance(value, types.ModuleType) and not _is_own_file(
            getattr(value, "__file__", None) or "<frozen"
        ):
            continue  # a library: its name stands in the code
        if attribute and attribute in getattr(value, "__dict__", ()):  # losses.focal, options.gamma
            read[f"{name}.{attribute}"] = value.__dict__[attribute]
        else:
            read[name] = value
    return read


def _digest(tensor: torch.Tensor) -> str:
    """Hashes a tensor's numbers, of whatever kind and layout; "" of one that has none."""
    if tensor.is_meta:
        return ""
    plain = tensor.detach().dequantize() if tensor.is_quantized else tensor.detach().cpu()
    plain = plain if plain.layout == torch.strided else plain.to_dense()
    plain = plain.cpu().resolve_conj().resolve_neg().contiguous().reshape(-1)
    return hashlib.sha256(plain.view(torch.uint8).numpy().tobytes()).hexdigest()


def _name(code: type | types.FunctionType) -> str:
    return f"{_without_place(str(code.__module__))}.{code.__qualname__}"


def _without_place(module: str) -> str:
    """Returns a module's name, "hftune" for every module of hftune, whose code may be moved."""
    return "hftune" if module.partition(".")[0] == "hftune" else module


@functools.cache
def _libraries() -> tuple[Path, ...]:
    paths = sysconfig.get_paths()
    return tuple(Path(paths[name]).resolve() for name in ("stdlib", "platstdlib", "purelib", "platlib"))


def _is_own_file(name: str) -> bool:
    """Returns whether a file is the user's: of no library, nor hftune's, but for a recipe."""
    if name.startswith("<frozen"):
        return False
    path = Path(name).resolve()
    if path.parent in RECIPES:
        return True
    if path.is_relative_to(PACKAGE) or {"site-packages", "dist-packages"} & set(path.parts):
        return False
    return not any(path.is_relative_to(library) for library in _libraries())


def _is_own(kind: type) -> bool:
    if kind.__module__ == "__main__":
        return True
    module = sys.modules.get(kind.__module__)
    file = getattr(module, "__file__", None)
    if file is None:  # built in, or made in a notebook
        return not _is_of_python(kind) and not hasattr(module, "__spec__")
    return _is_own_file(file)


def _is_of_python(kind: type) -> bool:
    return kind.__module__.partition(".")[0] in sys.stdlib_module_names


def _names_read(code: types.CodeType) -> set[tuple[str, str]]:
    """Returns the globals and closures that code reads, each with the attribute that is read of it or ""."""
    found = set()
    instructions = list(dis.get_instructions(code))
    for here, following in zip(instructions, [*instructions[1:], None], strict=True):
        if here.opname in ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_DEREF", "LOAD_CLASSDEREF"):
            of_it = following is not None and following.opname in ("LOAD_ATTR", "LOAD_METHOD")
            found.add((str(here.argval), str(following.argval) if following and of_it else ""))
    for inner in _inner(code):
        found |= _names_read(inner)
    return found


def _imports_inside(code: types.CodeType) -> set[str]:
    """Returns the modules that code imports when it runs."""
    found = {str(step.argval) for step in dis.get_instructions(code) if step.opname == "IMPORT_NAME"}
    return found.union(*map(_imports_inside, _inner(code)))


def _inner(code: types.CodeType) -> list[types.CodeType]:
    return [constant for constant in code.co_consts if isinstance(constant, types.CodeType)]


def _bytecode(code: types.CodeType) -> str:
    """Writes down code without source; where its constants hold its docstring, that comes along."""
    constants = [_bytecode(c) if isinstance(c, types.CodeType) else repr(c) for c in code.co_consts]
    return f"{code.co_name}, {code.co_code.hex()}, {code.co_names}, {code.co_varnames}, {constants}"


def _tree_of(code: types.CodeType) -> ast.AST | None:
    """Finds the syntax tree of code in its file, or in what a notebook keeps of its cells; None without."""
    linecache.checkcache(code.co_filename)
    tree = _parsed("".join(linecache.getlines(code.co_filename)))
    wanted = ast.Lambda if code.co_name == "<lambda>" else ast.FunctionDef | ast.AsyncFunctionDef
    found: list[ast.AST] = []
    for node in ast.walk(tree) if tree else ():
        if isinstance(node, wanted) and getattr(node, "name", "<lambda>") == code.co_name:
            first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", ()))])
            if first == code.co_firstlineno:
                found.append(node)
    if len(found) > 1:  # lambdas of one line: told apart by where their bodies end
        ends = {position[1:] for position in code.co_positions()}
        bodies = [(node, node.body) for node in found if isinstance(node, ast.Lambda)]
        found = [node for node, at in bodies if (at.end_lineno, at.col_offset, at.end_col_offset) in ends]
    return found[0] if len(found) == 1 else None


@functools.lru_cache(maxsize=8)
def _parsed(text: str) -> ast.Module | None:
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError):
        return None


def _without_words(tree: ast.AST) -> ast.AST:
    """Returns code without its docstrings, and without the places that it imports hftune's code from."""
    tree = copy.deepcopy(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                node.body = node.body[1:]
        elif isinstance(node, ast.ImportFrom) and node.module:
            node.module = _without_place(node.module)
    return tree


def _changed(tree: ast.AST) -> set[str]:
    """Returns what code changes: "n" for `n += 1` of outside or `n.append(1)`, "self.n" for `self.n = 1`."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Global | ast.Nonlocal):
            found |= set(node.names)
        elif isinstance(node, ast.Attribute | ast.Subscript) and not isinstance(node.ctx, ast.Load):
            found |= _root(node)
        elif (
            isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in CHANGING
        ):
            found |= _root(node.func.value)
    return found


def _root(node: ast.expr) -> set[str]:
    """Returns the name at the root of `name.attribute[key]`, and "name.attribute"."""
    attribute = ""
    while isinstance(node, ast.Attribute | ast.Subscript):
        attribute = node.attr if isinstance(node, ast.Attribute) else attribute
        node = node.value
    return {f"{node.id}.{attribute}", node.id} if isinstance(node, ast.Name) else set()


def _changed_by_methods(kind: type) -> set[str]:
    """Returns the attributes that a class's methods change after it was made."""
    found: set[str] = set()
    for base in filter(_is_own, kind.__mro__):
        for name, member in vars(base).items():
            if name not in CONSTRUCTORS and isinstance(member, types.FunctionType):
                tree, code = _tree_of(member.__code__), member.__code__
                own = f"{code.co_varnames[0]}." if code.co_argcount else "self."
                changed = _changed(tree) if tree else set()
                found |= {each.removeprefix(own) for each in changed if each.startswith(own)}
    return found


def _module(name: str, seen: set[str]) -> str:
    """Writes down a module of the user's by its file and those that it imports; any other by its name."""
    try:
        spec = importlib.util.find_spec(name) if name and name not in seen else None
    except (ImportError, ValueError, AttributeError):
        spec = None
    file = spec.origin if spec else None
    if file is None or not file.endswith(".py") or not _is_own_file(file):
        return _without_place(name)
    seen.add(name)
    tree = _parsed("".join(linecache.getlines(file)))
    if tree is None:
        return name
    inside = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            inside += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = name.rsplit(".", node.level)[0] if node.level else ""
            inside.append(".".join(filter(None, (above, node.module))))
    followed = [_module(each, seen) for each in inside if each not in seen]
    return f"{name}: {ast.dump(_without_words(tree))}, {followed}"
