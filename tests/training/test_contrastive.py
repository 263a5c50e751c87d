"""The contrastive loss: what it asks of the features, and that few rows learn by it as a recipe says."""

import numpy as np
import pytest
import torch

from hftune import launch, load_text
from hftune.recipes import few_shot
from hftune.training.contrastive import TEMPERATURE, supervised_contrastive
from tests.runs import file_flags


def test_it_is_the_loss_of_khosla_et_al_written_out():
    torch.manual_seed(0)
    features, labels = torch.randn(5, 3), torch.tensor([0, 1, 0, 2, 0])
    direction = features / features.norm(dim=1, keepdim=True)
    losses = []
    for row in range(5):
        others = [other for other in range(5) if other != row]
        shares = {other: torch.exp(direction[row] @ direction[other] / TEMPERATURE) for other in others}
        whole = sum(shares.values())
        if same := [other for other in others if labels[other] == labels[row]]:
            losses.append(-sum(torch.log(shares[other] / whole) for other in same) / len(same))
    assert len(losses) == 3  # rows 1 and 3 are alone
    assert supervised_contrastive(features, labels).item() == pytest.approx(float(sum(losses) / 3), rel=1e-5)


def test_rows_that_are_all_alone_cost_nothing():
    features = torch.randn(3, 4, requires_grad=True)
    loss = supervised_contrastive(features, torch.tensor([0, 1, 2]))
    loss.backward()
    assert loss.item() == 0
    assert not features.grad.any()


def test_a_step_brings_one_class_together_and_two_apart():
    torch.manual_seed(0)
    features, labels = torch.randn(6, 4, requires_grad=True), torch.tensor([0, 0, 0, 1, 1, 1])

    def cosines() -> tuple[float, float]:
        direction = torch.nn.functional.normalize(features.detach(), dim=1)
        all_pairs, same = direction @ direction.T, labels[:, None] == labels[None]
        return all_pairs[same].mean().item(), all_pairs[~same].mean().item()

    together, apart = cosines()
    supervised_contrastive(features, labels).backward()
    with torch.no_grad():
        features -= features.grad
    assert cosines()[0] > together
    assert cosines()[1] < apart


def test_the_seed_of_the_recipe_draws_the_rows(reviews, encoder, here):
    def launched(seed: int) -> tuple:
        flags = [*file_flags(reviews), "--model_name_or_path", encoder, "--max_length", 16, "--seed", seed]
        flags += ["--samples_per_label", 4, "--max_steps", 4, "--output_dir", here / f"run {seed}"]
        loaded = []

        def load(settings):
            loaded.append(load_text(settings))
            return loaded[-1]

        recipe = few_shot.recipe.replace(load_data=load)
        return launch(recipe, [str(flag) for flag in flags]), loaded[0]

    (one, first), (two, second) = launched(1), launched(2)
    for data in (first, second):
        assert np.bincount(data.train.targets).tolist() == [4, 4]
    assert first.fingerprint != second.fingerprint
    assert one["train_loss"] > one["eval_loss"] + 0.5  # the contrastive part: of 7 others 3 are alike
    assert two["train_steps"] == 4
