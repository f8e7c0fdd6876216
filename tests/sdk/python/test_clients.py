"""Each snippet of docs/clients.md works as it stands there, against the demo model on a real backend."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import API_KEY, BASE_URL, FAKE, PATIENCE_S

DOCUMENT = Path(__file__).resolve().parents[3] / "docs/clients.md"
JS = Path(__file__).resolve().parents[1] / "js"
SAYS = "says exactly these words."

pytestmark = pytest.mark.skipif(FAKE, reason="the document's profile is the demo model")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", DOCUMENT.read_text(), re.DOTALL | re.MULTILINE)


def pointed_here(text):
    """The same for the gateway under test, which listens elsewhere and wants a key of its own."""
    here = BASE_URL.removesuffix("/v1")
    return re.sub(r"\bKEY\b", API_KEY, text.replace("http://127.0.0.1:10242", here))


def printed(command, **options):
    return subprocess.run(
        command, capture_output=True, text=True, timeout=PATIENCE_S, check=True, **options
    ).stdout


def test_every_language_is_there():
    assert [len(blocks(language)) for language in ("sh", "python", "js")] == [1, 3, 2]


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl on this machine")
def test_the_curl_commands_are_answered():
    (block,) = blocks("sh")
    chat, models = re.findall(r"^curl .*$", block.replace("\\\n", " "), re.MULTILINE)
    assert SAYS in printed(["bash", "-c", pointed_here(chat) + " -sS --fail"])
    assert '"demo"' in printed(["bash", "-c", pointed_here(models) + " -sS --fail"])


@pytest.mark.parametrize("code", blocks("python"), ids=["openai", "anthropic", "mcp"])
def test_the_python_code_prints_an_answer(code):
    expected = "42" if "mcp" in code else SAYS
    environment = os.environ | {"NO_PROXY": "127.0.0.1"}
    assert expected in printed([sys.executable, "-c", pointed_here(code)], env=environment)


@pytest.mark.parametrize("code", blocks("js"), ids=["openai", "anthropic"])
def test_the_javascript_code_prints_an_answer(code):
    node = os.environ.get("SDK_NODE", "node")
    assert SAYS in printed([node, "--input-type=module", "--eval", pointed_here(code)], cwd=JS)
