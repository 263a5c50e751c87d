"""A page in the browser on which a model is tried by hand; it stays on this machine.

For texts it shows which words decided (`hftune.inference.occlusion`), for images where the model looked
(`hftune.inference.gradcam`). What a person types, and the names of classes, are shown as text, never as HTML.
"""

import html
import os
import socket
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from PIL import Image

from hftune.data.image.decode import BadImage, decode
from hftune.errors import BadInput
from hftune.inference.gradcam import explain_class
from hftune.inference.load import LoadedModel
from hftune.inference.occlusion import Influence, find_words, influence
from hftune.inference.predict import predict_rows

HOST = "127.0.0.1"
SIDE = 256  # pixels that a heat map is shown with at least, about
MOST_WORDS = 1000  # of a text, to say which of them decided: the model is asked once for each
FONTS = ("system-ui", "sans-serif")  # of this machine: the theme's own come from a server of fonts


@contextmanager
def serving(
    loaded: LoadedModel, examples: Sequence[Any], *, port: int | None = None, open_browser: bool = True
) -> Iterator[str]:
    """Serves the page to this machine, and to no other, as long as the block lasts.

    Args:
        loaded: The model.
        examples: Texts, pairs of them, or images uint8 (H, W, 3), that can be chosen on the page.
        port: Where; None for the first free one from 7860 on.
        open_browser: Whether the browser is to show it at once.

    Yields:
        The page's address.

    Raises:
        BadInput: Gradio is missing, or the port is taken.
    """
    _check_port(port)
    with tempfile.TemporaryDirectory(prefix="hftune-demo-") as folder:  # of the images that are tried
        _keep_to_itself(folder)
        page = build_page(loaded, examples, Path(folder))
        import gradio as gr

        page.launch(
            server_name=HOST,
            server_port=port,
            share=False,
            inbrowser=open_browser,
            prevent_thread_lock=True,
            quiet=True,
            footer_links=[],
            run_history=False,
            allowed_paths=[],
            enable_monitoring=False,
            ssr_mode=False,
            pwa=False,
            mcp_server=False,
            theme=gr.themes.Default(font=FONTS, font_mono=FONTS),
        )
        try:
            yield page.local_url
        finally:
            page.close(verbose=False)


def _check_port(port: int | None) -> None:
    if port is None:
        return
    if not 0 < port < 65536:
        raise BadInput(f"--port {port}: must be between 1 and 65535")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise BadInput(f"--port {port}: {error.strerror}; pass another, or none") from None


def _keep_to_itself(folder: str) -> None:
    """Sets what Gradio reads when it is imported: nothing is reported, nothing is served to others."""
    for name in [name for name in os.environ if name.startswith("GRADIO_")]:
        del os.environ[name]
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["GRADIO_TEMP_DIR"] = folder
    # It asks its own server whether it answers; a proxy knows nothing of it.
    for name in ("NO_PROXY", "no_proxy"):
        os.environ[name] = ",".join(filter(None, (os.environ.get(name), HOST)))


def build_page(loaded: LoadedModel, examples: Sequence[Any], folder: Path) -> Any:
    """Returns the page, a `gradio.Blocks` that is not running yet.

    Args:
        loaded: The model.
        examples: Texts, pairs of them, or images uint8 (H, W, 3), that can be chosen on the page.
        folder: Where the examples' files are written.

    Raises:
        BadInput: Gradio is missing.
    """
    try:
        import gradio as gr
    except ImportError:
        raise BadInput("the page needs Gradio: pip install 'hftune[demo]'") from None
    with gr.Blocks(title="hftune demo", analytics_enabled=False) as page:
        gr.HTML(f"<h2>{html.escape(loaded.name)}</h2>")
        page_of = _entity_page if "entities" in loaded.task.no_answer else PAGES[loaded.inputs.modality]
        page_of(loaded, examples, folder)
    return page


