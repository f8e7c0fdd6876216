"""Calls every operation of the admin API with what its own description allows, and more: no answer may be
a 5xx, and no status may be one that the description does not know. Bounded to about a minute."""

import argparse
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import threading

KEY = "api-test-environment-key-0123456789"
# Real work, or without an end: installations, downloads, streams; and what ends the caller's own session.
LEFT_OUT = r"/(engines/\{name\}/.*|downloads.*|events|servers/\{profile\}/(start|restart|logs)|models/search|hub.*)$"
START_WITHIN_S = 30
RUN_WITHIN_S = 240
EXAMPLES = 15

CONFIG = """
[server]
listen = "127.0.0.1:0"

[hub]
endpoint = "http://127.0.0.1:9"

[[profile]]
name = "demo"
model = "builtin:demo"
"""


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--gateway", required=True)
    parser.add_argument("--schemathesis", required=True)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        (folder / "config.toml").write_text(CONFIG)
        environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "MLX_GATEWAY_API_KEY": KEY}
        gateway = subprocess.Popen(
            [asked.gateway, "serve", "--config", folder / "config.toml", "--data-dir", folder / "data"],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            sys.exit(explore(asked.schemathesis, address(gateway), folder))
        finally:
            gateway.terminate()
            gateway.wait(timeout=START_WITHIN_S)


def address(gateway):
    for line in gateway.stderr:
        found = re.search(r"listening on (http://\S+)", line)
        if found:
            # What it goes on to say must not fill the pipe.
            threading.Thread(target=gateway.stderr.read, daemon=True).start()
            return found.group(1)
    sys.exit("the gateway did not start")


def explore(schemathesis, url, folder):
    command = [
        schemathesis, "run", f"{url}/api/openapi.json",
        "--header", f"Authorization: Bearer {KEY}",
        "--checks", "not_a_server_error,status_code_conformance",
        "--include-path-regex", "^/api/v1/",
        "--exclude-path-regex", LEFT_OUT,
        "--max-examples", str(EXAMPLES),
        "--phases", "examples,coverage,fuzzing",
        "--request-timeout", "10",
        "--seed", "1",
        "--no-color",
    ]
    return subprocess.run(command, cwd=folder, timeout=RUN_WITHIN_S, check=False).returncode


if __name__ == "__main__":
    main()
