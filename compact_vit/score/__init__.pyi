from ..published import PublishedResult as PublishedResult, published_results as published_results
from ..ranking import Result as Result, Row as Row, ranked as ranked
from .cli import main as main
from .runs import LeftOut as LeftOut, read_runs as read_runs