def _text_page(loaded: LoadedModel, examples: Sequence[Any], _folder: Path) -> None:
    """Builds the page of one text, or of a pair in two boxes."""
    import gradio as gr

    titles = ("First text", "Second text")[: len(loaded.inputs.keys)]
    if len(titles) == 1:
        titles = ("Text",)
    legends = ["Words" if len(titles) == 1 else f"Words of the {title.lower()}" for title in titles]

    def classify(*texts: str) -> Iterator[tuple[Any, ...]]:
        """Shows the classes at once, and the words when each was left out."""
        for title, text in zip(titles, texts, strict=True):
            if not text.strip():
                said = "Type a text first." if len(titles) == 1 else f"Type the {title.lower()} first."
                raise gr.Error(said, print_exception=False)
        content = texts[0] if len(texts) == 1 else (texts[0], texts[1])
        logits = _logits(loaded, content)
        yield _scores(loaded, logits), *[None] * len(texts)
        if (count := sum(len(find_words(text)) for text in texts)) > MOST_WORDS:
            gr.Info(f"The text has {count:,} words; of at most {MOST_WORDS:,} it is shown which decided.")
        else:
            label, task = loaded.labels[int(logits.argmax())], loaded.task
            shown = [
                coloured(text, influence(loaded, content, part=i), task.faint) for i, text in enumerate(texts)
            ]
            yield (
                gr.skip(),
                *(
                    gr.HighlightedText(
                        pieces,  # type: ignore[arg-type]
                        label=f"{legend}: {task.by_words.format(label)}",
                    )
                    for pieces, legend in zip(shown, legends, strict=True)
                ),
            )

    with gr.Row():
        with gr.Column():
            lines = 8 // len(titles)
            boxes = [
                gr.Textbox(label=title, lines=lines, max_lines=24, autofocus=title == titles[0])
                for title in titles
            ]
            button = gr.Button("Classify", variant="primary")
        with gr.Column():
            scores = gr.Label(label=_title(loaded), num_top_classes=8)
            words = [gr.HighlightedText(label=legend, show_legend=True) for legend in legends]
    if examples:
        rows = [[example] if isinstance(example, str) else list(example) for example in examples]
        gr.Examples(rows, inputs=boxes, cache_examples=False)
    triggers = [button.click, *(box.submit for box in boxes)]
    gr.on(triggers, classify, boxes, [scores, *words], concurrency_limit=1)


def _entity_page(loaded: LoadedModel, examples: Sequence[Any], _folder: Path) -> None:
    """Builds the page of a text in which entities are marked."""
    import gradio as gr

    def mark(text: str) -> Any:
        if not text.strip():
            raise gr.Error("Type a text first.", print_exception=False)
        predictions = predict_rows(loaded, loaded.inputs.rows([text]))
        return marked(text, loaded.task.answer(predictions, 0)["entities"])

    with gr.Row():
        with gr.Column():
            box = gr.Textbox(label="Text", lines=8, max_lines=24, autofocus=True)
            button = gr.Button("Classify", variant="primary")
        with gr.Column():
            shown = gr.HighlightedText(label="Entities", show_legend=True, combine_adjacent=False)
    if examples:
        texts = [[example if isinstance(example, str) else example.text] for example in examples]
        gr.Examples(texts, inputs=[box], cache_examples=False)
    gr.on([button.click, box.submit], mark, [box], [shown], concurrency_limit=1)


def marked(text: str, entities: Sequence[dict[str, Any]]) -> list[tuple[str, str | None]]:
    """Cuts a text into its entities, each with its type, and what stands between them."""
    pieces: list[tuple[str, str | None]] = []
    end = 0
    for one in entities:
        pieces += [(text[end : one["start"]], None), (text[one["start"] : one["end"]], one["entity_group"])]
        end = one["end"]
    return [piece for piece in [*pieces, (text[end:], None)] if piece[0]]


