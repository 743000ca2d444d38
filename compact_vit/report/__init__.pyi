from .cli import main as main
from .costs import (
    Cost as Cost,
    ModelSummary as ModelSummary,
    costs_by_kind as costs_by_kind,
    costs_by_module as costs_by_module,
    summary_of as summary_of,
)
from .layers import layer_table as layer_table
from .measure import summarize as summarize
