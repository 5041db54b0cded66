"""What the held-out scores of a run measure, and which runs measure the same as the baseline's.

An objective says what its scores are (`Objective.measure`), and a run's result keeps it. All are given in bits per byte
of the held-out text, and yet only those of one measure are on one scale.
"""

from __future__ import annotations

from collections.abc import Mapping

from windtunnel.schemas.artifact import Artifact
from windtunnel.schemas.results import RunResult
from windtunnel.schemas.role import runs

RESULT = "result.json"
MEANING = {
    "likelihood": "how likely every token is after those before it",
    "pseudo_likelihood": "how likely a hidden token is between those on both of its sides",
    "target": "how likely the pieces that were cut out are, given the rest of the text",
}


def result_of(run: Artifact) -> RunResult | None:
    """Return the result of a run's last stage; None for scores that no training of ours has written."""
    path = run.path / RESULT
    return RunResult.model_validate_json(path.read_bytes()) if path.exists() else None


def incomparable(inputs: Mapping[str, Artifact], baseline: str) -> dict[str, str]:
    """Return why the scores of a run cannot be compared with the baseline's, by the name of the run.

    `inputs` are by role `run:NAME:SEED`. A run without a result, or of a time when results did not tell what they
    measure, is taken to be comparable where it has scores.
    """
    results = {name: result for (name, _), run in runs(inputs).items() if (result := result_of(run)) is not None}
    own = results.get(baseline)
    found = {}
    for name, result in results.items():
        if name == baseline or own is None or own.measure is None:
            continue
        unscored = result.held_out is None and own.held_out is not None
        if result.measure == own.measure and not unscored:
            continue
        if result.measure is not None and unscored:
            found[name] = f"its last stage, {result.objective}, does not score what is held out"
        elif result.measure is not None:
            found[name] = f"its scores tell {MEANING[result.measure]}, those of {baseline} {MEANING[own.measure]}"
        elif result.held_out is None:
            found[name] = f"{result.objective} gives the held-out text no probability"
    return found
