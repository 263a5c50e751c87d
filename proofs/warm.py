"""What every run imports, imported once: the server of proofs/jobs.py forks its runs from here."""

import gc

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

gc.freeze()  # else every run would look through all of it for garbage, and copy its pages
