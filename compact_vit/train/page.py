"""A finished run as one HTML page: ``report.html``.

Letters: K classes, C channels, H x W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..data.augment import Normalize
from ..data.pictures import DataSplits, Pictures
from ..errors import tell
from ..models.compact import CompactTransformer
from ..pages import Sample, page_of_run, picture_uri, weights_uri
from ..plots import attention_maps
from ..published import published_datasets, published_results
from ..ranking import Row, from_published, from_summary, ranked
from ..report.costs import costs_by_kind
from ..tables import write_text
from .calibration import calibrate
from .config import TrainConfig
from .metrics import Evaluation
from .run import RunFolder
from .state import TrainState
from .summary import run_title, training_loss
from .trained import TrainedModel, load_model

NAME = "report.html"
#: Pictures shown: predictions of each sort, and of each how many with where the model looks.
_SHOWN, _ATTENDED = 12, 3


def write_page(
    folder: RunFolder,
    config: TrainConfig,
    state: TrainState,
    splits: DataSplits,
    pictures: Pictures,
    history: Sequence[dict[str, Any]],
    evaluation: Evaluation,
    summary: dict[str, Any],
) -> None:
    """Write the page of a run that has just finished.

    If the run picked an epoch it is drawn from that one's weights, as who evaluates it takes them,
    and ``evaluation``, on ``pictures``, is theirs. The run is finished without it: what goes wrong
    is said, not raised.
    """
    trained = TrainedModel(
        state.result, config, splits.classes, splits.mean, splits.std, state.epoch
    )
    try:
        if state.best is not None:
            trained = load_model(folder.path, "best")
        page = page_of(trained, pictures, evaluation, summary, history)
        write_text(folder.path / NAME, page)
    except Exception as error:
        tell(f"{NAME} is missing: {type(error).__name__}: {error}")


def page_of(
    trained: TrainedModel,
    pictures: Pictures,
    evaluation: Evaluation,
    summary: dict[str, Any],
    history: Sequence[dict[str, Any]],
    published: str | None = None,
) -> str:
    """The page of a run, from its model, its test ``pictures`` and its ``evaluation`` on them.

    ``published`` says whose published results it is set among; by default its own data set's.
    """
    from sklearn.metrics import confusion_matrix

    config, classes, model = trained.config, trained.classes, trained.model
    surest, said = evaluation.probabilities.max(dim=1)  # [N]
    calibration = calibrate(evaluation.probabilities, evaluation.labels)
    right = (said == evaluation.labels).nonzero().flatten()
    wrong = (said != evaluation.labels).nonzero().flatten()
    drawn = torch.randperm(len(right), generator=torch.Generator().manual_seed(0))[:_SHOWN]
    order = surest[wrong].argsort(descending=True, stable=True)[:_SHOWN]
    shown = {"right": right[drawn], "wrong": wrong[order]}
    samples = {
        sort: [
            Sample(
                picture_uri(pictures.images[i]),
                classes[int(said[i])],
                100 * float(surest[i]),
                classes[int(evaluation.labels[i])],
            )
            for i in indices.tolist()
        ]
        for sort, indices in shown.items()
    }
    tested = summary["final"]["split"] == "test"
    own = config.dataset if tested and config.dataset in published_datasets() else None
    return page_of_run(
        title=run_title(config),
        config=config.to_dict(),
        summary=summary,
        history=history,
        training_loss=training_loss(config),
        classes=classes,
        epoch=trained.epoch,
        confusion=confusion_matrix(evaluation.labels, said, labels=range(len(classes))).tolist(),
        reliability=(calibration.counts, calibration.confidences, calibration.accuracies),
        calibration_error=calibration.error,
        ranking=_ranking(summary, published or own),
        published=published or own,
        kinds=costs_by_kind(model.config) if isinstance(model, CompactTransformer) else None,
        right=samples["right"],
        wrong=samples["wrong"],
        attended=[
            sample
            for sort in ("wrong", "right")
            for sample in _attended(trained, pictures, samples[sort], shown[sort])
        ]
        if isinstance(model, CompactTransformer)
        else [],
    )


def _ranking(summary: dict[str, Any], published: str | None) -> list[Row]:
    """The run alone, or among the results published on a data set."""
    results = [from_summary(summary)]
    for result in published_results(published) if published else []:
        results.append(from_published(result, summary["num_classes"], "without", False))
    return ranked(results, summary["score"]["floor"])


def _attended(
    trained: TrainedModel, pictures: Pictures, samples: Sequence[Sample], indices: Tensor
) -> list[Sample]:
    """The first few of ``samples``, the pictures at ``indices``, with where the model looks."""
    images = pictures.images[indices[:_ATTENDED]]  # uint8 [few, C, H, W]
    if not len(images):
        return []
    device = next(trained.model.parameters()).device
    x = Normalize(trained.mean, trained.std)(images.to(device))
    assert isinstance(trained.model, CompactTransformer)
    maps = attention_maps(trained.model, x)
    return [
        sample._replace(maps={name: weights_uri(image, laid[i]) for name, laid in maps.items()})
        for i, (sample, image) in enumerate(zip(samples[:_ATTENDED], images, strict=False))
    ]
