"""LiteLLM as a client, unmodified: as OpenAI, as Anthropic, and by responses."""

import asyncio
import os

import pytest
from conftest import ANSWER, API_KEY, BASE_URL, FAKE, MODEL, WEATHER_TOOL, user

# Its list of prices comes with it; a newer one would be fetched from elsewhere.
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
import litellm  # noqa: E402

pytestmark = pytest.mark.skipif(not FAKE, reason="the demo model does not do what it is told")
OPENAI = {"model": f"openai/{MODEL}", "api_base": BASE_URL, "api_key": API_KEY, "max_retries": 0}
ANTHROPIC = {"model": "anthropic/claude-sonnet-x", "api_base": BASE_URL.removesuffix("/v1"), "api_key": API_KEY}


@pytest.mark.parametrize("way", [OPENAI, ANTHROPIC], ids=["openai", "anthropic"])
def test_it_is_asked_whole_streamed_and_async(way):
    answer = litellm.completion(messages=user("hi"), **way)
    assert answer.choices[0].message.content.strip() == ANSWER
    assert answer.usage.completion_tokens > 0
    chunks = list(litellm.completion(messages=user("hi"), stream=True, **way))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks).strip() == ANSWER
    later = asyncio.run(litellm.acompletion(messages=user("hi"), **way))
    assert later.choices[0].message.content.strip() == ANSWER


@pytest.mark.parametrize("way", [OPENAI, ANTHROPIC], ids=["openai", "anthropic"])
def test_a_tool_is_called(way):
    answer = litellm.completion(messages=user("Weather in Paris? #tool"), tools=[WEATHER_TOOL], **way)
    (call,) = answer.choices[0].message.tool_calls
    assert call.function.name == "get_weather" and "Paris" in call.function.arguments


def test_responses_and_embeddings_come_too():
    response = litellm.responses(input="hi", model=f"openai/{MODEL}", api_base=BASE_URL, api_key=API_KEY)
    assert response.output[-1].content[0].text.strip() == ANSWER
    embedded = litellm.embedding(model="openai/embed", input=["three"], api_base=BASE_URL, api_key=API_KEY)
    assert embedded.data[0]["embedding"] == pytest.approx([0.6, 0.8, 0.0, 5.0])


def test_what_is_wrong_is_its_own_errors():
    with pytest.raises(litellm.NotFoundError):
        litellm.completion(messages=user("hi"), **(OPENAI | {"model": "openai/no-such-model"}))
