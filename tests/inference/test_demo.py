"""The page that a person tries a model on: in a real browser, with nothing but this machine."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import psutil
import pytest
from PIL import Image

from hftune.cli import demo as command
from hftune.data.image.decode import decode
from hftune.errors import BadInput
from hftune.inference import demo
from hftune.inference.demo import build_page, coloured, marked, overlay, serving, why_no_map
from hftune.inference.load import load_model
from hftune.inference.occlusion import Influence
from tests.runs import write_record
from tests.tiny import saved_images, saved_tagger, saved_texts

EVIL = "<img src=x onerror=\"document.title='broken in'\"> a good <b>film</b>"
LABELS = ("<i>bad</i>", "so & so", "good")
needs_gradio = pytest.mark.skipif(find_spec("gradio") is None, reason="gradio is not installed")


@pytest.fixture(scope="module")
def browser():
    driver = pytest.importorskip("playwright.sync_api")
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        pytest.skip("no Chromium on this machine")
    with driver.sync_playwright() as playwright:
        root = ["--no-sandbox"] if os.geteuid() == 0 else []  # Chromium's sandbox refuses to run as root
        chromium = playwright.chromium.launch(executable_path=path, args=root)
        yield chromium
        chromium.close()


def open_page(browser, address: str):
    """Opens the page; returns it with the hosts that it asks for anything, and what errors it has."""
    page, hosts = browser.new_page(), set()
    page.set_default_timeout(60_000)
    page.on("request", lambda request: hosts.add(request.url.split("/")[2] if "//" in request.url else ""))
    page.goto(address)
    page.get_by_role("button", name="Classify").wait_for()
    return page, hosts


def test_entities_are_marked_in_their_text():
    found = [{"start": 4, "end": 8, "entity_group": "PER"}, {"start": 8, "end": 10, "entity_group": "LOC"}]
    assert marked("Ask Annain Rome", found) == [
        ("Ask ", None),
        ("Anna", "PER"),
        ("in", "LOC"),
        (" Rome", None),
    ]
    assert marked("Ask", []) == [("Ask", None)]


@needs_gradio
def test_a_page_for_a_model_that_tags_words(tmp_path):
    loaded = saved_tagger("bert", tmp_path)
    page = build_page(loaded, ["the best film"], tmp_path)
    (event,) = {one.fn for one in page.fns.values() if getattr(one.fn, "__name__", "") == "mark"}
    pieces = event("the best film")
    assert "".join(piece for piece, _ in pieces) == "the best film"


@needs_gradio
def test_a_text_in_a_real_browser(browser, tmp_path):
    run = tmp_path / "<b>run"
    saved_texts("textcnn", run)
    config = json.loads((run / "config.json").read_text())
    config["id2label"] = {str(number): label for number, label in enumerate(LABELS)}
    config["label2id"] = {label: number for number, label in enumerate(LABELS)}
    (run / "config.json").write_text(json.dumps(config))
    write_record(run, dataset_name="sample", max_length=40)
    (tmp_path / "tmp").mkdir()
    program = "from hftune.cli.main import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", program, "demo", "<b>run", "--no_open"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        # What the user has set for other pages of Gradio opens nothing here.
        env={
            **os.environ,
            "TMPDIR": str(tmp_path / "tmp"),
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "GRADIO_SHARE": "True",
            "GRADIO_SERVER_NAME": "0.0.0.0",
            "GRADIO_ALLOWED_PATHS": "/",
            # Nobody answers there, and nobody is to be asked for a page of this machine.
            **dict.fromkeys(("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"), "http://127.0.0.1:9"),
            **dict.fromkeys(("no_proxy", "NO_PROXY"), ""),
        },
    )
    try:
        line = process.stdout.readline()
        assert line.startswith("<b>run: open http://127.0.0.1:"), process.stderr.read()
        address = line.split()[2]
        page, hosts = open_page(browser, address)
        page.get_by_role("button", name="Classify").click()
        page.get_by_text("Type a text first.").wait_for()

        page.locator("textarea").first.fill(EVIL)
        page.get_by_role("button", name="Classify").click()
        page.get_by_text("red ones speak for").wait_for()
        saved = load_model(str(run))
        best = saved.labels[int(demo._logits(saved, EVIL).argmax())]
        assert page.get_by_text(best, exact=True).count() == 2  # the headline, and its bar
        shown = page.inner_text("body")
        assert f"red ones speak for {best}," in shown
        assert all(label in shown for label in LABELS)
        assert "".join(EVIL.split()) in "".join(shown.split())
        assert page.locator("img[src='x'], textarea ~ b").count() == 0
        assert page.title() == "hftune demo"
        assert "sample" not in shown
        assert page.locator(".gallery button, .gallery-item").count() == 4  # examples: test rows of the run
        assert page.locator("h2").first.inner_text() == "<b>run"
        page.locator("textarea").first.fill("film " * (demo.MOST_WORDS + 1))
        page.get_by_role("button", name="Classify").click()
        page.get_by_text("The text has 1,001 words").wait_for()
        assert hosts <= {address.split("/")[2], ""}
        page.close()

        for path in (run / "config.json", "/etc/hosts"):
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(f"{address}gradio_api/file={path}", timeout=20)
            assert refused.value.code in (403, 404)
        listening = [
            at for at in psutil.Process(process.pid).net_connections("inet") if at.status == "LISTEN"
        ]
        assert {at.laddr.ip for at in listening} == {"127.0.0.1"}
        assert list((tmp_path / "tmp").glob("hftune-demo-*"))
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert "error" not in errors.lower()
    assert not list((tmp_path / "tmp").glob("hftune-demo-*"))


@needs_gradio
def test_a_image_in_a_real_browser(browser, tmp_path, monkeypatch):
    pytest.importorskip("captum")
    monkeypatch.setattr(os, "environ", dict(os.environ))
    saved = saved_images("resnet9", tmp_path / "run")
    saved = replace(saved, task=replace(saved.task, labels=LABELS))
    image = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    Image.fromarray(image).save(tmp_path / "photo.png")
    (tmp_path / "broken.png").write_bytes((tmp_path / "photo.png").read_bytes()[:900])
    with serving(saved, [image], open_browser=False) as address:
        page, hosts = open_page(browser, address)
        button = page.get_by_role("button", name="Classify")
        button.click()
        page.get_by_text("Choose an image first.").wait_for()
        page.locator("input[type=file]").first.set_input_files(tmp_path / "photo.png")
        page.locator("img[src*='photo.png']").wait_for()
        button.click()
        page.locator("img[src*='image.webp'], img[src*='image.png']").wait_for()  # the heat map
        best = saved.labels[int(demo._logits(saved, image).argmax())]
        assert page.get_by_text(best, exact=True).count() == 2
        assert page.get_by_label("Share").count() == 0
        page.get_by_label("Clear").or_(page.get_by_label("Remove Image")).first.click()
        page.locator("input[type=file]").first.set_input_files(tmp_path / "broken.png")
        page.locator("img[src*='broken.png']").wait_for(state="attached")
        button.click()
        page.get_by_text("This file ").wait_for()
        assert hosts <= {address.split("/")[2], ""}
        page.close()
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", int(address.strip("/").rsplit(":")[-1]))) != 0


@needs_gradio
def test_any_file_that_is_uploaded_is_answered_as_predict_does_or_has_its_line(tmp_path, monkeypatch):
    """Gradio's own way through Pillow makes 16 bits white, and a traceback of what Pillow cannot read."""
    import gradio

    monkeypatch.setattr(os, "environ", dict(os.environ))
    saved = saved_images("resnet9", tmp_path / "run")
    saved = replace(saved, inputs=replace(saved.inputs, background="white"))
    clear = np.random.default_rng(0).integers(0, 256, (16, 16, 4), np.uint8)
    Image.fromarray(np.arange(0, 65_536, 256, np.uint16).reshape(16, 16)).save(tmp_path / "deep.png")
    Image.fromarray(clear).save(tmp_path / "clear.png")
    (tmp_path / "photo.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(40))
    page = build_page(saved, [], tmp_path)
    upload = next(block for block in page.blocks.values() if isinstance(block, gradio.Image))
    (classify,) = [function.fn for function in page.fns.values() if function.api_name == "classify"]

    def ask(name: str):
        file = gradio.data_classes.ImageData(path=str(tmp_path / name), orig_name=name)
        return classify(upload.preprocess(file))[0]

    for name in ("deep.png", "clear.png"):
        logits = demo._logits(saved, decode(str(tmp_path / name), "white"))
        assert ask(name) == pytest.approx(demo._scores(saved, logits))
    with pytest.raises(gradio.Error, match="This file is a HEIC file"):
        ask("photo.heic")


def test_pieces_are_the_text_and_the_strongest_word_is_one():
    text = " a  good\nfilm !"
    words = [(1, 2), (4, 8), (9, 13), (14, 15)]
    found = Influence(np.zeros(2, np.float32), words, np.array([0.0, 2.0, -1.0, 0.5]))
    pieces = coloured(text, found, 0.2)
    assert "".join(piece for piece, _ in pieces) == text
    assert [(piece, share) for piece, share in pieces if share is not None] == [
        ("a", 0.0),
        ("good", 1.0),
        ("film", -0.5),
        ("!", 0.25),
    ]
    faint = replace(found, drops=found.drops / 100)
    assert max(share or 0 for _, share in coloured(text, faint, 0.2)) == pytest.approx(0.1)
    assert coloured("", Influence(np.zeros(2, np.float32), [], np.zeros(0)), 0.2) == []


def test_an_overlay_leaves_the_image_as_it_is_where_it_is_cold(tmp_path, monkeypatch):
    saved = saved_images("resnet9", tmp_path)
    image = np.random.default_rng(1).integers(0, 256, (32, 32, 3), np.uint8)
    heat = np.zeros((32, 32), np.float32)
    heat[:4] = 1
    monkeypatch.setattr(demo, "explain_class", lambda loaded, image, label: (image.astype(float), heat))
    drawn = overlay(saved, image, 0)
    np.testing.assert_allclose(drawn[4:].astype(int), image[4:], atol=1)
    hottest = np.array([122, 4, 3])  # the end of "turbo"
    np.testing.assert_allclose(drawn[:4], 0.4 * image[:4] + 0.6 * hottest, atol=1)


def test_a_model_without_a_map_says_why(tmp_path):
    pytest.importorskip("captum")
    assert why_no_map(saved_images("resnet9", tmp_path / "resnet9")) == ""
    assert "ViTForImageClassification" in why_no_map(saved_images("vit", tmp_path / "vit"))


def test_what_cannot_be_served_is_one_line(tmp_path, monkeypatch):
    saved = saved_texts("textcnn", tmp_path / "run")
    monkeypatch.setattr(os, "environ", dict(os.environ))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        for port in (taken.getsockname()[1], 0, 70_000):
            with pytest.raises(BadInput, match=rf"^--port {port}: "), serving(saved, [], port=port):
                pass
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(BadInput, match=r"hftune\[demo\]"):
        build_page(saved, [], tmp_path)
    for words in ([], ["a", "b"]):
        with pytest.raises(BadInput, match="hftune demo needs one model"):
            command.main(words)


@needs_gradio
def test_a_pair_has_two_boxes_and_its_words_are_told_apart(tmp_path, monkeypatch):
    import gradio

    monkeypatch.setattr(os, "environ", dict(os.environ))
    saved = saved_texts("bert", tmp_path / "run")
    saved = replace(saved, inputs=saved.inputs.of_pairs())
    page = build_page(saved, [("a good film", "a bad plot")], tmp_path)
    boxes = [block.label for block in page.blocks.values() if isinstance(block, gradio.Textbox)]
    assert boxes == ["First text", "Second text"]
    (classify,) = [function.fn for function in page.fns.values() if function.api_name == "classify"]
    pair = ("a good film", "bad plot")
    scores, words = classify(*pair)
    assert scores[0] == pytest.approx(demo._scores(saved, demo._logits(saved, pair)))
    pieces = [
        [piece["token"] for piece in shown.value if piece["class_or_confidence"]] for shown in words[1:]
    ]
    assert pieces == [["a", "good", "film"], ["bad", "plot"]]
    with pytest.raises(gradio.Error, match="Type the second text first"):
        next(classify("a film", " "))
