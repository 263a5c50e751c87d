"""The page that `--help` prints, read from the settings' own source."""

import ast
import inspect
import io
import re
import shutil
import textwrap
import tokenize
import typing
from typing import Any, NamedTuple

from hftune.settings.base import Settings, field_types
from hftune.settings.types import bare, describe

HARD_SPACE = "\u00a0"  # no line breaks here


class Comment(NamedTuple):
    """What the source says about a field: the section that it stands in and its help text."""

    section: str
    text: str


def help_text(defaults: Settings, prog: str, description: str) -> str:
    """Returns the page for `--help`: purpose, usage, every flag by section, the recipe's examples."""
    width = max(60, min(100, shutil.get_terminal_size().columns))
    purpose, _, examples = inspect.cleandoc(description).partition("\n")
    usage = f"usage: {prog} [--config FILE.yaml] [--flag value ...]"
    pages = [purpose, textwrap.fill(usage, width)] if purpose else [usage]
    sections: dict[str, list[str]] = {}
    comments = field_comments(type(defaults))
    for name, kind in field_types(type(defaults)).items():
        section, text = comments.get(name, Comment("recipe", ""))
        sections.setdefault(section, []).append(_entry(name, kind, text, getattr(defaults, name), width))
    sections["other"] = [
        _flag_lines("--config FILE.yaml", "settings as lines of NAME: VALUE; flags win over them", width),
        _flag_lines("--help, --version", "print this page or the version", width),
    ]
    pages += [f"{section}:\n" + "\n".join(entries) for section, entries in sections.items()]
    return "\n\n".join([*pages, examples.strip("\n")]).rstrip()


def _entry(name: str, kind: Any, text: str, default: Any, width: int) -> str:
    single = bare(kind)
    if single is bool:
        label = f"--[no_]{name}"
    else:
        label = f"--{name} " + {int: "N", float: "NUMBER", str: "TEXT"}.get(single, "CHOICE")
    choices = [describe(kind)] if typing.get_origin(kind) is typing.Literal else []
    shown = f"{default:g}" if isinstance(default, float) else str(default)
    if default is not None:
        choices.append(f"default:{HARD_SPACE}{shown.lower() if single is bool else shown}")
    return _flag_lines(label, f"{text} ({'; '.join(choices)})" if choices else text, width)


def _flag_lines(label: str, text: str, width: int) -> str:
    column = 32
    wrapped = textwrap.wrap(text, width - column, break_on_hyphens=False, break_long_words=False)
    lines = [line.replace(HARD_SPACE, " ") for line in wrapped]
    head = f"  {label} ".ljust(column)
    if len(head) > column:
        lines.insert(0, "")
    padded = [head if number == 0 else " " * column for number in range(len(lines) or 1)]
    return "\n".join((start + line).rstrip() for start, line in zip(padded, lines or [""], strict=True))


def field_comments(cls: type[Settings]) -> dict[str, Comment]:
    """Reads sections and help texts of all fields; a subclass that says nothing keeps its base's."""
    found: dict[str, Comment] = {}
    for base in reversed(cls.__mro__):
        if base is object or not issubclass(base, Settings):
            continue
        for name, (section, text) in _class_comments(base).items():
            before = found.get(name, Comment(section or "recipe", ""))
            found[name] = Comment(before.section, text or before.text)
    return found


def _class_comments(cls: type) -> dict[str, Comment]:
    """Reads the comments of one class's own fields: those on the line, and the lines right above."""
    try:
        source = textwrap.dedent(inspect.getsource(cls))
    except OSError:  # made in an interactive session: there is no source, so no help
        return {}
    tokens = [t for t in tokenize.generate_tokens(io.StringIO(source).readline) if t.type == tokenize.COMMENT]
    comments = {token.start[0]: token.string.lstrip("# ").rstrip() for token in tokens}
    alone = {token.start[0] for token in tokens if not token.line[: token.start[1]].strip()}
    headers = {line: text.strip("- ") for line, text in comments.items() if re.fullmatch("--- .+ ---", text)}
    (body,) = ast.parse(source).body
    found: dict[str, Comment] = {}
    for node in body.body if isinstance(body, ast.ClassDef) else []:
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
            continue
        first = node.lineno
        while first - 1 in alone - set(headers):
            first -= 1
        last = node.end_lineno or node.lineno
        lines = [comments[line] for line in range(first, last + 1) if line in comments]
        section = [text for line, text in headers.items() if line < node.lineno][-1:]
        found[node.target.id] = Comment("".join(section), " ".join(lines))
    return found
