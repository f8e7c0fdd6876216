#!/usr/bin/env python3
"""Plugins as their authors meet them, over a built gateway: every command of docs/plugins.md in the order
shown, which makes a plugin in Rust, in JavaScript and in Python; those plugins under load; and the MCP
project's conformance suite over /mcp. Ends everything it started."""

import argparse
import concurrent.futures
import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
DOCUMENT = ROOT / "docs/plugins.md"
SERVING_WITHIN_S = 60
COMMAND_WITHIN_S = 900
SCENARIO_WITHIN_S = 120
STOPPED_WITHIN_S = 60
# The tools that the document makes, and what each is called in the answer.
MADE = ("hello_rust", "hello_js", "hello_py")
CALLS = 24
SCENARIOS = (
    "server-initialize",
    "ping",
    "logging-set-level",
    "tools-list",
    "tools-call-simple-text",
    "tools-call-image",
    "tools-call-audio",
    "tools-call-embedded-resource",
    "tools-call-mixed-content",
    "tools-call-error",
    "tools-call-with-logging",
    "tools-call-with-progress",
    "json-schema-2020-12",
    "server-sse-multiple-streams",
    "dns-rebinding-protection",
)
CONFIG = """\
[server]
listen = "127.0.0.1:0"

[[profile]]
name = "none"
model = "./model"
"""


def main():
    options = arguments()
    with tempfile.TemporaryDirectory(prefix="mlx-gateway-plugins-") as folder:
        work = Path(folder)
        (work / "model").mkdir()
        (work / "config.toml").write_text(CONFIG)
        shutil.copytree(
            ROOT / "tests" / "plugins" / "test_tools", work / "plugins" / "test_tools", ignore=lambda *_: ["src"]
        )
        with gateway(options.gateway, work) as base_url:
            document(options, work)
            made_plugins(base_url)
            conformance(options, base_url, work)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gateway", required=True, help="the program under test")
    parser.add_argument("--cargo-target", required=True, help="where the plugin in Rust is built")
    parser.add_argument("--suite", required=True, help="folder with the installed conformance suite")
    parser.add_argument("--node", required=True, help="a Node that the suite runs on")
    return parser.parse_args()


def step(text):
    print(f"   {text}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def gateway(program, work):
    """A serving gateway's address. It is open, because the conformance suite knows no keys."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MLX_")}
    process = subprocess.Popen(
        [program, "serve", "--config", work / "config.toml", "--data-dir", work / "data"],
        env=environment,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    log, address = [], threading.Event()

    def read():
        for line in process.stderr:
            log.append(line)
            if "is listening on" in line:
                address.set()
        address.set()

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        address.wait(SERVING_WITHIN_S)
        found = re.search(r"listening on (http://127\.0\.0\.1:\d+)", "".join(log))
        if not found:
            raise SystemExit("the gateway does not serve")
        yield found[1]
        process.terminate()
        if process.wait(timeout=STOPPED_WITHIN_S) != 0:
            raise SystemExit(f"the gateway ended with code {process.returncode}")
    except BaseException:
        print("-- the end of the gateway's log --", *log[-60:], sep="\n", file=sys.stderr)
        raise
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        reader.join()


def document(options, work):
    """Runs every line of the document's `sh` blocks, one after the other."""
    bin = work / "bin"
    bin.mkdir()
    command = bin / "mlx-gateway"
    command.write_text(
        f'#!/bin/sh\nexec "{Path(options.gateway).resolve()}" --config "{work}/config.toml" --data-dir "{work}/data" "$@"\n'
    )
    command.chmod(0o755)
    environment = os.environ | {
        "PATH": f"{bin}:{os.environ['PATH']}",
        "CARGO_TARGET_DIR": str(Path(options.cargo_target).resolve()),
        "PIP_ONLY_BINARY": ":all:",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "npm_config_ignore_scripts": "true",
        "npm_config_audit": "false",
        "npm_config_fund": "false",
    }
    environment.pop("RUSTFLAGS", None)
    folder = work / "authors"
    folder.mkdir()
    for line in commands(DOCUMENT.read_text()):
        if line.startswith("cd "):
            folder = (folder / line.removeprefix("cd ")).resolve()
            continue
        # What is installed is what the locks beside this file say.
        if line == "npm install":
            shutil.copy(HERE / "javascript" / "package-lock.json", folder)
        if line == "sh build.sh" and (folder / "requirements.txt").exists():
            shutil.copy(HERE / "componentize.lock.txt", folder / "requirements.txt")
        begun = time.monotonic()
        done = subprocess.run(
            ["bash", "-euc", line],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMMAND_WITHIN_S,
            check=False,
        )
        step(f"{line} ({time.monotonic() - begun:.1f} s)")
        if done.returncode != 0:
            raise SystemExit(f"{line} ends with {done.returncode}:\n{done.stdout}{done.stderr}")
        if line.startswith("mlx-gateway plugins call hello_") and "Hello, Ada!" not in done.stdout:
            raise SystemExit(f"{line} says: {done.stdout}{done.stderr}")


def commands(text):
    blocks = re.findall(r"^```sh\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [command for line in lines if (command := re.sub(r"\s+#.*$", "", line).strip())]


def made_plugins(base_url):
    """The plugins that the document made are ready, and answer many callers at once."""
    plugins = {one["name"]: one for one in exchange(f"{base_url}/api/v1/plugins")["plugins"]}
    for name in MADE:
        plugin = plugins[name]
        if (plugin["state"], plugin["tools"]) != ("ready", [name]):
            raise SystemExit(f"{name} is not as it should be: {plugin}")
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda n, name=name: greet(base_url, name, f"guest {n}"), range(CALLS)))
        if answers != [f"Hello, guest {n}!" for n in range(CALLS)]:
            raise SystemExit(f"{name} answers {answers}")
        after = exchange(f"{base_url}/api/v1/plugins/{name}")
        step(
            f"{name}: {after['size_bytes']} bytes, loaded in {plugin['load_ms']:.0f} ms, "
            f"{after['calls']} calls of {after['mean_ms']:.1f} ms"
        )
        if after["errors"] or after["failures"]:
            raise SystemExit(f"{name} had failures: {after}")


def greet(base_url, tool, who):
    answer = exchange(f"{base_url}/api/v1/tools/{tool}/call", {"arguments": {"who": who}})
    return answer["content"][0]["text"]


def conformance(options, base_url, work):
    """Each scenario of the suite that a server with tools alone has to pass."""
    program = Path(options.suite) / "node_modules" / "@modelcontextprotocol" / "conformance" / "dist" / "index.js"
    failed = []
    for scenario in SCENARIOS:
        done = subprocess.run(
            [options.node, program, "server", "--url", f"{base_url}/mcp", "--scenario", scenario],
            cwd=work,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SCENARIO_WITHIN_S,
            check=False,
        )
        result = re.search(r"Passed: (\d+)/(\d+), (\d+) failed", done.stdout)
        good = done.returncode == 0 and result and int(result[1]) == int(result[2]) > 0
        step(f"conformance: {scenario}: {result[0] if result else 'no result'}")
        if not good:
            failed.append(scenario)
            print(done.stdout, done.stderr, file=sys.stderr)
    if failed:
        raise SystemExit(f"conformance scenarios failed: {', '.join(failed)}")


def exchange(url, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, headers={"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=SERVING_WITHIN_S) as answer:
        return json.load(answer)


if __name__ == "__main__":
    main()
