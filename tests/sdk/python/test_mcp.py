"""The official MCP client for Python over /mcp: the protocol of today, which has no sessions, and the one
before it, which has. run.py puts the plugin test_tools beside the configuration; it runs one call at a
time, so that a call that was not stopped would keep all later ones waiting."""

import base64
import os
import re
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from conftest import API_KEY, BASE_URL, PATIENCE_S
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client

URL = BASE_URL.removesuffix("/v1") + "/mcp"
PLUGIN = Path(os.environ["SDK_CONFIG"]).parent / "plugins" / "test_tools" / "plugin.toml"
STARTED = ["Tool execution started", "Tool processing data", "Tool execution completed"]

pytestmark = pytest.mark.filterwarnings("ignore")
modes = pytest.mark.parametrize("mode, version", [("auto", "2026-07-28"), ("legacy", "2025-11-25")])


@asynccontextmanager
async def connected(mode, key=API_KEY, **options):
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    async with create_mcp_http_client(headers=headers) as http:
        transport = streamable_http_client(URL, http_client=http)
        async with Client(transport, mode=mode, read_timeout_seconds=PATIENCE_S, **options) as client:
            yield client


def run(test):
    async def bounded():
        with anyio.fail_after(PATIENCE_S):
            await test()

    anyio.run(bounded)


@modes
def test_tools_are_listed_and_called(mode, version):
    async def test():
        async with connected(mode) as client:
            assert client.protocol_version == version
            assert client.server_info.name == "mlx-gateway"
            tools = {tool.name: tool for tool in (await client.list_tools()).tools}
            assert {"calculator", "get_weather", "test_simple_text"} <= set(tools)
            assert tools["calculator"].input_schema["required"] == ["expression"]
            result = await client.call_tool("calculator", {"expression": "0.1 + 0.2"})
            assert (result.content[0].text, result.is_error) == ("0.3", False)

    run(test)


@modes
def test_a_tool_that_fails_is_a_result_and_an_unknown_one_an_error(mode, version):
    async def test():
        async with connected(mode) as client:
            for name, arguments in [("calculator", {"expression": "1 / 0"}), ("calculator", {}), ("crash", {})]:
                result = await client.call_tool(name, arguments)
                assert result.is_error and result.content[0].text, name
            with pytest.raises(MCPError, match="there is no tool"):
                await client.call_tool("nothing", {})

    run(test)


@modes
def test_contents_of_every_kind_arrive(mode, version):
    async def test():
        async with connected(mode) as client:
            image = (await client.call_tool("test_image_content", {})).content[0]
            assert image.mime_type == "image/png"
            assert base64.b64decode(image.data).startswith(b"\x89PNG")
            sound = (await client.call_tool("test_audio_content", {})).content[0]
            assert base64.b64decode(sound.data).startswith(b"RIFF")
            mixed = (await client.call_tool("test_multiple_content_types", {})).content
            assert [content.type for content in mixed] == ["text", "image", "resource"]
            assert mixed[2].resource.uri == "test://mixed-content-resource"

    run(test)


@modes
def test_progress_and_messages_come_while_a_tool_runs(mode, version):
    heard, reported = [], []

    async def hear(message):
        heard.append(message.data)

    async def report(progress, total, message):
        reported.append((progress, total))

    async def test():
        async with connected(mode, logging_callback=hear, log_level="info") as client:
            await client.call_tool("test_tool_with_progress", {}, progress_callback=report)
            await client.call_tool("test_tool_with_logging", {})
            while len(heard) < len(STARTED):
                await anyio.sleep(0.01)

    run(test)
    assert reported == [(0, 100), (50, 100), (100, 100)]
    assert heard == STARTED


def test_without_asking_nobody_hears_messages_in_the_protocol_of_today():
    heard = []

    async def hear(message):
        heard.append(message.data)

    async def test():
        async with connected("auto", logging_callback=hear) as client:
            await client.call_tool("test_tool_with_logging", {})

    run(test)
    assert heard == []


@modes
def test_a_call_that_is_given_up_stops(mode, version):
    async def test():
        async with connected(mode) as client:
            with anyio.move_on_after(0.5):
                await client.call_tool("sleep", {})
            result = await client.call_tool("test_simple_text", {})
            assert not result.is_error

    run(test)


def test_a_change_of_the_plugins_is_told():
    async def test():
        async with connected("auto") as client, client.listen(tools_list_changed=True) as changes:
            text = PLUGIN.read_text()
            count = int(re.search(r"version = \"1\.0\.(\d+)\"", text)[1])
            PLUGIN.write_text(text.replace(f'"1.0.{count}"', f'"1.0.{count + 1}"'))
            async for _ in changes:
                break
            assert "calculator" in {tool.name for tool in (await client.list_tools()).tools}

    run(test)


@modes
def test_without_a_valid_key_nobody_comes_in(mode, version):
    for key in (None, "wrong"):

        async def test(key=key):
            async with connected(mode, key=key) as client:
                await client.list_tools()

        with pytest.raises(BaseException) as refused:
            run(test)
        assert not isinstance(refused.value, TimeoutError)
