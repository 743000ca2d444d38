from .baseline import Baseline as Baseline
from .blocks import (
    PreActivationBlock as PreActivationBlock,
    ResidualBlock as ResidualBlock,
    bottleneck_block as bottleneck_block,
    make_activation as make_activation,
)
from .config import (
    BaselineConfig as BaselineConfig,
    CifarResNetConfig as CifarResNetConfig,
    ConvConfig as ConvConfig,
    MLPConfig as MLPConfig,
    ResidualConvConfig as ResidualConvConfig,
    ResidualEncoderConfig as ResidualEncoderConfig,
    TimmConfig as TimmConfig,
)
from .names import config_from_name as config_from_name, named_baselines as named_baselines
