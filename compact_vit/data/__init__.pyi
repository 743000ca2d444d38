from .catalog import DATASETS as DATASETS, DatasetInfo as DatasetInfo
from .datasets import load_dataset as load_dataset
from .loader import BatchLoader as BatchLoader
from .pictures import DataSplits as DataSplits, Pictures as Pictures
from .split import stratified_split as stratified_split
