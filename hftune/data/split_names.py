"""Which split a name means: of a folder, of a file or in a column, in any case and with any separator."""

import re
import unicodedata
from collections.abc import Iterable

SPLITS = ("train", "validation", "test")
UNCLEAR = "unclear"  # names that mean splits, but not one of the three, such as trainval

_EVALUATION = ("eval", "evaluation")  # the test split, but validation beside another test split
_WORDS = {
    "train": ("train", "training"),
    "validation": ("validation", "validate", "valid", "vali", "val", "dev", "devel", "development"),
    "test": ("test", "testing", "holdout", "heldout", *_EVALUATION),
}
_SPLIT_OF = {word: split for split, words in _WORDS.items() for word in words}
_FILLERS = (
    *("set", "sets", "data", "dataset", "split", "splits", "subset", "part", "partition", "folder", "files"),
    *("image", "images", "img", "imgs", "photo", "photos", "picture", "pictures", "texts", "samples"),
)
_GLUED = re.compile(
    "({0})({0}|{1})".format("|".join(sorted(_SPLIT_OF, key=len, reverse=True)), "|".join(_FILLERS))
)
_HOLD_OUT = re.compile(r"\b(hold|held) out\b")

# Words of other languages, in lower case and without accents. No name is read by them, as some mean other
# things too; but folders and files that are called so are not mixed with others in silence.
_OTHER_LANGUAGES = (
    "entrainement apprentissage essai essais entrenamiento entreno validacion prueba "
    "pruebas ensayo treino treinamento validacao teste testes addestramento allenamento "
    "convalida validazione prova collaudo validierung validierungsdaten trainingsdaten "
    "schulung testdaten prufung pruefung validatie trening treningowe walidacja "
    "walidacyjne testowe traning validering testning træning trenovaci validacni testovaci "
    "antrenare antrenament validare testare egitim dogrulama sinama pelatihan validasi "
    "pengujian entrenament validacio обучение обучающая тренировка тренировочная валидация "
    "валидационная тест тестовая навчання тренування валідація εκπαιδευση επικυρωση δοκιμη "
    "훈련 학습 검증 테스트 تدريب تحقق اختبار "
)
_FOREIGN = frozenset(_OTHER_LANGUAGES.split())
_STEMS = ("训练", "訓練", "学習", "学习", "验证", "驗證", "検証", "测试", "測試", "テスト")  # as in 训练集


def split_of_name(name: str) -> str | None:
    """Tells which split a name means.

    Numbers, separators, case and words such as "set" or "images" do not count: "01_Training Set" and
    "train2017" are train. "eval" and "evaluation" are test, as in `datasets`.

    Returns:
        "train", "validation" or "test"; `UNCLEAR` where it means several of them ("train_val"); None
        where it means none, or holds other words too ("test tube").
    """
    words = _words(name)
    splits = {_SPLIT_OF[word] for word in words if word in _SPLIT_OF}
    if not splits or any(word not in _SPLIT_OF and word not in _FILLERS for word in words):
        return None
    return splits.pop() if len(splits) == 1 else UNCLEAR


def mentions_split(name: str) -> bool:
    """Tells whether a word of a name means a split, whatever its other words say, as in "train_small"."""
    return any(word in _SPLIT_OF for word in _words(name))


def is_split_elsewhere(name: str) -> bool:
    """Tells whether a name means a split in another language, such as "entraînement" or "测试集"."""
    words = [word for word in map(_without_accents, _words(name)) if word not in _FILLERS]
    return bool(words) and all(word in _FOREIGN or word.startswith(_STEMS) for word in words)


def find_splits(names: Iterable[str]) -> dict[str, list[str]]:
    """Sorts names by the split that they mean.

    Args:
        names: Names that belong together, such as those of one folder or of one column.

    Returns:
        The names by split, and by `UNCLEAR`, in their order; only those that occur. Several names may
        mean one split, such as "val" and "valid". Names that mean no split are left out.
    """
    found: dict[str, list[str]] = {}
    for name in names:
        if split := split_of_name(name):
            found.setdefault(split, []).append(name)
    tests = found.get("test", [])
    evaluation = [name for name in tests if set(_words(name)) & set(_EVALUATION)]
    if "validation" not in found and 0 < len(evaluation) < len(tests):
        found["test"] = [name for name in tests if name not in evaluation]
        found["validation"] = evaluation
    return found


def without_common_words(names: Iterable[str]) -> list[str]:
    """Takes the words off that all names begin or end with; each keeps one word at least.

    What is left has blanks between its words: "seg_train" and "seg_test" become "train" and "test".
    """
    words = [re.findall(r"[^\W_]+", name) for name in names]
    for at in (0, -1):
        while len(words) > 1 and all(len(own) > 1 for own in words):
            if len({own[at].casefold() for own in words}) > 1:
                break
            for own in words:
                own.pop(at)
    return [" ".join(own) for own in words]


def _words(name: str) -> list[str]:
    """Returns the words of a name in lower case, without numbers; "TrainSet" and "trainset" are two words."""
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", unicodedata.normalize("NFKC", name))
    plain = " ".join(re.findall(r"[^\W\d_]+", apart.casefold()))
    words: list[str] = []
    for word in _HOLD_OUT.sub("holdout", plain).split():
        glued = None if word in _SPLIT_OF else _GLUED.fullmatch(word)
        words += glued.groups() if glued else [word]
    return words


def _without_accents(word: str) -> str:
    letters = unicodedata.normalize("NFKD", word)
    return unicodedata.normalize("NFC", "".join(c for c in letters if unicodedata.category(c) != "Mn"))
