"""A Slurm of one node, with everything it writes in a directory of its own; a language model small enough to check."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

CONFIGURATION = """\
ClusterName=one
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={daemon}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=batch_sched_delay=0,sched_interval=2
MpiDefault=none
MailProg=/bin/true
ReturnToService=2
NodeName={host} NodeAddr=127.0.0.1 CPUs={cores} RealMemory={megabytes}
PartitionName=short Nodes={host} Default=YES MaxTime=10:00 DefaultTime=5:00 State=UP
"""


@pytest.fixture(scope="session")
def bigrams(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write `tiny-model/`, a Llama without layers that is a table of how likely one byte is after another."""
    import numpy as np
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("bigrams") / "tiny-model"
    end = write_byte_tokenizer(folder)
    size = 264
    seen = np.full((size, size), 0.01)
    text = b"The people of the town walk along the river. The river runs along the town, and the town sees the river."
    np.add.at(seen, ([end, *text], [*text, end]), 1)
    config = LlamaConfig(
        vocab_size=size,
        hidden_size=size,
        intermediate_size=8,
        num_hidden_layers=0,
        num_attention_heads=1,
        max_position_embeddings=64,
        rms_norm_eps=1e-12,
        tie_word_embeddings=False,
    )
    model: Any = LlamaForCausalLM(config)
    with torch.no_grad():
        model.get_input_embeddings().weight.copy_(torch.eye(size))  # RMS norm makes of each row size ** 0.5 times it
        table = np.log(seen / seen.sum(axis=1, keepdims=True)).T / size**0.5
        model.get_output_embeddings().weight.copy_(torch.from_numpy(table))
    model.save_pretrained(str(folder))
    return folder


def write_byte_tokenizer(folder: Path) -> int:
    """Write a tokenizer of single bytes, where a byte is its own id, and return the id of end-of-text, 256."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]  # bytes that GPT-2's alphabet shows as they are
    others = [byte for byte in range(256) if byte not in plain]
    shown = {**{byte: chr(byte) for byte in plain}, **{byte: chr(256 + n) for n, byte in enumerate(others)}}
    bytewise = Tokenizer(models.BPE(vocab={letter: byte for byte, letter in shown.items()}, merges=[]))
    bytewise.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    bytewise.decoder = decoders.ByteLevel()
    bytewise.add_special_tokens(["<|end|>"])
    PreTrainedTokenizerFast(tokenizer_object=bytewise, eos_token="<|end|>").save_pretrained(str(folder))
    return 256


@pytest.fixture(scope="session")
def slurm() -> Iterator[Path]:
    """Start munged, slurmctld and slurmd; their commands find them through SLURM_CONF. Ended with the session."""
    daemons = {name: _found(name) for name in ("munged", "slurmctld", "slurmd", "sbatch")}
    lacking = [name for name, path in daemons.items() if path is None]
    if lacking:
        pytest.skip(f"no {', '.join(lacking)} on this machine: install slurm-wlm and munge")
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))  # a short path: a socket's name has 107 bytes at most
    before = os.environ.get("SLURM_CONF")
    started: list[subprocess.Popen[bytes]] = []
    try:
        _configure(folder)
        os.environ["SLURM_CONF"] = str(folder / "slurm.conf")
        key = ["--key-file", f"{folder}/munge.key", "--seed-file", f"{folder}/munge.seed"]
        own = ["--pid-file", f"{folder}/munged.pid", "--log-file", f"{folder}/munged.log"]
        munge = [daemons["munged"], "--foreground", "--force", "--socket", f"{folder}/munge.socket", *key, *own]
        for words in (munge, [daemons["slurmctld"], "-D"], [daemons["slurmd"], "-D"]):
            started.append(_start([str(word) for word in words], folder))
        _wait_until_idle(folder)
        yield folder
    finally:
        for daemon in reversed(started):
            daemon.terminate()
        for daemon in started:
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        os.environ.pop("SLURM_CONF", None)
        if before is not None:
            os.environ["SLURM_CONF"] = before
        shutil.rmtree(folder, ignore_errors=True)


def _found(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def _configure(folder: Path) -> None:
    for name in ("state", "spool"):
        (folder / name).mkdir()
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    controller, daemon = _free_ports()
    (folder / "slurm.conf").write_text(
        CONFIGURATION.format(
            folder=folder,
            host=socket.gethostname().partition(".")[0],
            user=getpass.getuser(),
            controller=controller,
            daemon=daemon,
            cores=os.cpu_count(),
            megabytes=int(psutil.virtual_memory().total * 0.8) >> 20,
        ),
        encoding="utf-8",
    )


def _free_ports() -> list[int]:
    sockets = [socket.socket() for _ in range(2)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def _start(words: list[str], folder: Path) -> subprocess.Popen[bytes]:
    with open(folder / f"{Path(words[0]).name}.out", "wb") as out:
        daemon = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT)
    time.sleep(0.5)
    return daemon


def _wait_until_idle(folder: Path) -> None:
    until = time.monotonic() + 180
    while time.monotonic() < until:
        asked = subprocess.run(["sinfo", "-h", "-o", "%T"], capture_output=True, text=True)
        if asked.stdout.strip() == "idle":
            return
        time.sleep(0.5)
    logs = "\n".join(f"{file.name}: {file.read_text()[-1500:]}" for file in sorted(folder.glob("*.[lo]*")))
    pytest.fail(f"Slurm did not start: {asked.stdout}{asked.stderr}\n{logs}")
