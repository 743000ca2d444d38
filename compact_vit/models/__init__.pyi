from .compact import CompactTransformer as CompactTransformer
from .config import ModelConfig as ModelConfig, config_from_name as config_from_name
from .masked import MaskedAutoencoder as MaskedAutoencoder
from .names import config_of as config_of
from .reference import load_reference_state_dict as load_reference_state_dict
from .zoo import (
    create_model as create_model,
    list_models as list_models,
    model_of as model_of,
)