def _image_page(loaded: LoadedModel, examples: Sequence[np.ndarray], folder: Path) -> None:
    import gradio as gr

    inputs: Any = loaded.inputs
    mapless = why_no_map(loaded)

    def classify(file: str | None) -> tuple[Any, ...]:
        if file is None:
            raise gr.Error("Choose an image first.", print_exception=False)
        try:
            image = decode(file, inputs.background)
        except BadImage as reason:
            raise gr.Error(f"This file {reason}.", print_exception=False) from None
        logits = _logits(loaded, image)
        scores = _scores(loaded, logits)
        if mapless:
            return (scores,)
        drawn = overlay(loaded, image, int(logits.argmax()))
        times = max(1, SIDE // len(drawn))  # pixels of a small image become squares
        return scores, drawn.repeat(times, 0).repeat(times, 1)

    with gr.Row():
        with gr.Column():
            image = gr.Image(label="Image", type="filepath", sources=["upload", "clipboard"], height=400)
            # Gradio's own turns 16 bits into white, and ends in a traceback where Pillow cannot read a file.
            setattr(image, "preprocess", _path_of)  # noqa: B010
            button = gr.Button("Classify", variant="primary")
        with gr.Column():
            shown: list[Any] = [gr.Label(label=_title(loaded), num_top_classes=8)]
            if mapless:
                gr.Markdown(mapless, sanitize_html=True)
            else:
                shown.append(
                    gr.Image(
                        label="Where the model looked (Grad-CAM), on the part of the image that it sees",
                        interactive=False,
                        height=320,
                        buttons=["fullscreen"],
                    )
                )
    if examples:
        files = []
        for number, example in enumerate(examples):
            files.append([str(folder / f"example-{number}.png")])
            Image.fromarray(example).save(files[-1][0])
        gr.Examples(files, inputs=[image], cache_examples=False)
    button.click(classify, [image], shown, concurrency_limit=1)


def _path_of(payload: Any) -> str | None:
    """Returns the path of a file that was uploaded, untouched."""
    return payload.path if payload else None


PAGES: dict[str, Callable[[LoadedModel, Sequence[Any], Path], None]] = {
    "text": _text_page,
    "image": _image_page,
}


def _logits(loaded: LoadedModel, content: Any) -> np.ndarray:
    """Returns the logits of one text or image, float32 (C,)."""
    return predict_rows(loaded, loaded.inputs.rows([content]))["logits"][0]


def _title(loaded: LoadedModel) -> str:
    """Returns what stands above an answer."""
    return "Classes" if "scores" in loaded.task.no_answer else loaded.labels[0]


def _scores(loaded: LoadedModel, logits: np.ndarray) -> dict[str, float] | str:
    """Returns the probability of each label by its name, or the answer in words where it has no labels.

    Of several labels, those that are given have a tick.
    """
    predictions = {"logits": logits[None]}
    found = loaded.task.answer(predictions, 0)
    if "scores" not in found:
        return loaded.task.say(predictions, 0)
    given = next(iter(found.values()))
    ticked = {*given} if isinstance(given, list) else set()
    return {f"✓ {name}" if name in ticked else name: score for name, score in found["scores"].items()}


def coloured(text: str, found: Influence, faint: float) -> list[tuple[str, float | None]]:
    """Cuts a text into its words, and what stands between them.

    Args:
        text: The text.
        found: What each word did.
        faint: See `Task`.

    Returns:
        Pieces that are the text when joined, and of each word by how much it speaks for the answer: 1 for
        the word that did most (or `faint`, if none did as much), below 0 where it speaks against it.
    """
    strongest = max(faint, float(np.abs(found.drops).max(initial=0))) or 1.0
    pieces: list[tuple[str, float | None]] = []
    end = 0
    for (first, last), drop in zip(found.words, found.drops, strict=True):
        if first > end:
            pieces.append((text[end:first], None))
        pieces.append((text[first:last], round(float(drop) / strongest, 3)))
        end = last
    if end < len(text):
        pieces.append((text[end:], None))
    return pieces


def why_no_map(loaded: LoadedModel) -> str:
    """Returns why there are no heat maps of an image model, or nothing if there are."""
    try:
        explain_class(loaded, np.zeros((64, 64, 3), np.uint8), 0)
    except BadInput as reason:
        return str(reason)
    return ""


def overlay(loaded: LoadedModel, image: np.ndarray, label: int) -> np.ndarray:
    """Lays the heat map of a class over what the model saw of an image, uint8 (H, W, 3) -> (S, S, 3)."""
    seen, heat = explain_class(loaded, image, label)
    colours = 255 * colormaps["turbo"](heat)[..., :3]
    opacity = 0.6 * np.sqrt(heat)[..., None]  # where it is cold, the image stays as it is
    return ((1 - opacity) * seen + opacity * colours).round().astype(np.uint8)
