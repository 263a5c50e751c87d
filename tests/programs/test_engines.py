"""What docs/engines says, in the variables and folders that engines give a run."""

import json
import os
import re
import shlex
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from hftune.errors import BadInput, HftuneError, NonFiniteError, PushFailed
from tests.forked import run_python

ROOT = Path(__file__).parents[2]
ENGINES = ROOT / "docs/engines"
HFTUNE = """
import os, runpy, sys
from hftune.cli.main import main

def start_again(python, words):  # as os.execv does, without loading all of it once more
    sys.argv = words[1:]
    runpy.run_path(words[1], run_name="__main__")
    raise SystemExit

os.execv = start_again
main()
"""
SMALL = ["--dataset_name", "sample", "--model_type", "textcnn", "--max_steps", "2", "--baselines", "false"]
SMALL += ["--max_train_samples", "40", "--max_eval_samples", "20", "--bf16", "false"]


def kubernetes() -> dict:
    return yaml.safe_load((ENGINES / "kubernetes.yaml").read_text())["spec"]


def pod(folder: Path) -> tuple[list[str], dict[str, str]]:
    """Returns the words and the variables of the Job's container, with its volume in a folder."""
    (container,) = kubernetes()["template"]["spec"]["containers"]
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    there = (word.replace(mounts["runs"], str(folder)) for word in container["command"] + container["args"])
    env = {entry["name"]: entry["value"] for entry in container["env"] if "value" in entry}
    del env["HF_HOME"]  # ours
    return list(there), env


def machine(folder: Path) -> tuple[list[str], dict[str, str]]:
    """Returns the same of a SageMaker job, whose checkpoints lie in a folder."""
    job = json.loads((ENGINES / "sagemaker.json").read_text())
    asked = job["AlgorithmSpecification"]
    local = job["CheckpointConfig"]["LocalPath"]
    words = asked["ContainerEntrypoint"] + asked["ContainerArguments"]
    hosts = {"current_host": "algo-1", "hosts": ["algo-1"]}
    env = {"TRAINING_JOB_NAME": job["TrainingJobName"], "SM_RESOURCE_CONFIG": json.dumps(hosts)}
    return [word.replace(local, str(folder)) for word in words], env


@pytest.mark.parametrize("engine", [pod, machine])
def test_the_command_of_an_engine_runs_and_is_done_when_it_is_started_again(engine, tmp_path):
    (program, *words), env = engine(tmp_path)
    assert program == "hftune"
    for said in ("saved", "holds this run, finished"):
        done = run_python(["-c", HFTUNE, *words, *SMALL], env={**os.environ, **env}, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert said in done.stdout + done.stderr
    assert (tmp_path / "imdb/model.safetensors").is_file()


def test_a_job_fails_at_once_where_it_would_end_the_same_again(tmp_path):
    (fail, _) = kubernetes()["podFailurePolicy"]["rules"]
    assert fail["action"] == "FailJob"
    codes = set(fail["onExitCodes"]["values"])
    assert codes == {kind.exit_code for kind in (BadInput, NonFiniteError, PushFailed)}
    others = {kind.exit_code for kind in HftuneError.__subclasses__() if hasattr(kind, "exit_code")} - codes
    assert others >= {4, 6}
    (_, *words), env = pod(tmp_path)
    done = run_python(["-c", HFTUNE, *words, "--no_such_flag", "1"], env={**os.environ, **env})
    assert done.returncode in codes


def test_the_job_of_hugging_face_says_what_the_page_asks_for():
    (line,) = re.findall(r"^hf (jobs uv run .*)$", (ENGINES / "README.md").read_text(), re.MULTILINE)
    words = shlex.split(line)
    words.insert(words.index("run") + 1, "--dry-run")
    hf = "from huggingface_hub.cli.hf import main; main()"
    done = run_python(
        ["-c", hf, *words], env={**os.environ, "HF_TOKEN": "hf_nobody"}, cwd=ROOT, server="first"
    )
    assert done.returncode == 0, done.stderr
    facts = dict(re.findall(r"^ +(\w+) +(.*?) *$", done.stdout, re.MULTILINE))
    assert facts["script"] == "recipes/imdb.py"
    assert (facts["flavor"], facts["timeout"], facts["args"]) == ("a10g-small", "2h", "--push_to_hub")
    assert "hf_nobody" not in done.stdout


@pytest.mark.every_kind
def test_two_pods_of_kubeflow_train_one_run(tmp_path):
    """Half a minute of imports."""
    (line,) = re.findall(r"`hftune (run imdb [^`]*)`", (ENGINES / "README.md").read_text())
    words = [word.replace("/runs", str(tmp_path)) for word in line.split()]
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    given = {"NNODES": 2, "NPROC_PER_NODE": 1, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    env = os.environ | {f"PET_{name}": str(value) for name, value in given.items()}
    env["ACCELERATE_USE_CPU"] = "true"
    command = [sys.executable, "-c", "from hftune.cli.main import main; main()", *words]
    for more, code in ((SMALL, 0), (["--dataset_name", "sample", "--model_name_or_path", "/nowhere"], 2)):
        pods = [
            subprocess.Popen([*command, *more], cwd=ROOT, env={**env, "PET_NODE_RANK": str(rank)})
            for rank in (0, 1)
        ]
        assert [pod.wait(300) for pod in pods] == [code, code]
        if code == 0:
            assert json.loads((tmp_path / "imdb/run.json").read_text())["world_size"] == 2
        words[-1] = str(tmp_path / "other")
