#!/usr/bin/env python3
"""Coding assistants for the terminal, unmodified, against the gateway: each writes a file by a tool call that
the scripted backend makes, and tells what came of it. The way to everything but the gateway is closed to them."""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "sdk"))
import run as sdk  # noqa: E402

WITHIN_S = 120
NOWHERE = "http://127.0.0.1:9"
COMMAND = "echo\\u0020made\\u0020>\\u0020made.txt"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gateway", required=True, help="the program under test")
    parser.add_argument("--fake", required=True, help="the fake_mlx_server program")
    parser.add_argument("--bin", default=HERE / "node_modules/.bin", help="where the assistants lie")
    parser.add_argument("assistants", nargs="*", help="only these; else all")
    options = parser.parse_args()
    failed = []
    with tempfile.TemporaryDirectory(prefix="mlx-gateway-assistants-") as folder:
        work = sdk.make_work(Path(folder, "gateway"), sdk.FAKE_CONFIG.format(fake=json.dumps(options.fake)))
        with sdk.gateway(options.gateway, work, work / "data") as base_url:
            for name in options.assistants or sorted(ASSISTANTS):
                if not writes_a_file(name, Path(options.bin), base_url, Path(folder, name)):
                    failed.append(name)
    if failed:
        sys.exit(f"assistants that did not do their work: {', '.join(failed)}")


def writes_a_file(name, programs, base_url, folder):
    project, home = folder / "project", folder / "home"
    project.mkdir(parents=True)
    home.mkdir()
    arguments, settings, endpoint = ASSISTANTS[name](base_url, project, home)
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "HTTP_PROXY": NOWHERE,
        "HTTPS_PROXY": NOWHERE,
        "NO_PROXY": "127.0.0.1",
    }
    began = time.monotonic()
    said, in_time = run_within(WITHIN_S, [programs / name, *arguments], project, environment | settings)
    made = project / "made.txt"
    asked = {r["endpoint"] for r in sdk.get(base_url, "/api/v1/requests?limit=5")["requests"]}
    good = in_time and made.exists() and made.read_text().strip() == "made"
    good = good and b"The tool said" in said and endpoint in asked
    took = f"{time.monotonic() - began:.1f} s" if in_time else f"not done within {WITHIN_S} s"
    print(f"{'ok  ' if good else 'FAIL'} {name} over {endpoint} ({took})", file=sys.stderr, flush=True)
    if not good:
        print(said.decode(errors="replace")[-4000:], file=sys.stderr)
    return good


def run_within(seconds, command, folder, environment):
    """What a program says, and whether it ended by itself in time; what it started ends with it."""
    program = subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        said, _ = program.communicate(timeout=seconds)
        return said, True
    except subprocess.TimeoutExpired:
        os.killpg(program.pid, signal.SIGKILL)
        said, _ = program.communicate()
        return said, False


def claude(base_url, _project, _home):
    arguments = json.dumps({"command": "X", "description": "writes"}, separators=(",", ":"))
    prompt = f"#call=Bash #args={arguments.replace('X', COMMAND)}"
    settings = {
        "ANTHROPIC_BASE_URL": base_url,
        "ANTHROPIC_API_KEY": sdk.API_KEY,
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "DISABLE_AUTOUPDATER": "1",
    }
    return ["-p", prompt, "--allowedTools", "Bash"], settings, "/v1/messages"


def codex(base_url, _project, home):
    (home / "config.toml").write_text(
        'model = "fake"\nmodel_provider = "gateway"\n[model_providers.gateway]\nname = "gateway"\n'
        f'base_url = "{base_url}/v1"\nenv_key = "GATEWAY_KEY"\nwire_api = "responses"\n'
    )
    prompt = '#call=exec_command #args={"cmd":"' + COMMAND + '"}'
    arguments = ["exec", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox", prompt]
    return arguments, {"CODEX_HOME": str(home), "GATEWAY_KEY": sdk.API_KEY}, "/v1/responses"


def opencode(base_url, project, _home):
    provider = {
        "npm": "@ai-sdk/openai-compatible",
        "name": "gateway",
        "options": {"baseURL": f"{base_url}/v1", "apiKey": sdk.API_KEY},
        "models": {"fake": {"name": "fake"}},
    }
    config = {
        "provider": {"gateway": provider},
        "model": "gateway/fake",
        "small_model": "gateway/fake",
        "autoupdate": False,
        "share": "disabled",
    }
    (project / "opencode.json").write_text(json.dumps(config))
    call = '#args={"command":"' + COMMAND + '","description":"writes"}'
    return ["run", "-m", "gateway/fake", "please", "#call=bash", call], {}, "/v1/chat/completions"


ASSISTANTS = {"claude": claude, "codex": codex, "opencode": opencode}

if __name__ == "__main__":
    main()
