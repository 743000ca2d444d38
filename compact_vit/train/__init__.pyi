from .config import TrainConfig as TrainConfig
from .loop import TrainResult as TrainResult, resume as resume, train as train
from .run import TrainedModel as TrainedModel, load_model as load_model
