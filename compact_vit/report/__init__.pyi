from .cli import main as main
from .measure import (
    Cost as Cost,
    ModelSummary as ModelSummary,
    by_kind as by_kind,
    layer_table as layer_table,
    summarize as summarize,
)
