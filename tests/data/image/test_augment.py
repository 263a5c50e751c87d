import hashlib
import pickle
import sys
import textwrap
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps
from torch.utils.data import DataLoader

from hftune.data.dataset import EpochIndex
from hftune.data.image.augment import Augmenter, policy
from hftune.data.image.presets import GREY, PRESETS, central_square
from hftune.data.image.rows import ImageRows
from hftune.errors import BadInput
from tests.forked import run_python

A = pytest.importorskip("albumentations")
ROWS = 12


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


PICTURES = [noise(40, 56, row) for row in range(ROWS)]


class Visits:
    """Asks for all rows in order, as the training loop does in one epoch."""

    def __init__(self, epoch: int):
        self.epoch = epoch

    def __iter__(self):
        return (EpochIndex.of(row, self.epoch) for row in range(ROWS))

    def __len__(self):
        return ROWS


def rows_of(preset: str = "strong", seed: int = 0) -> ImageRows:
    augmenter = Augmenter(policy(preset, 16, small=False), seed)
    return ImageRows(PICTURES, np.zeros(ROWS, np.int64), augmenter.view)


def views(sampler, workers: int = 0, rows: ImageRows | None = None) -> np.ndarray:
    loader = DataLoader(rows or rows_of(), 4, sampler=sampler, num_workers=workers, collate_fn=list)
    return np.stack([row["pixel_values"] for batch in loader for row in batch])


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("small", [True, False])
@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (500, 1), (31, 33), (16, 16), (90, 60), (9, 2)])
def test_every_preset_makes_a_square_of_any_image(preset, small, shape):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        augmenter = Augmenter(policy(preset, 16, small), seed=0)
        for row in range(15):
            image = noise(*shape)
            view = augmenter.view(image, EpochIndex.of(row, 0))
            assert (view.shape, view.dtype) == ((16, 16, 3), np.uint8)
            assert np.array_equal(image, noise(*shape)), "the image is somebody else's"


def test_a_long_strip_does_not_fill_the_memory():
    augmenter = Augmenter(policy("light", 224, small=False), seed=0)
    steps = augmenter.transform.transforms
    grown = steps[1](image=steps[0](image=noise(1, 5000))["image"])["image"]
    assert grown.shape == (256, 4 * 256, 3)


@pytest.mark.parametrize("preset", ["none", "light", "standard"])
@pytest.mark.parametrize("small", [True, False])
@pytest.mark.parametrize("value", [0, 255])
def test_black_stays_black_and_white_stays_white(preset, small, value):
    augmenter = Augmenter(policy(preset, 16, small), seed=0)
    image = np.full((20, 24, 3), value, np.uint8)
    flat = [augmenter.view(image, EpochIndex.of(row, 0)) for row in range(10)]
    # A photo's "standard" changes the brightness, which leaves black as it is and darkens white.
    assert max(view.std() for view in flat) == 0
    if small or preset != "standard" or value == 0:
        assert {int(view.mean()) for view in flat} == {value}


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_views_do_not_depend_on_the_number_of_workers():
    alone = views(Visits(epoch=3))
    for workers in (1, 4):
        assert np.array_equal(alone, views(Visits(epoch=3), workers))


def test_views_are_the_same_where_the_rows_are_sent_to_a_fresh_process():
    """As workers get them on systems that do not fork; the process is that of the test below."""
    sent = pickle.loads(pickle.dumps(rows_of()))
    assert np.array_equal(views(Visits(epoch=3)), views(Visits(epoch=3), rows=sent))


def test_views_of_a_row_do_not_depend_on_what_was_seen_before():
    augmenter = Augmenter(policy("strong", 16, small=False), seed=0)
    first = augmenter.view(PICTURES[2], EpochIndex.of(2, 1))
    for row in range(5):
        augmenter.view(PICTURES[row], EpochIndex.of(row, 0))
    assert np.array_equal(first, augmenter.view(PICTURES[2], EpochIndex.of(2, 1)))


