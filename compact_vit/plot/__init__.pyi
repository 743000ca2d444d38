from .cli import main as main
from .figures import (
    attention as attention,
    confusion as confusion,
    curves as curves,
    errors as errors,
    samples as samples,
    schedule as schedule,
)
