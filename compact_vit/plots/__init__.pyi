from .against import Point as Point, plot_against as plot_against
from .attention import (
    attention_maps as attention_maps,
    attention_rollout as attention_rollout,
    attention_weights as attention_weights,
    plot_attention as plot_attention,
)
from .confusion import plot_confusion as plot_confusion
from .curves import compare_curves as compare_curves, plot_curves as plot_curves
from .errors import plot_errors as plot_errors
from .ranking import plot_ranking as plot_ranking
from .reliability import plot_reliability as plot_reliability
from .samples import plot_samples as plot_samples
from .schedule import plot_schedule as plot_schedule
from .sizes import plot_sizes as plot_sizes
from .style import check_picture as check_picture, save_figure as save_figure