def test_every_epoch_row_and_seed_has_its_own_views():
    augmenters = [Augmenter(policy("strong", 16, small=False), seed) for seed in (0, 1)]
    visits = [EpochIndex.of(row, epoch) for row in range(5) for epoch in range(4)]
    seen = {augmenter.view(PICTURES[0], visit).tobytes() for augmenter in augmenters for visit in visits}
    assert len(seen) == 2 * len(visits)


def test_a_run_that_was_killed_goes_on_with_the_views_it_would_have_had():
    script = """
        import hashlib
        from tests.data.image.test_augment import Visits, rows_of, views
        print(hashlib.sha256(views(Visits(epoch=7), rows=rows_of("randaugment", 5)).tobytes()).hexdigest())
    """
    fresh = run_python(["-c", textwrap.dedent(script)], cwd=Path(__file__).parents[3])
    assert fresh.returncode == 0, fresh.stderr
    here = views(Visits(epoch=7), rows=rows_of("randaugment", 5))
    assert hashlib.sha256(here.tobytes()).hexdigest() == fresh.stdout.strip()


@pytest.mark.parametrize("workers", [0, 2])
def test_plain_row_numbers_have_new_views_in_every_epoch(workers):
    """As under transformers' Trainer; NumPy's generators would give each worker the same numbers again."""
    torch.manual_seed(0)
    first, second = (views(range(ROWS), workers) for _ in range(2))
    assert all(not np.array_equal(*pair) for pair in zip(first, second, strict=True))
    torch.manual_seed(0)
    assert np.array_equal(first, views(range(ROWS), workers))


def test_plain_row_numbers_leave_the_augmenters_seed_a_say():
    def of(seed: int) -> np.ndarray:
        torch.manual_seed(0)
        return Augmenter(policy("strong", 16, small=False), seed).view(PICTURES[0], 0)

    assert np.array_equal(of(1), of(1))
    assert not np.array_equal(of(1), of(2))


def test_transforms_happen_independently_of_each_other():
    """Two coins of a policy fall alike half the time; with one seed for both they always do."""
    flips = A.Compose([A.HorizontalFlip(p=0.5), A.OneOf([A.InvertImg()], p=0.5)])
    augmenter = Augmenter(flips, seed=0)
    image = np.zeros((2, 2, 3), np.uint8)
    image[:, 0] = 100
    outcomes = {augmenter.view(image, EpochIndex.of(row, 0))[0].tobytes() for row in range(40)}
    assert len(outcomes) == 4


def natural(height: int = 64, width: int = 64) -> np.ndarray:
    """An image of soft shapes that uses most of the range, with a little noise, as photos do."""
    y, x = np.mgrid[:height, :width] / 8
    waves = np.stack([np.sin(x + 1.3 * y), np.cos(0.7 * x - y), np.sin(0.4 * x * y / 4)], axis=2)
    grain = np.random.default_rng(0).normal(0, 3, waves.shape)
    return (128 + 110 * waves + grain).clip(0, 255).astype(np.uint8)


def plain() -> np.ndarray:
    """A plain surface: one grey with the noise of a camera."""
    return np.random.default_rng(0).normal(200, 3, (64, 64, 3)).clip(0, 255).astype(np.uint8)


def change(operation, image: np.ndarray) -> float:
    """Returns by how many grey levels an operation changes an image on average, at its strongest of 20."""
    seeded = A.Compose([operation], seed=0)
    return max(float(np.abs(seeded(image=image)["image"].astype(int) - image).mean()) for _ in range(20))


