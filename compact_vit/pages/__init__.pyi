from .charts import (
    confidence_chart as confidence_chart,
    curve_charts as curve_charts,
    ranking_chart as ranking_chart,
    reliability_chart as reliability_chart,
)
from .images import (
    picture_uri as picture_uri,
    shares_uri as shares_uri,
    weights_uri as weights_uri,
)
from .run_page import Sample as Sample, page_of_run as page_of_run
