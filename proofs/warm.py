"""What every run imports, imported once: the server of proofs/jobs.py forks its runs from here."""

from hftune.process import prepare_environment

prepare_environment()

import albumentations  # noqa: E402, F401
import matplotlib.figure  # noqa: E402, F401
import sklearn.metrics  # noqa: E402, F401
import timm  # noqa: E402, F401
import transformers.models.auto.modeling_auto  # noqa: E402
import transformers.models.bert.modeling_bert  # noqa: E402
import transformers.models.bert.tokenization_bert  # noqa: E402, F401

import hftune.models.resnet9  # noqa: E402
import hftune.models.textcnn  # noqa: E402
import hftune.recipes.imdb  # noqa: E402
import hftune.recipes.imdb_textcnn  # noqa: E402
import hftune.recipes.shapes  # noqa: E402
import hftune.run  # noqa: E402, F401
