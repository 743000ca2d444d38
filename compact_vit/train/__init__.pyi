from ..errors import Stopped as Stopped
from .config import TrainConfig as TrainConfig
from .loop import resume as resume, train as train
from .result import TrainResult as TrainResult
from .trained import TrainedModel as TrainedModel, load_model as load_model
