"""What every run of proofs/jobs.py imports, imported once by the server that forks them."""

from hftune.runtime.environment import prepare_environment

prepare_environment()

import albumentations  # noqa: E402, F401
import matplotlib.figure  # noqa: E402, F401
import sklearn.metrics  # noqa: E402, F401
import timm  # noqa: E402, F401
import transformers.models.auto.modeling_auto  # noqa: E402
import transformers.models.bert.modeling_bert  # noqa: E402
import transformers.models.bert.tokenization_bert  # noqa: E402, F401

import hftune.models.standalone.resnet9  # noqa: E402
import hftune.recipes.hotdog_features  # noqa: E402
import hftune.recipes.imdb_bag  # noqa: E402
import hftune.recipes.imdb_bilstm  # noqa: E402
import hftune.recipes.imdb_textcnn  # noqa: E402
import hftune.recipes.shapes  # noqa: E402
import hftune.run  # noqa: E402, F401
import proofs.jobs  # noqa: E402, F401
