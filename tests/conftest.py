"""What holds for every test: no network, caches in a folder that goes away, one thread.

The variables are set before any library reads them; processes that tests start inherit them.
"""

import atexit
import copy
import functools
import gc
import os
import shutil
import socket
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

CACHE = tempfile.mkdtemp(prefix="hftune-tests-")
atexit.register(shutil.rmtree, CACHE, ignore_errors=True)
for name in ("HF_HUB_CACHE", "HF_ASSETS_CACHE", "HF_MODULES_CACHE", "HF_TOKEN", "ACCELERATE_MIXED_PRECISION"):
    os.environ.pop(name, None)
os.environ |= {
    "HF_HOME": CACHE,
    "HF_DATASETS_CACHE": os.path.join(CACHE, "datasets"),
    "MPLCONFIGDIR": os.path.join(CACHE, "matplotlib"),  # else each new home looks for fonts
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",  # torch and what else uses OpenMP; the machine may be busy with other tests
}

# How long an example takes says nothing about the code on a busy machine.
settings.register_profile("hftune", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("hftune")


@pytest.fixture(autouse=True)
def variables_as_before():
    """What runs in this process may set variables of the libraries, as gradio does; programs inherit them."""
    from tests.forked import AT_IMPORT, chosen

    before = chosen(AT_IMPORT, os.environ)
    yield
    for name in chosen(AT_IMPORT, os.environ).keys() - before.keys():
        del os.environ[name]
    os.environ.update(before)


@pytest.fixture
def device_without_float64(monkeypatch):
    """Refuses float64 where a tensor was not brought to the CPU first, as Apple's GPUs do."""
    import torch

    to_cpu, to_double, brought = torch.Tensor.cpu, torch.Tensor.double, []

    def cpu(tensor: torch.Tensor) -> torch.Tensor:
        brought.append(to_cpu(tensor))
        return brought[-1]

    def double(tensor: torch.Tensor) -> torch.Tensor:
        if not any(tensor is one for one in brought):
            raise TypeError("Cannot convert a MPS Tensor to float64 dtype")
        return to_double(tensor)

    monkeypatch.setattr(torch.Tensor, "cpu", cpu)
    monkeypatch.setattr(torch.Tensor, "double", double)


FROZEN = 0  # so many modules were imported when the garbage collector was last told to leave them out


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup():
    """A run ends by looking for garbage in all that the tests have imported: half a second each time."""
    global FROZEN
    if len(sys.modules) > FROZEN + 50:
        gc.collect()
        gc.freeze()
        FROZEN = len(sys.modules)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The working folder, which is the test's own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def listening():
    """A socket for the Hubs of all tests, one after the other."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening


@pytest.fixture
def hub(listening):
    """A small Hub and an empty home of its user, both where they are for every test.

    So the programs of all tests have the same variables, and one server of `tests/forked.py` serves them.
    """
    from tests.loopback import Hub

    home = Path(CACHE, "user")
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir()
    with Hub(listening, home) as running:
        yield running


@pytest.fixture(scope="session")
def shapes_once():
    """Draws the built-in images once for all tests of this process: they take two seconds."""
    from hftune.data.image import splits

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(splits, "load_shapes", functools.cache(splits.load_shapes))
        yield


@pytest.fixture
def quick_start(monkeypatch):
    """Forks the process in which a dry run loads the saved model, as if hftune were not installed."""
    from tests.forked import run_python

    def run(command, env, **named):
        del env["HF_MODULES_CACHE"]  # the server has read the variables: the model's code goes to our folder
        return run_python(command[1:], env=env)

    monkeypatch.setattr("hftune.inference.isolated.subprocess.run", run)


@pytest.fixture
def quick_disk(monkeypatch):
    """Waiting for the disk matters when the power fails, which no run here arranges."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture(scope="session")
def reviews(tmp_path_factory):
    """A folder with train.csv, validation.csv and test.csv."""
    from tests.runs import write_reviews

    return write_reviews(tmp_path_factory.mktemp("reviews"))


@pytest.fixture(scope="session")
def encoder(tmp_path_factory):
    """A folder with a tiny random BERT and its tokenizer."""
    from tests.tiny import tiny_checkpoint

    return tiny_checkpoint("bert", tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="session")
def pristine():
    """One text classifier of each kind; tests take a copy."""
    from hftune.models.standalone.pooled import PooledEncoderConfig, PooledEncoderForSequenceClassification
    from hftune.models.standalone.textcnn import TextCNNConfig, TextCNNForSequenceClassification
    from tests.tiny import FAMILIES, tiny_model

    models = {family: tiny_model(family, num_labels=3) for family in FAMILIES}
    models["pooled"] = PooledEncoderForSequenceClassification(
        PooledEncoderConfig(encoder_config=tiny_model("bert").config, pooling="attention", num_labels=3)
    )
    models["textcnn"] = TextCNNForSequenceClassification(TextCNNConfig(vocab_size=50, embedding_dim=8))
    return models


@pytest.fixture
def models(pristine):
    return copy.deepcopy(pristine)