@pytest.mark.parametrize("image", [natural(), plain()], ids=["natural", "plain"])
def test_no_operation_of_randaugment_is_stronger_than_pillows_at_a_third_of_its_range(image):
    def pillow(operation) -> float:
        return float(np.abs(np.asarray(operation(Image.fromarray(image)), int) - image).mean())

    def enhanced(kind, factor: float) -> float:
        return pillow(lambda image: kind(image).enhance(factor))

    third = 0.3  # of PIL's 0.9
    light = max(enhanced(ImageEnhance.Brightness, 1 + sign * third) for sign in (1, -1))
    light += max(enhanced(ImageEnhance.Contrast, 1 + sign * third) for sign in (1, -1))
    most = {
        "NoOp": 0,
        "autocontrast": pillow(ImageOps.autocontrast) / 3 + 1,
        "equalize": pillow(ImageOps.equalize) / 3 + 1,
        "solarize": pillow(ImageOps.solarize) / 3 + 1,
        "ColorJitter": light + 2,
        "Posterize": pillow(lambda image: ImageOps.posterize(image, 6)) + 1,
        "Sharpen": 1.5 * enhanced(ImageEnhance.Sharpness, 1 + third) + 1,
    }
    operations = policy("randaugment", 64, small=True).transforms[-1]
    assert (operations.n, operations.replace) == (2, False)  # never one twice
    assert len(operations.transforms) == 13
    seen = set()
    for operation in operations.transforms:
        name = getattr(operation, "name", type(operation).__name__)
        seen.add(name)
        if name != "Affine":
            assert change(operation, image) <= most[name], name
    assert seen == {*most, "Affine"}


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("small", [True, False])
def test_no_preset_turns_images_upside_down(preset, small):
    image = np.zeros((32, 32, 3), np.uint8)
    image[:16] = 200
    image[16:] = 50
    augmenter = Augmenter(policy(preset, 32, small), seed=0)
    for row in range(60):
        view = augmenter.view(image, EpochIndex.of(row, 0)).astype(float)
        view[np.all(np.abs(view - GREY) < 40, axis=2)] = np.nan  # erased
        top, bottom = view[:8], view[-8:]
        if np.isfinite(top).any() and np.isfinite(bottom).any():
            assert np.nanmean(top) >= np.nanmean(bottom) - 1, row


def test_the_small_policy_shifts_images_and_keeps_their_pixels():
    image = noise(16, 16)
    padded = np.pad(image, ((2, 2), (2, 2), (0, 0)), mode="reflect")
    windows = {
        padded[top : top + 16, left : left + 16][:, ::step].tobytes()
        for top in range(5)
        for left in range(5)
        for step in (1, -1)
    }
    augmenter = Augmenter(policy("standard", 16, small=True), seed=0)
    seen = {augmenter.view(image, EpochIndex.of(row, 0)).tobytes() for row in range(300)}
    assert seen <= windows
    assert len(seen) > 40


def test_none_shows_the_middle_of_a_image():
    image = noise(16, 40)
    for small in (True, False):
        view = Augmenter(policy("none", 16, small), seed=0).view(image, EpochIndex.of(0, 0))
        assert np.array_equal(view, image[:, 12:28])


def test_shrinking_takes_every_pixel_into_account():
    """A mean of k pixels of noise varies 1 / sqrt(k) as much as one; picking a few of them varies more."""
    image = noise(256, 256)
    assert central_square(image, 32).std() < 1.1 * image.std() / 8
    for preset in ("light", "standard"):
        steps = policy(preset, 32, small=False).transforms
        crop = A.Compose([step for step in steps if type(step) is not A.ColorJitter])
        # The smallest crop of "standard" is 151 pixels wide: 4.7 x 4.7 of them become one.
        assert Augmenter(crop, seed=0).view(image, EpochIndex.of(0, 0)).std() < 1.1 * image.std() / 4.7


def test_a_recipes_own_policy_works_and_others_are_refused():
    own = A.Compose([A.RandomCrop(8, 8), A.VerticalFlip()])
    assert Augmenter(own, seed=0).view(PICTURES[0], 0).shape == (8, 8, 3)
    for other in (A.HorizontalFlip(), lambda image: {"image": image}):
        with pytest.raises(BadInput, match=r"expected an albumentations\.Compose"):
            Augmenter(other, seed=0)
    for wrong in ([], [A.RandomCrop(8, 8), A.Normalize()], [A.Resize(8, 9)]):
        with pytest.raises(BadInput, match=r"expected uint8 \(S, S, 3\)"):
            Augmenter(A.Compose(wrong), seed=0).view(PICTURES[0], 0)


def test_an_unknown_preset_is_refused():
    with pytest.raises(BadInput, match="--augmentation wild: expected one of none, light"):
        policy("wild", 32, small=True)


def test_a_missing_albumentations_is_named_with_its_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "albumentations", None)
    with pytest.raises(BadInput, match=r"pip install 'hftune\[image\]'"):
        policy("none", 32, small=True)
