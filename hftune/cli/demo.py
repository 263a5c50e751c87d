"""Opens a page in the browser to try a trained model by hand.

    hftune demo runs/imdb
    hftune demo runs/hotdog --port 8000 --no_open
    hftune demo OWNER/NAME

RUN is a run directory, a folder or a Hub id. For a text the page shows the classes and which words decided:
each is left out in turn, and coloured by how much that changes the answer. For an image it shows the classes
and, of models that have one, a heat map of where the model looked. The examples are test rows of the run's
data, where they can still be read. The page is served to this machine alone (127.0.0.1), asks nothing of the
network, and ends with Ctrl-C. Needs: pip install 'hftune[demo]', and 'hftune[explain]' for heat maps

  --port N             where it is served (the first free port from 7860 on)
  --no_open            do not open the browser
  --revision NAME      branch, tag or commit of a Hub id
  --trust_remote_code  run the model's own code if it brings some
"""

import signal
import threading
from types import FrameType
from typing import Any, NoReturn

from hftune.cli.arguments import parse_args
from hftune.cli.models import MODEL_FLAGS, open_model
from hftune.errors import BadInput

FLAGS = {**MODEL_FLAGS, "port": int, "open": bool}
EXAMPLES = 4


def main(argv: list[str]) -> None:
    """Serves the page until the process gets a signal.

    Args:
        argv: The model, and the flags of `FLAGS`.

    Raises:
        BadInput: The model cannot be used, Gradio is missing, or the port is taken.
        SystemExit: With code 130 or 143, at SIGINT or SIGTERM.
    """
    positional, options = parse_args(argv, FLAGS)
    if len(positional) != 1:
        raise BadInput("hftune demo needs one model: hftune demo RUN")
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _leave)
    loaded = open_model(positional[0], options, own_rows=True)
    from hftune.inference.demo import serving

    examples = _examples(loaded)
    with serving(
        loaded, examples, port=options.get("port"), open_browser=options.get("open", True)
    ) as address:
        print(f"{loaded.name}: open {address} (Ctrl-C ends it)", flush=True)
        threading.Event().wait()


def _leave(number: int, _frame: FrameType | None) -> NoReturn:
    for later in (signal.SIGINT, signal.SIGTERM):  # one is enough: what follows is only tidying up
        signal.signal(later, signal.SIG_IGN)
    raise SystemExit(128 + number)


def _examples(loaded: Any) -> list[Any]:
    from hftune.inference.rows import examples_of_run

    try:
        return examples_of_run(loaded, EXAMPLES)
    except BadInput:  # the page works without
        return []
