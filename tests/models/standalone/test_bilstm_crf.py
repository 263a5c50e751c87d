"""The CRF beside all sequences of tags, one by one."""

import itertools

import pytest
import torch

from hftune.models.standalone.bilstm_crf import (
    LETTERS,
    BiLSTMCRFConfig,
    BiLSTMCRFForTokenClassification,
    letter_id,
)

PIECES = ["[PAD]", "[UNK]", "Anna", "##ing", "see", "北", "##s", "Zürich", "a", "##"]
TAGS = 3


def crf(**changes) -> BiLSTMCRFForTokenClassification:
    torch.manual_seed(0)
    sizes = {"embedding_dim": 6, "char_embedding_dim": 4, "char_filters": 5, "hidden_size": 6}
    config = BiLSTMCRFConfig(vocab_size=10, num_labels=TAGS, **{**sizes, "initializer_range": 1.0, **changes})
    model = BiLSTMCRFForTokenClassification(config).eval()
    model.spell(PIECES)
    with torch.no_grad():
        for parameter in (model.transitions, model.first, model.last):
            parameter.normal_(std=2)
    return model


@torch.no_grad()
def sequences(model, ids: torch.Tensor) -> dict[tuple[int, ...], float]:
    """Returns the score of every sequence of tags of one text's words."""
    scores, steps = model.scores(ids[None])
    words = scores[0][steps[0]]
    found = {}
    for tags in itertools.product(range(TAGS), repeat=len(words)):
        score = model.first[tags[0]] + model.last[tags[-1]]
        score = score + sum(words[place, tag] for place, tag in enumerate(tags))
        score = score + sum(model.transitions[a, b] for a, b in itertools.pairwise(tags))
        found[tags] = float(score)
    return found


IDS = torch.tensor([2, 3, 4, 6, 5, 8, 7])  # Anna ##ing see ##s 北 a Zürich: five words
WORDS = torch.tensor([0, 2, 4, 5, 6])


def test_marginals_are_those_of_all_sequences():
    model = crf()
    every = sequences(model, IDS)
    chances = torch.softmax(torch.tensor(list(every.values()), dtype=torch.float64), 0)
    with torch.inference_mode():
        logits = model(IDS[None]).logits[0]
    for place, at in enumerate(WORDS.tolist()):
        for tag in range(TAGS):
            held = torch.tensor([tags[place] == tag for tags in every])
            assert float(logits[at, tag].exp()) == pytest.approx(float(chances[held].sum()), abs=1e-5)
    torch.testing.assert_close(logits.exp().sum(1), torch.ones(7))
    torch.testing.assert_close(logits[1], logits[0])  # ##ing shares the answer of its word


@pytest.mark.parametrize("known", [(0, 1, 2, 3, 4), (1, 3), (4,)])
def test_the_loss_is_the_share_of_the_sequences_that_have_the_labels(known):
    model, truth = crf(), (1, 0, 2, 2, 1)
    labels = torch.full((1, 7), -100)
    labels[0, WORDS[list(known)]] = torch.tensor(truth)[list(known)]
    every = sequences(model, IDS)
    fit = [score for tags, score in every.items() if all(tags[place] == truth[place] for place in known)]
    parts = (list(every.values()), fit)
    log_sums = [torch.logsumexp(torch.tensor(part, dtype=torch.float64), 0) for part in parts]
    expected = float(log_sums[0] - log_sums[1]) / len(known)
    with torch.no_grad():
        assert float(model(IDS[None], labels=labels).loss) == pytest.approx(expected, abs=1e-5)


def test_a_batch_has_the_mean_over_all_its_labels():
    model = crf()
    ids = torch.stack([IDS, torch.tensor([2, 4, 0, 0, 0, 0, 0])])
    labels = torch.full((2, 7), -100)
    labels[0, WORDS], labels[1, :2] = torch.tensor([1, 0, 2, 2, 1]), torch.tensor([0, 1])
    with torch.no_grad():
        both = float(model(ids, labels=labels).loss)
        first, second = (float(model(ids[[n]], labels=labels[[n]]).loss) for n in (0, 1))
    assert both == pytest.approx((5 * first + 2 * second) / 7, abs=1e-5)


def test_viterbi_finds_the_best_of_all_sequences():
    model = crf()
    for seed in range(5):
        torch.manual_seed(seed)
        ids = torch.randint(2, 10, (7,))
        every = sequences(model, ids)
        tags = model.decode(ids[None])[0]
        assert tuple(tags[tags >= 0].tolist()) == max(every, key=every.get)
        assert (tags < 0).tolist() == model.goes_on[ids].tolist()


@pytest.mark.parametrize("left", [False, True])
@pytest.mark.parametrize("layers", [1, 2])
def test_padding_changes_no_marginal_no_loss_and_no_path(left, layers):
    model = crf(num_layers=layers)
    padding = torch.zeros(4, dtype=torch.long)
    padded = torch.cat([padding, IDS] if left else [IDS, padding])[None]
    part = slice(4, None) if left else slice(None, 7)
    labels = torch.full_like(padded, -100)
    labels[0, part] = torch.tensor([1, -100, 0, -100, 2, 2, 1])
    with torch.no_grad():
        short, long = model(IDS[None], labels=labels[:, part]), model(padded, labels=labels)
    torch.testing.assert_close(long.logits[:, part], short.logits, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(long.loss, short.loss)
    assert torch.equal(model.decode(padded)[:, part], model.decode(IDS[None]))


def test_a_label_on_a_piece_within_a_word_does_not_count():
    model = crf()
    labels = torch.tensor([[1, 2, 0, -100, 2, 2, 1]])
    with torch.no_grad():
        with_it = model(IDS[None], labels=labels).loss
        labels[0, 1] = -100
        assert float(with_it) == float(model(IDS[None], labels=labels).loss)


def test_letters_are_read_and_travel_with_the_weights(tmp_path):
    model = crf()
    assert model.goes_on.tolist() == [piece in ("##ing", "##s") for piece in PIECES]
    assert model.spelling[3, :5].tolist() == [1, *map(ord, "ing"), 0]
    assert model.spelling[5, 0] >= LETTERS // 2
    assert all(1 < letter_id(chr(number)) < LETTERS for number in range(0x3000))
    with torch.no_grad():
        model.embedding.weight.zero_()  # only letters tell pieces apart now
        logits = model(IDS[None]).logits
        other = model(torch.tensor([[2, 3, 4, 6, 5, 8, 2]])).logits
    assert not torch.allclose(logits, other)
    model.save_pretrained(tmp_path)
    again = BiLSTMCRFForTokenClassification.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        assert torch.equal(again(IDS[None]).logits, logits)


def test_gradients_of_marginals_and_loss_are_finite_where_scores_are_large():
    model = crf(dropout=0.0, embedding_dropout=0.0)
    with torch.no_grad():
        model.classifier.weight.mul_(1000)
    labels = torch.tensor([[1, -100, 0, -100, 2, 2, 1]])
    out = model(IDS[None], labels=labels)
    out.loss.backward()
    assert torch.isfinite(out.logits).all()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
