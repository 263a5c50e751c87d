"""What hftune answers is what transformers' pipeline answers, and what it was scored on."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import pipeline

from hftune.data.tables.table import Table
from hftune.data.tokens.inputs import TokenInputs
from hftune.data.tokens.tagged import TaggedText, of_rows
from hftune.inference.load import LoadedModel
from hftune.inference.predict import predict_rows
from tests.tiny import saved_tagger

TEXTS = [
    "the best film of the year, made well (and loved): by all who had seen it!",
    "  films filmed scenely about him's acting , it's good",
    "one",
    "He loved unknownwords Très much, \u200d really?",
]


def answers(loaded: LoadedModel, values: list) -> list[list[dict]]:
    predictions = predict_rows(loaded, loaded.inputs.rows(values), rows_per_batch=3)
    return [loaded.task.answer(predictions, row)["entities"] for row in range(len(values))]


def of_pipeline(folder: Path, values: list, **options) -> list[list[dict]]:
    own = {"trust_remote_code": True} if list(folder.glob("*.py")) else {}
    use = pipeline("token-classification", str(folder), aggregation_strategy="first", **own)
    found = [use(value, **options) for value in values]
    return [row[0] if options else row for row in found]  # given words come back in a list of one


def same(ours: list[list[dict]], theirs: list[list[dict]]) -> None:
    assert sum(map(len, ours)) >= 4
    for first, second in zip(ours, theirs, strict=True):
        for name in ("entity_group", "start", "end"):
            assert [one[name] for one in first] == [one[name] for one in second]
        assert [one["score"] for one in first] == pytest.approx([one["score"] for one in second], abs=1e-5)


@pytest.mark.filterwarnings("ignore:Tokenizer does not support real words")
@pytest.mark.parametrize("family", ["bert", "roberta", "modernbert", "distilbert", "bilstm_crf"])
def test_a_text_is_answered_as_the_pipeline_does(tmp_path, family):
    loaded = saved_tagger(family, tmp_path)
    assert isinstance(loaded.inputs, TokenInputs)
    ours = answers(loaded, TEXTS)
    same(ours, of_pipeline(tmp_path, TEXTS))
    assert all(
        text[e["start"] : e["end"]] == e["word"] for text, row in zip(TEXTS, ours, strict=True) for e in row
    )


@pytest.mark.filterwarnings("ignore:Tokenizer does not support real words")
@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_given_words_are_answered_as_the_pipeline_does(tmp_path, family):
    loaded = saved_tagger(family, tmp_path)
    words = [text.split() for text in ("the best films of the film filmed", "his scenes , boringly acting !")]
    ours = answers(loaded, [TaggedText.of_words(row) for row in words])
    same(ours, of_pipeline(tmp_path, words, is_split_into_words=True))


def test_a_long_text_is_answered_as_each_of_its_windows_is(tmp_path):
    loaded = saved_tagger("bert", tmp_path)
    inputs = TokenInputs(loaded.inputs.processor, max_length=12, stride=4)
    long = TaggedText.of_words((" ".join(TEXTS) * 3).replace(",", " ").split())
    rows = inputs.rows([long, TaggedText.of_words(["film"])])
    both = LoadedModel("x", loaded.model, inputs, loaded.task)
    logits = predict_rows(both, rows)["logits"][0]
    assert logits.shape == (len(long), 5)
    for window in rows[0]["windows"]:
        with torch.inference_mode():
            alone = loaded.model(torch.tensor(window.ids[None]).long()).logits[0].numpy()
        there = window.words >= 0
        np.testing.assert_allclose(logits[window.words[there]], alone[there], atol=1e-5)


@pytest.mark.parametrize("kind", ["bert", "bilstm_crf"])
def test_padding_and_neighbours_change_no_logit(kind, tmp_path):
    loaded = saved_tagger(kind, tmp_path)
    values = [TaggedText.of_words(text.split()) for text in TEXTS]
    together = predict_rows(loaded, loaded.inputs.rows(values))["logits"]
    for number, value in enumerate(values):
        (alone,) = predict_rows(loaded, loaded.inputs.rows([value]))["logits"]
        np.testing.assert_allclose(together[number], alone, atol=1e-5)


def test_a_text_that_vanishes_has_no_entity(tmp_path):
    loaded = saved_tagger("bert", tmp_path)
    assert answers(loaded, ["\u200d\u200d"]) == [[]]


def test_rows_of_words_are_read_from_tables(tmp_path):
    loaded = saved_tagger("bert", tmp_path / "model")
    path = tmp_path / "words.conll"
    path.write_text("the O\nfilm O\n\nit O\n")
    contents = loaded.inputs.read([str(path)], {})
    assert contents.names == ["the film", "it"]
    assert contents.places == [f"{path} line 1", f"{path} line 4"]
    assert [value.words for value in contents.values] == [["the", "film"], ["it"]]
    assert loaded.inputs.read(["the film"], {}).values == ["the film"]


def test_targets_are_matched_by_name(tmp_path):
    loaded = saved_tagger("bert", tmp_path)
    rows = of_rows([TaggedText.of_words(["a", "b"], ("B-LOC", "O"))])
    table = Table("x", {"text": [row.text for row in rows], "tags": list(rows)})
    assert loaded.task.match_targets(table, "tags")[0].tags == (3, 0)
