"""What holds for every test: no network, caches in a folder that goes away, one thread.

The variables are set before any library reads them; processes that tests start inherit them.
"""

import atexit
import os
import shutil
import tempfile

from hypothesis import HealthCheck, settings

CACHE = tempfile.mkdtemp(prefix="hftune-tests-")
atexit.register(shutil.rmtree, CACHE, ignore_errors=True)
for name in ("HF_HUB_CACHE", "HF_ASSETS_CACHE", "HF_MODULES_CACHE", "HF_TOKEN", "ACCELERATE_MIXED_PRECISION"):
    os.environ.pop(name, None)
os.environ |= {
    "HF_HOME": CACHE,
    "HF_DATASETS_CACHE": os.path.join(CACHE, "datasets"),
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",  # torch and what else uses OpenMP; the machine may be busy with other tests
}

# How long an example takes says nothing about the code on a busy machine.
settings.register_profile("hftune", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("hftune")
