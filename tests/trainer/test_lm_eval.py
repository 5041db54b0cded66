"""Tasks of lm-eval offline: our model behind its interface gives the figures of its own backend, item by item."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from windtunnel.schemas.errors import InputError, WindtunnelError
from windtunnel.schemas.plugin import make
from windtunnel.trainer.eval.plain_replies import PlainReplier
from windtunnel.trainer.models._model import Model
from windtunnel.trainer.modules.export import export
from windtunnel.trainer.tasks._evaluation import Evaluation
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


def test_choices_pairs_and_perplexity_are_those_of_lm_eval(folder: Path) -> None:
    """Its tasks of the same files by its own backend; ours begins every text with end-of-text, as in training."""
    from lm_eval.models.huggingface import HFLM  # pyright: ignore[reportMissingImports]

    from windtunnel.trainer.tasks import _harness

    (folder / "pairs.jsonl").write_text(
        "".join(json.dumps({"good": f"The {k} mills turn.", "bad": f"The {k} mills turns."}) + "\n" for k in range(20))
    )
    (folder / "texts.jsonl").write_text(
        "".join(json.dumps({"text": f"Mill {k} turns. " * (k * 9 + 1), "source": "mills"}) + "\n" for k in range(6))
    )
    quiz = [json.loads(line) for line in (folder / "quiz.jsonl").read_text().splitlines()]
    apart = [row for row in quiz if len({*row["choices"]}) == 3]  # ours refuses a choice that is twice there
    (folder / "apart.jsonl").write_text("".join(json.dumps(row) + "\n" for row in apart))
    common = "task: {0}\ndataset_path: json\ndataset_kwargs: {{data_files: {{test: {1}.jsonl}}}}\ntest_split: test\n"
    tasks = {
        "choices": ("apart", "output_type: multiple_choice\n"
        "doc_to_text: \"<|endoftext|>Question: {{question}}\\nAnswer:\"\n"
        "doc_to_choice: '{{choices}}'\ndoc_to_target: answer\nmetric_list: [{metric: acc}, {metric: acc_norm}]\n"),
        "minimal_pairs": ("pairs", "output_type: multiple_choice\ndoc_to_text: ''\ntarget_delimiter: ''\n"
        "doc_to_choice: '{{[good, bad]}}'\ndoc_to_target: 0\nmetric_list: [{metric: acc}]\n"),
        "perplexity": ("texts", "output_type: loglikelihood_rolling\ndoc_to_text: ''\ndoc_to_target: '{{text}}'\n"
        "metric_list: [{metric: bits_per_byte}]\n"),
    }  # fmt: skip
    asker = PlainReplier(folder / "model", 300)
    theirs = HFLM(pretrained=str(folder / "model"), device="cpu", dtype="float32", batch_size=1)
    for name, (data, text) in tasks.items():
        (folder / f"{name}.yaml").write_text(common.format(f"peer_{name}", data) + text)
        peer: Any = own_task(f"{name}.yaml")
        expected = _harness.evaluate(theirs, peer._task(), None)
        found = make(Evaluation, {name: {"file": f"{data}.jsonl"}}).measure(lambda: (), asker).rows
        assert len(found) == len(expected) > 5
        for row, other in zip(found, expected, strict=True):
            if name == "perplexity":
                same = -row.nats == pytest.approx(other["filtered_resps"][0], rel=1e-5)
                assert same is (row.tokens <= 96)  # its last window of a longer text overlaps the one before
            else:
                assert row.metrics["acc"] == other["acc"]
            if name == "choices":
                assert row.metrics["acc_norm"] == other["acc_norm"]
                assert -row.nats == pytest.approx(other["filtered_resps"][int(other["target"])][0], abs=1e-4)


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
    (folder / "bleu.yaml").write_text((folder / "says.yaml").read_text().replace("exact_match", "not_a_metric"))
    with pytest.raises(WindtunnelError, match="lm-eval cannot make the task"):  # it would look for one on the hub
        own_task("bleu.yaml").measure(lambda: (), asker)
    (folder / "follows.yaml").write_text(
        (folder / "follows.yaml").read_text().replace("{{question}}", "{{question.x.y}}")
    )
    with pytest.raises(WindtunnelError, match=r"'lm_eval' failed in follows|lm-eval cannot make the task"):
        own_task("follows.yaml").measure(lambda: (), asker)
    (folder / "own.py").write_text("")
    with pytest.raises(InputError, match=r"own\.py has no function 'odd'"):
        own_task("says.yaml").measure(lambda: (), asker)
    (folder / "quiz.jsonl").unlink()
    with pytest.raises(InputError, match="lm-eval cannot make the task"):
        own_task("follows.yaml").measure(lambda: (), asker)
