"""A recipe's part is the same for as long as its code and its values are, wherever it was written."""

import functools
import importlib.util
import itertools
import linecache
import sys
from types import SimpleNamespace

import pytest
import torch

from hftune.recipes import hotdog_features, imdb
from hftune.storage.code_identity import identify
from hftune.tasks.losses import build_loss
from tests.forked import run_python

LOSS = '''
import torch

GAMMA = {gamma}


def weigh(loss):
    return {weigh}


def loss(model, batch):
    """{words}"""
    # {words}
    return weigh(model(**batch).loss) * GAMMA
'''
numbers = itertools.count()


def module_of(folder, text, name="parts"):
    """Imports a text as a module of a new name, as another process would."""
    file = folder / f"{name}.py"
    file.write_text(text)
    linecache.clearcache()
    spec = importlib.util.spec_from_file_location(f"{name}_{next(numbers)}", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def digest(tmp_path):
    """Hashes what is called `part` (else `loss`) in a file with this text."""

    def digest_of(text):
        module = module_of(tmp_path, text)
        return identify(getattr(module, "part", None) or module.loss)

    return digest_of


def test_only_what_runs_counts(digest):
    given = {"gamma": 2, "weigh": "loss", "words": "one"}
    first = digest(LOSS.format(**given))
    assert digest(LOSS.format(**given | {"words": "two"})) == first
    assert digest(LOSS.format(**given).replace("loss) * GAMMA", "loss)   *   GAMMA")) == first
    assert digest("x = 1\n\n\n" + LOSS.format(**given)) == first
    others = [
        digest(LOSS.format(**given | {"gamma": 3})),
        digest(LOSS.format(**given | {"weigh": "loss * 2"})),
        digest(LOSS.format(**given).replace("* GAMMA", "+ GAMMA")),
    ]
    assert len({first, *others}) == 4


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("part = lambda m, b: b * 2", "part = lambda m, b: b * 3"),
        ("part, other = lambda b: b * 2, lambda b: b", "part, other = lambda b: b * 3, lambda b: b"),
        (
            "import functools\npart = functools.partial(max, 2)",
            "import functools\npart = functools.partial(max, 3)",
        ),
        ("def make(k):\n def f(b): return k\n return f\npart = make(2)",) * 2,
        ("def part(b, k=2): return k", "def part(b, k=3): return k"),
        ("def part(b, *, k=2): return k", "def part(b, *, k=3): return k"),
        ("class C:\n def __init__(self): self.k = 2\n def __call__(self, b): return self.k\npart = C()",) * 2,
        ("class C:\n def __call__(self, b): return 2\npart = C()",) * 2,
        ("class C:\n k = 2\n def part(self, b): return self.k\npart = C().part",) * 2,
        ("import torch\nw = torch.tensor([1.0, 2])\ndef part(b): return w",) * 2,
        ("import torch\nw = torch.nn.Linear(2, 2, bias=False)\nw.weight.data.fill_(2)\ndef part(): return w",)
        * 2,
        ("import torch\nf = torch.nn.CrossEntropyLoss(label_smoothing=0.2)\ndef part(b): return f(b)",) * 2,
        (
            "import torch\ndtype = torch.float32\ndef part(b): return dtype",
            "import torch\ndtype = torch.float16\ndef part(b): return dtype",
        ),
        ("import re\np = re.compile('2')\ndef part(b): return p.sub('', b)",) * 2,
        ("import types\nargs = types.SimpleNamespace(k=2, n=1)\ndef part(b): return args.k",) * 2,
        ("import torch\n@torch.no_grad()\ndef part(b): return 2",) * 2,
        ("import functools\n@functools.cache\ndef f(b): return 2\ndef part(b): return f(b)",) * 2,
        ("d = {'a': [2, {2}]}\ndef part(b): return d['a']",) * 2,
        ("def g(b): return 2\ndef part(b): return [g(x) for x in b]",) * 2,
        (
            "import enum\nclass E(enum.Enum):\n A = 1\n B = 2\ne = E.A\ndef part(b): return e",
            "import enum\nclass E(enum.Enum):\n A = 1\n B = 2\ne = E.B\ndef part(b): return e",
        ),
        ("import enum\nclass E(enum.Enum):\n A = 2\ndef part(b): return E.A.value",) * 2,
        ("import torch\nd = torch.distributions.Beta(0.2, 1.0)\ndef part(b): return d.sample()",) * 2,
        ("import pandas\nt = pandas.DataFrame({'a': [1.0, 2, 3]})\ndef part(b): return t",) * 2,
        ("import torch\nw = torch.tensor([1.0, 2]).to_sparse()\ndef part(b): return w",) * 2,
        ("import torch\nw = torch.tensor([1.0, 2]).to(torch.float8_e4m3fn)\ndef part(b): return w",) * 2,
        (
            "class C:\n def __init__(self): self.k = 2\n def __call__(self, b):\n  b.k = 1\n"
            "  return self.k\npart = C()",
        )
        * 2,
    ],
)
def test_another_value_is_another_part(one, other, digest):
    if one == other:
        other = (
            one.replace("2)", "7)")
            .replace("= 2", "= 7")
            .replace("return 2", "return 7")
            .replace("'2'", "'7'")
        )
        other = (
            other.replace("k=2", "k=7")
            .replace("0.2", "0.7")
            .replace("[1.0, 2", "[1.0, 7")
            .replace("{2}", "{7}")
        )
    assert one != other
    assert digest(one) == digest(one)
    assert digest(one) != digest(other)


