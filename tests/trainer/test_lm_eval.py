"""Tasks of lm-eval offline: our model behind its interface gives the figures of its own backend, item by item."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from windtunnel.schemas.errors import InputError
from windtunnel.schemas.plugin import make
from windtunnel.trainer.eval.plain_replies import PlainReplier
from windtunnel.trainer.models._model import Model
from windtunnel.trainer.modules.export import export
from windtunnel.trainer.tasks._own_files import own_task, questions

pytest.importorskip("lm_eval", exc_type=ImportError)
pytestmark = pytest.mark.slow  # lm_eval takes ten seconds to import

DATA = "dataset_path: json\ndataset_kwargs: {data_files: {test: quiz.jsonl}}\ntest_split: test\n"
ASKED = 'doc_to_text: "Q: {{question}}\\nA:"\n'
TASKS = {
    "follows": f"output_type: multiple_choice\n{ASKED}doc_to_choice: '{{{{choices}}}}'\ndoc_to_target: answer\n"
    "num_fewshot: 2\nfewshot_split: test\nmetric_list: [{metric: acc}, {metric: acc_norm}]\n",
    "says": f"output_type: generate_until\n{ASKED}doc_to_target: '{{{{choices[answer]}}}}'\n"
    "process_docs: !function own.odd\nmetric_list: [{metric: exact_match}]\n"
    'generation_kwargs: {until: ["\\n", "9"], max_gen_toks: 12, do_sample: false}\n',
    "rolls": "output_type: loglikelihood_rolling\ndoc_to_text: ''\ndoc_to_target: '{{question * (answer * 4 + 1)}}'\n"
    "metric_list: [{metric: byte_perplexity}]\n",
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, eos_tokenizer) -> Path:
    """Return a directory with a model of 96 positions, three task files and their data."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    torch.manual_seed(0)
    sizes = {"width": 32, "layers": 2, "heads": 2, "context": 96, "init_std": 0.5}
    export(make(Model, {"llama": sizes}).build(320, eos_tokenizer.eos_token_id), eos_tokenizer, tmp_path / "model")
    rows = [
        {"question": f"Which number follows {k}, {'very ' * (k % 7)}soon?", "answer": k % 3,
         "choices": [str(k + 1), "none of them", "9"]}
        for k in range(24)
    ]  # fmt: skip
    (tmp_path / "quiz.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "own.py").write_text("def odd(docs):\n    return docs.select(range(1, len(docs), 2))\n")
    for name, text in TASKS.items():
        (tmp_path / f"{name}.yaml").write_text(f"task: {name}\n{DATA}{text}")
    return tmp_path


def test_our_model_gives_the_figures_of_the_backend_for_hugging_face_models(folder: Path) -> None:
    from lm_eval.models.huggingface import HFLM  # pyright: ignore[reportMissingImports]

    from windtunnel.trainer.tasks import _harness

    ours: Any = PlainReplier(folder / "model", 300).harness_model()
    theirs = HFLM(pretrained=str(folder / "model"), device="cpu", dtype="float32", batch_size=1)
    for name in TASKS:
        task: Any = own_task(f"{name}.yaml")
        found, expected = (_harness.evaluate(model, task._task(), None) for model in (ours, theirs))
        assert len(found) == len(expected) == (12 if name == "says" else 24)
        for one, other in zip(found, expected, strict=True):
            assert one["prompt_hash"] == other["prompt_hash"]
            if name == "follows":
                assert (one["acc"], one["acc_norm"]) == (other["acc"], other["acc_norm"])
                for a, b in zip(one["filtered_resps"], other["filtered_resps"], strict=True):
                    assert a[0] == pytest.approx(b[0], abs=1e-4) and a[1] == b[1]
            elif name == "rolls":
                assert one["filtered_resps"] == pytest.approx(other["filtered_resps"], abs=1e-3)
            else:
                assert one["filtered_resps"] == other["filtered_resps"] and one["exact_match"] == other["exact_match"]


def test_a_task_of_lm_eval_is_a_task_like_others(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    asker = PlainReplier(folder / "model", 300)
    found = own_task("follows.yaml").measure(lambda: (), asker)
    assert len(found.rows) == 24 and set(found.rows[0].metrics) == {"acc", "acc_norm"}
    assert all(row.correct == row.metrics["acc_norm"] for row in found.rows)
    assert questions("follows.yaml")[0] == ("0", "Q: Which number follows 0, soon?\nA:")
    assert capfd.readouterr() == ("", "")  # neither progress bars nor messages
    with pytest.raises(InputError, match=r"rolls\.yaml names none of acc, exact_match; it has none: set `metric:`"):
        own_task("rolls.yaml").measure(lambda: (), asker)
    (folder / "says.yaml").write_text((folder / "says.yaml").read_text().replace("do_sample: false", "do_sample: true"))
    with pytest.raises(InputError, match="draws its replies"):
        own_task("says.yaml").measure(lambda: (), asker)
    (folder / "own.py").write_text("")
    with pytest.raises(InputError, match=r"own\.py has no function 'odd'"):
        own_task("says.yaml").measure(lambda: (), asker)
    (folder / "quiz.jsonl").unlink()
    with pytest.raises(InputError, match="lm-eval cannot make the task"):
        own_task("follows.yaml").measure(lambda: (), asker)
