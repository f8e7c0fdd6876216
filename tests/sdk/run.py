#!/usr/bin/env python3
"""Starts a built gateway and lets the official OpenAI and MCP clients loose on it: once with the fake backend,
which goes wrong on demand, and once with a real one that the gateway installs. Ends everything it
started, and fails when the gateway leaves something behind."""

import argparse
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
API_KEY = "sdk-tests-own-key-0123456789abcdef"
SERVING_WITHIN_S = 60
# The first request of the real run may install the engine.
FIRST_ANSWER_WITHIN_S = 900
STOPPED_WITHIN_S = 60
SUITE_WITHIN_S = 900

# A call that was not stopped would keep all others waiting, longer than anybody does.
TEST_TOOLS = """\
name = "test_tools"
version = "1.0.0"

[limits]
wall_ms = 3600000
concurrent = 1
"""

FAKE_CONFIG = """\
[server]
listen = "127.0.0.1:0"

[engine.mlx-openai-server]
command = [{fake}]

[[profile]]
name = "fake"
aliases = ["gpt-4o-mini", "claude-*"]
model = "./model"

[[profile]]
name = "org/tiny-model"
model = "./model"

[[profile]]
name = "hasty"
model = "./model"
context_length = 1024
timeouts = {{ first_token = "1s", idle = "1s" }}

[[profile]]
name = "narrow"
model = "./model"
context_length = 2048
max_concurrent = 1
queue = {{ size = 0 }}

[[profile]]
name = "embed"
model = "./model"
model_type = "embeddings"

[[profile]]
name = "hears"
model = "./model"
model_type = "whisper"

[[profile]]
name = "paints"
model = "./model"
model_type = "image-edit"

[[profile]]
name = "broken"
model = "./model"
env = {{ FAKE_FAIL_LOAD = "1" }}
"""

REAL_CONFIG = """\
[server]
listen = "127.0.0.1:0"

[[profile]]
name = "demo"
model = "builtin:demo"
"""


def main():
    options = arguments()
    failed = []
    with tempfile.TemporaryDirectory(prefix="mlx-gateway-sdk-") as folder:
        if "fake" in options.backends:
            work = make_work(Path(folder, "fake"), FAKE_CONFIG.format(fake=json.dumps(options.fake)))
            failed += over(options, "fake", "fake", work, work / "data")
        if "real" in options.backends:
            work = make_work(Path(folder, "real"), REAL_CONFIG)
            failed += over(options, "real", "demo", work, Path(options.real_data or work / "data"))
    if failed:
        sys.exit(f"SDK tests failed: {', '.join(failed)}")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gateway", required=True, help="the program under test")
    parser.add_argument("--fake", help="the fake_mlx_server program")
    parser.add_argument("--real-data", help="data directory of the real run, kept for the next one")
    parser.add_argument("--node", default="node")
    parser.add_argument("--backends", nargs="+", default=["fake", "real"], choices=["fake", "real"])
    parser.add_argument("--clients", nargs="+", default=["python", "js"], choices=["python", "js"])
    return parser.parse_args()


def make_work(folder, config):
    """A folder with the configuration, what stands for a model, and a plugin."""
    model = folder / "model"
    model.mkdir(parents=True)
    (model / "config.json").write_text(
        json.dumps({"model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"]})
    )
    (folder / "config.toml").write_text(config)
    plugin = folder / "plugins" / "test_tools"
    plugin.mkdir(parents=True)
    shutil.copy(HERE.parents[0] / "plugins" / "test_tools" / "test_tools.wasm", plugin)
    (plugin / "plugin.toml").write_text(TEST_TOOLS)
    return folder


