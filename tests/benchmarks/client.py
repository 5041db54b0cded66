"""Tokens per second through our client against a bare load on the same vLLM server, in one run.

    python tests/benchmarks/client.py --model DIR [--at-once 64] [--requests 256] [--tokens 64] [--rounds 3]
    python tests/benchmarks/client.py --url http://127.0.0.1:8000/v1 --name MODEL

The bare load is an asyncio loop over httpx posts: no store, no retries, no checks. Both send the same requests with
`ignore_eos`, so both make the same number of tokens; rounds alternate, so that a slow minute of the machine hits both.
The client writes every completion to a fresh store. Prints tokens/s and the client's own CPU time of each
round (which a busy machine blurs less), and the ratio of the medians.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import statistics
import tempfile
import time
from pathlib import Path

from windtunnel.generators.client.client import Client, Endpoint, Request
from windtunnel.generators.serving.server import Serve, Server


def questions(count: int, tokens: int, salt: str) -> list[Request]:
    """Different prompts each round: the server's prefix cache must not help one side."""
    return [
        Request(
            messages=({"role": "user", "content": f"{salt} {i}: tell a story about the number {i}."},),
            max_tokens=tokens,
            extra={"ignore_eos": True},
        )
        for i in range(count)
    ]


async def bare(url: str, name: str, requests: list[Request], at_once: int) -> int:
    import httpx

    slots = asyncio.Semaphore(at_once)
    limits = httpx.Limits(max_connections=at_once, max_keepalive_connections=at_once)
    async with httpx.AsyncClient(timeout=600, trust_env=False, limits=limits) as http:

        async def one(request: Request) -> int:
            body = {
                "model": name,
                "messages": list(request.messages),
                "max_tokens": request.max_tokens,
                "temperature": 1.0,
                "seed": 1,
                "ignore_eos": True,
            }
            async with slots:
                reply = await http.post(f"{url}/chat/completions", json=body)
            return reply.json()["usage"]["completion_tokens"]

        return sum(await asyncio.gather(*map(one, requests)))


def ours(endpoint: Endpoint, requests: list[Request], at_once: int) -> int:
    with tempfile.TemporaryDirectory() as folder:
        with Client(endpoint, store=Path(folder) / "s.db", concurrency=at_once) as client:
            found = client.complete(requests)
        assert all(c.ok for c in found), {c.error for c in found}
        return sum(c.completion_tokens for c in found)


def measure(endpoint: Endpoint, args: argparse.Namespace) -> None:
    rates: dict[str, list[float]] = {"bare": [], "ours": []}
    ours(endpoint, questions(args.at_once, 8, "warm-up"), args.at_once)
    for number in range(args.rounds):
        for who in ("bare", "ours") if number % 2 else ("ours", "bare"):
            requests = questions(args.requests, args.tokens, f"{who} {number} {time.time()}")
            started, cpu = time.perf_counter(), time.process_time()
            if who == "bare":
                tokens = asyncio.run(bare(endpoint.url, endpoint.model, requests, args.at_once))
            else:
                tokens = ours(endpoint, requests, args.at_once)
            cpu = (time.process_time() - cpu) / len(requests) * 1000
            rates[who].append(tokens / (time.perf_counter() - started))
            print(f"round {number} {who}: {rates[who][-1]:8.1f} tokens/s, {cpu:.2f} ms of CPU a request", flush=True)
    ratio = statistics.median(rates["ours"]) / statistics.median(rates["bare"])
    print(f"at {args.at_once} at once, medians: ours / bare = {ratio:.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a model directory to serve")
    parser.add_argument("--url", help="a running server instead")
    parser.add_argument("--name", help="the model's name there")
    parser.add_argument("--eager", action="store_true", help="start without compilation")
    parser.add_argument("--at-once", type=int, default=64)
    parser.add_argument("--requests", type=int, default=256)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    with contextlib.ExitStack() as stack:
        if args.url:
            endpoint = Endpoint(args.url, args.name, dialect="vllm")
        else:
            arguments = ("--enforce-eager",) if args.eager else ()
            endpoint = stack.enter_context(Server(Serve(args.model, context=2048, arguments=arguments), say=print))
        measure(endpoint, args)


if __name__ == "__main__":
    main()
