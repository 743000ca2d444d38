from .cli import main as main
from .grid import GridResult as GridResult, run_grid as run_grid
from .plan import (
    Experiment as Experiment,
    Planned as Planned,
    plan_runs as plan_runs,
    read_experiment as read_experiment,
)
from .search import SearchResult as SearchResult, run_search as run_search
