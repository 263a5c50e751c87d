"""Split names in every spelling that people use, and words that only look like one."""

import pytest

from hftune.data.split_names import UNCLEAR, find_splits, is_split_elsewhere, mentions_split, split_of_name


@pytest.mark.parametrize(
    ("split", "names"),
    [
        (
            "train",
            "train TRAIN Training trainset TrainSet train_data 01_train 2-Training train2017 train-images",
        ),
        (
            "validation",
            "validation VALID val dev vali validate devset val_set Validation-Split val2017 3.dev",
        ),
        ("test", "test Testing TEST testset test_images test2 holdout hold_out held-out Eval evaluation"),
        (UNCLEAR, "train_val trainval TrainVal train-test dev_test"),
        (None, "tests trained valley contest testament tube train_small 2017 _ set data evaluate unlabelled"),
    ],
)
def test_a_name_is_understood(split: str | None, names: str) -> None:
    assert {name: split_of_name(name) for name in names.split()} == dict.fromkeys(names.split(), split)


def test_blanks_and_wide_letters_do_not_count() -> None:
    assert split_of_name(" Test Set ") == split_of_name("ｔｅｓｔ") == "test"


def test_a_word_among_others_is_a_mention() -> None:
    assert mentions_split("reviews_train_small")
    assert mentions_split("PublicTest")
    assert not mentions_split("contest")


def test_words_of_other_languages_are_known_but_not_read() -> None:
    names = "Entraînement VALIDACIÓN prueba 01_Prüfung teste_data обучение Тест 训练集 テスト用 검증 eğitim"
    assert all(map(is_split_elsewhere, names.split()))
    assert not any(map(split_of_name, names.split()))
    assert not any(map(is_split_elsewhere, ("train", "Test", "data", "prova_foto", "entrée", "评价", "dato")))


def test_evaluation_is_test_unless_there_is_another_test_and_no_validation() -> None:
    assert find_splits(["dev", "evaluation"]) == {"validation": ["dev"], "test": ["evaluation"]}
    assert find_splits(["train", "eval", "test", "cats"]) == {
        "train": ["train"],
        "validation": ["eval"],
        "test": ["test"],
    }
    assert find_splits(["val", "eval", "test"]) == {"validation": ["val"], "test": ["eval", "test"]}
