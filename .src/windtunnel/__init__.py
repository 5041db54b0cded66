"""Windtunnel: a wind tunnel for training data.

Texts in frames (polars, pyarrow, pandas), and the same steps as those of recipes and commands:

    read, filter, dedup, decontaminate    documents of a source; rows of a frame kept, or dropped with a reason
    train, evaluate, evaluate_tasks       a small model; how likely it finds held-out texts; its answers to questions
    compare, compare_items, law           effects of data with intervals and verdicts; a law over mixes
    generate, calibrate                   synthetic rows; how far a judge can be trusted
    Store                                 the artifacts of a recipe's runs

`import windtunnel` imports none of the packages that these need: each is imported on first use.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from windtunnel.generators.judging.calibration import Calibration
    from windtunnel.pipelines.api.corpora import Decontaminated, decontaminate, dedup, filter, read
    from windtunnel.pipelines.api.frames import Selection
    from windtunnel.pipelines.api.generation import Generated, calibrate, generate
    from windtunnel.pipelines.api.scoring import evaluate
    from windtunnel.pipelines.api.statistics import MixingLaw, compare, compare_items, law
    from windtunnel.pipelines.api.store import Store, StoredArtifact
    from windtunnel.pipelines.api.task_scoring import TaskResult, evaluate_tasks
    from windtunnel.pipelines.api.trained_model import TrainedModel
    from windtunnel.pipelines.api.training import train
    from windtunnel.schemas.errors import InputError, RecipeError, WindtunnelError
    from windtunnel.schemas.results import Effect

__version__ = "0.2.0"

__all__ = [
    "Calibration",
    "Decontaminated",
    "Effect",
    "Generated",
    "InputError",
    "MixingLaw",
    "RecipeError",
    "Selection",
    "Store",
    "StoredArtifact",
    "TaskResult",
    "TrainedModel",
    "WindtunnelError",
    "calibrate",
    "compare",
    "compare_items",
    "decontaminate",
    "dedup",
    "evaluate",
    "evaluate_tasks",
    "filter",
    "generate",
    "law",
    "read",
    "train",
]

_MODULES = {
    "generators.judging.calibration": ("Calibration",),
    "pipelines.api.corpora": ("Decontaminated", "decontaminate", "dedup", "filter", "read"),
    "pipelines.api.frames": ("Selection",),
    "pipelines.api.generation": ("Generated", "calibrate", "generate"),
    "pipelines.api.scoring": ("evaluate",),
    "pipelines.api.statistics": ("MixingLaw", "compare", "compare_items", "law"),
    "pipelines.api.store": ("Store", "StoredArtifact"),
    "pipelines.api.task_scoring": ("TaskResult", "evaluate_tasks"),
    "pipelines.api.trained_model": ("TrainedModel",),
    "pipelines.api.training": ("train",),
    "schemas.errors": ("InputError", "RecipeError", "WindtunnelError"),
    "schemas.results": ("Effect",),
}


def __getattr__(name: str) -> Any:
    """Import a public name on first use (PEP 562)."""
    for module, names in _MODULES.items():
        if name in names:
            from importlib import import_module

            value = globals()[name] = getattr(import_module(f"{__name__}.{module}"), name)
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
