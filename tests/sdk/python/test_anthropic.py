"""The official Anthropic client, unmodified: messages whole and streamed, tools, errors, and the count of tokens."""

import asyncio

import anthropic
import pytest
from conftest import ANSWER, API_KEY, BASE_URL, FAKE, MODEL, PATIENCE_S, user

TOOL = {
    "name": "get_weather",
    "description": "Weather of a city",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
    },
}
QUICK = {"thinking": {"type": "disabled"}}


def options(**changes):
    base = {"base_url": BASE_URL.removesuffix("/v1"), "api_key": API_KEY, "max_retries": 0, "timeout": PATIENCE_S}
    return base | changes


@pytest.fixture
def claude():
    with anthropic.Anthropic(**options(_strict_response_validation=True)) as client:
        yield client


def text_of(message):
    return "".join(block.text for block in message.content if block.type == "text")


def test_a_message_is_whole_and_counted(claude):
    message = claude.messages.create(model=MODEL, max_tokens=200, messages=user("hi"), **QUICK)
    assert message.type == "message" and message.role == "assistant" and message.model == MODEL
    assert text_of(message).strip() == ANSWER
    assert message.stop_reason == "end_turn"
    assert message.usage.output_tokens > 0


def test_thinking_is_a_block_of_its_own(claude):
    message = claude.messages.create(
        model=MODEL, max_tokens=2000, messages=user("hi #think=4" if FAKE else "hi"),
        thinking={"type": "enabled", "budget_tokens": 1024},
    )
    assert message.content[0].type == "thinking" and message.content[0].thinking
    assert text_of(message).strip()


def test_a_stream_adds_up_to_the_message(claude):
    with claude.messages.stream(model=MODEL, max_tokens=200, messages=user("hi"), **QUICK) as stream:
        pieces = list(stream.text_stream)
        message = stream.get_final_message()
    assert len(pieces) > 1 and "".join(pieces).strip() == ANSWER
    assert text_of(message).strip() == ANSWER
    assert message.stop_reason == "end_turn" and message.usage.output_tokens > 0


def test_an_asynchronous_stream_too():
    async def ask():
        async with anthropic.AsyncAnthropic(**options()) as client:
            async with client.messages.stream(model=MODEL, max_tokens=200, messages=user("hi"), **QUICK) as stream:
                return [text async for text in stream.text_stream]

    assert "".join(asyncio.run(ask())).strip() == ANSWER


def test_a_tool_is_called_and_its_result_is_taken(claude):
    asked = user("Weather in Paris? #tool=get_weather" if FAKE else "Weather in Paris?")
    message = claude.messages.create(model=MODEL, max_tokens=500, messages=asked, tools=[TOOL])
    assert message.stop_reason == "tool_use"
    call = message.content[-1]
    assert call.type == "tool_use" and call.name == "get_weather" and isinstance(call.input, dict)
    result = {"type": "tool_result", "tool_use_id": call.id, "content": [{"type": "text", "text": "sunny"}]}
    history = [*asked, {"role": "assistant", "content": message.content}, {"role": "user", "content": [result]}]
    answer = claude.messages.create(model=MODEL, max_tokens=500, messages=history)
    assert text_of(answer).strip()


def test_a_stop_sequence_is_named_and_never_shown(claude):
    message = claude.messages.create(
        model=MODEL, max_tokens=200, messages=user("hi"), stop_sequences=["real backend"], **QUICK
    )
    assert text_of(message).strip() == "Hello! This tiny model runs on the"
    assert (message.stop_reason, message.stop_sequence) == ("stop_sequence", "real backend")


def test_tokens_are_counted(claude):
    def count(text):
        return claude.messages.count_tokens(model=MODEL, messages=user(text)).input_tokens

    assert 0 < count("hi") < count("hi " * 200)


def test_errors_are_the_clients_own(claude):
    with pytest.raises(anthropic.NotFoundError):
        claude.messages.create(model="no-such-model", max_tokens=9, messages=user("hi"))
    with pytest.raises(anthropic.BadRequestError):
        claude.messages.create(model=MODEL, max_tokens=0, messages=user("hi"))
    with anthropic.Anthropic(**options(api_key="wrong")) as stranger, pytest.raises(anthropic.AuthenticationError):
        stranger.messages.create(model=MODEL, max_tokens=9, messages=user("hi"))
