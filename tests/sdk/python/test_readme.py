"""The commands and the client code in the README work, against a real backend with the demo model."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import API_KEY, BASE_URL, FAKE, PATIENCE_S

README = Path(__file__).resolve().parents[3] / "README.md"
GATEWAY = os.environ["SDK_GATEWAY"]
JS = Path(__file__).resolve().parents[1] / "js"

pytestmark = pytest.mark.skipif(FAKE, reason="the README's profile is the demo model")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", README.read_text(), re.DOTALL | re.MULTILINE)


def pointed_here(text):
    """The same for the gateway under test, which listens elsewhere and wants a key."""
    return text.replace("http://127.0.0.1:10242/v1", BASE_URL).replace(
        "not needed on this machine", API_KEY
    )


def commands():
    lines = "\n".join(blocks("sh")).replace("\\\n", " ").splitlines()
    return [command for line in lines if (command := re.sub(r"\s+#.*$", "", line).strip())]


def gateway_commands():
    return [command for command in commands() if command.startswith("mlx-gateway ")]


def test_the_commands_for_the_gateway_succeed_in_the_order_shown():
    assert len(gateway_commands()) > 5
    for command in gateway_commands():
        options = ["--data-dir", os.environ["SDK_DATA_DIR"], "--config", os.environ["SDK_CONFIG"]]
        line = f'"$GATEWAY" "$@" {command.removeprefix("mlx-gateway ")}'
        done = subprocess.run(
            ["bash", "-c", line, "bash", *options],
            env={"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), "GATEWAY": GATEWAY},
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        assert done.stdout.strip() or done.stderr.strip(), f"{command} says nothing"


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl on this machine")
def test_the_curl_commands_stream_an_answer():
    (command,) = [command for command in commands() if command.startswith("curl ")]
    done = subprocess.run(
        ["bash", "-c", f'{pointed_here(command)} -sS --fail -H "Authorization: Bearer {API_KEY}"'],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=True,
    )
    assert done.stdout.endswith("data: [DONE]\n\n")


def test_the_python_code_prints_an_answer(capsys):
    (code,) = blocks("python")
    exec(compile(pointed_here(code), "README.md", "exec"), {})
    assert "says exactly these words." in capsys.readouterr().out


def test_the_javascript_code_prints_an_answer():
    (code,) = blocks("js")
    done = subprocess.run(
        [os.environ.get("SDK_NODE", "node"), "--input-type=module", "--eval", pointed_here(code)],
        cwd=JS,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=True,
    )
    assert "says exactly these words." in done.stdout