def test_what_a_part_counts_or_fills_is_no_part_of_it():
    """In a notebook the second launch meets the list that the first one filled."""
    seen, losses, count = [], {}, 0

    class Loss:
        def __init__(self):
            self.calls = 0

        def __call__(self, model, batch):
            self.calls += 1

    def after_step(steps, model):
        nonlocal count
        count += 1
        seen.append(steps)
        losses[steps] = 1

    counting = Loss()
    before = identify(after_step), identify(counting)
    after_step(1, None)
    counting(None, None)
    assert (identify(after_step), identify(counting)) == before


def test_a_project_may_be_moved_and_its_paths_with_it(tmp_path):
    """What lies near a file is told by its place from there; another place or name is another part."""
    text = (
        "import os\nfrom pathlib import Path\nHERE = Path(__file__).parent\n"
        "DATA = HERE.parent / 'data'\n"
        "TEXT = os.path.join(os.path.dirname(os.path.abspath(__file__)), '{name}')\n"
        "def part(settings): return HERE, DATA, TEXT, __file__, __name__, '{far}'\n"
    )
    found = []
    for folder, name, far in (
        ("a", "x", "/data"),
        ("b", "x", "/data"),
        ("b", "y", "/data"),
        ("b", "x", "/o"),
    ):
        (tmp_path / folder / "project").mkdir(parents=True, exist_ok=True)
        module = module_of(tmp_path / folder / "project", text.format(name=name, far=far))
        found.append(identify(module.part))
    assert found[0] == found[1]
    assert len(set(found)) == 3


def test_where_a_log_is_written_is_no_part_of_what_writes_it(tmp_path):
    text = "w = open({!r}, 'w')\ndef part(steps, model): print(steps, file=w)\n"
    one, other = (module_of(tmp_path, text.format(str(tmp_path / name))).part for name in "ab")
    assert identify(one) == identify(other)

    class Writer:  # as tensorboard's, whose folder has the time in its name
        def __init__(self, log_dir):
            self.log_dir = log_dir

        def flush(self):
            pass

    Writer.__module__ = "torch"
    assert identify(Writer("12:00")) == identify(Writer("12:01"))


def test_modules_of_the_user_are_read(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    part = "import theirs\n\ndef part(batch):\n    import lazily\n    return theirs.scale(batch)\n"
    found = set()
    for scale, lazy in ((1, 1), (2, 1), (2, 2), (2, 2)):
        (tmp_path / "theirs.py").write_text(
            f"def scale(x):\n    return {scale} * x\n\ndef unused(): return {scale}"
        )
        (tmp_path / "lazily.py").write_text(f"x = {lazy}")
        sys.modules.pop("theirs", None)
        importlib.invalidate_caches()
        found.add(identify(module_of(tmp_path, part).part))
    assert len(found) == 3


def test_without_source_the_bytecode_stands_for_it():
    def made(text):
        scope = {"__name__": "__main__"}
        exec(compile(text, "<stdin>", "exec"), scope)
        return identify(scope["part"])

    text = "def part(model, batch):\n    return batch * 2"
    assert made(text) == made("\n\n" + text)
    assert made(text) != made(text.replace("2", "3"))
    kind = "class Part:\n    k = 2\n    def __call__(self): return 1\npart = Part()"
    assert made(kind) == made(kind)
    assert made(kind) != made(kind.replace("k = 2", "k = 3"))


def test_a_recipe_run_as_a_program_is_the_one_that_was_imported(tmp_path):
    program = (
        "import runpy, hftune.launcher\n"
        "hftune.launcher.launch = lambda recipe: None\n"
        "from hftune.storage.code_identity import identify\n"
        f"scope = runpy.run_path({imdb.__file__!r}, run_name='__main__')\n"
        "print(identify(scope['recipe'].load_data), identify(scope['recipe'].build_model))"
    )
    done = run_python(["-c", program])
    assert done.stdout.split() == [identify(imdb.recipe.load_data), identify(imdb.recipe.build_model)]


def test_a_model_of_ones_own_is_read_through_build_model(digest):
    text = (
        "import torch\nclass Net(torch.nn.Module):\n"
        "    def forward(self, x):\n        return super().forward(x) * 2\n"
        "def part(settings, data):\n    return Net()\n"
    )
    assert digest(text) == digest(text)
    assert digest(text) != digest(text.replace("* 2", "* 3"))


def test_code_of_hftune_may_be_moved_between_its_modules(digest, monkeypatch):
    text = "from hftune.tasks.losses import build_loss\ndef part(b): return build_loss(b)"
    inside = "def part(b):\n from hftune.tasks.losses import build_loss\n return build_loss(b)"
    before = identify(build_loss), digest(text), digest(inside)
    monkeypatch.setattr(build_loss, "__module__", "hftune.losses")
    monkeypatch.setitem(sys.modules, "hftune.losses", sys.modules["hftune.tasks.losses"])
    inside = inside.replace("hftune.tasks.losses", "hftune.losses")
    assert (identify(build_loss), digest(text), digest(inside)) == before
    assert digest(text.replace("build_loss", "class_weights")) != before[1]


def test_parts_of_hftune_are_their_names_and_any_object_has_an_identity():
    assert identify(build_loss) == identify(build_loss)
    assert identify(hotdog_features.recipe.loss) != identify(build_loss)
    odd = [open, len, print, torch.relu, functools.partial(print, 1), SimpleNamespace(a=object()), iter([1])]
    assert len({identify(each) for each in odd}) == len(odd)
    assert identify(SimpleNamespace(a=object())) == identify(SimpleNamespace(a=object()))
    ring = []
    ring.append(ring)
    assert identify(ring)
    for _ in range(3000):
        ring = [ring]
    assert identify(ring)
    assert identify(torch.zeros(2, device="meta")) != identify(torch.zeros(3, device="meta"))