def over(options, backend, model, work, data):
    """Both clients over one gateway; gives the names of the suites that failed."""
    with gateway(options.gateway, work, data) as base_url:
        print(f"\n== SDK tests over the {backend} backend, {base_url}", file=sys.stderr, flush=True)
        first_answer(base_url, model)
        environment = os.environ | {
            "SDK_BASE_URL": f"{base_url}/v1",
            "SDK_API_KEY": API_KEY,
            "SDK_BACKEND": backend,
            "SDK_MODEL": model,
            "SDK_GATEWAY": str(Path(options.gateway).resolve()),
            "SDK_DATA_DIR": str(data),
            "SDK_CONFIG": str(work / "config.toml"),
            "SDK_NODE": options.node,
            "PYTHONDONTWRITEBYTECODE": "1",
            "NO_PROXY": "127.0.0.1",
        }
        suites = {
            "python": [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", HERE / "python"],
            "js": [options.node, "--test", "--test-reporter=spec", *sorted(HERE.glob("js/*.test.mjs"))],
        }
        run = {
            client: subprocess.run(
                suites[client], env=environment, cwd=HERE, timeout=SUITE_WITHIN_S, check=False
            ).returncode
            for client in options.clients
        }
    return [f"{client} over {backend}" for client, code in run.items() if code != 0]


@contextlib.contextmanager
def gateway(program, work, data):
    """A serving gateway's base URL. Leaving the block asks it to end, and checks that it did so well."""
    address = data / "address"
    address.unlink(missing_ok=True)
    log_path = work / "gateway.log"
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            [program, "serve", "--config", work / "config.toml", "--data-dir", data],
            env=environment_of_the_gateway(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        base_url = serving(process, address, log_path)
        yield base_url
        backends = backend_pids(base_url)
        stop(process)
        left = [pid for pid in backends if is_alive(pid)]
        if left:
            raise SystemExit(f"backends outlived the gateway: {left}")
    except BaseException:
        tail = log_path.read_text(errors="replace").splitlines()[-60:]
        print("-- the end of the gateway's log --", *tail, sep="\n", file=sys.stderr)
        raise
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def environment_of_the_gateway():
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MLX_")}
    return kept | {"MLX_GATEWAY_API_KEY": API_KEY}


def serving(process, address, log):
    """Waits until it serves where the file in its data directory, or else its log, says it listens."""
    deadline = time.monotonic() + SERVING_WITHIN_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise SystemExit(f"the gateway ended with code {process.returncode} instead of serving")
        with contextlib.suppress(OSError):
            said = (address if address.exists() else log).read_text(errors="replace")
            if found := re.search(r"http://127\.0\.0\.1:\d+", said):
                with urllib.request.urlopen(f"{found[0]}/livez", timeout=5):
                    return found[0]
        time.sleep(0.02)
    raise SystemExit(f"the gateway does not serve after {SERVING_WITHIN_S} s")


def first_answer(base_url, model):
    """Starts the backend, so that no test waits for an installation."""
    body = {"model": model, "messages": [{"role": "user", "content": "hi"}]}
    begun = time.monotonic()
    post(base_url, "/v1/chat/completions", body)
    print(f"   first answer after {time.monotonic() - begun:.1f} s", file=sys.stderr, flush=True)


def backend_pids(base_url):
    servers = get(base_url, "/api/v1/servers")["servers"]
    return [server["pid"] for server in servers if server.get("pid")]


def stop(process):
    process.send_signal(signal.SIGTERM)
    code = process.wait(timeout=STOPPED_WITHIN_S)
    if code != 0:
        raise SystemExit(f"the gateway ended with code {code} after SIGTERM")


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def post(base_url, path, body):
    return exchange(base_url, path, json.dumps(body).encode())


def get(base_url, path):
    return exchange(base_url, path, None)


def exchange(base_url, path, body):
    headers = {"Authorization": f"Bearer {API_KEY}", "Content-Type": "application/json"}
    request = urllib.request.Request(base_url + path, data=body, headers=headers)
    with urllib.request.urlopen(request, timeout=FIRST_ANSWER_WITHIN_S) as answer:
        return json.load(answer)


if __name__ == "__main__":
    if shutil.which("node") is None:
        sys.exit("node is not on PATH: install Node 20 or newer")
    main()
