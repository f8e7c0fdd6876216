"""LangChain's client for OpenAI, unmodified: by chat completions and by responses."""

import pydantic
import pytest
from conftest import ANSWER, API_KEY, BASE_URL, FAKE, MODEL, PATIENCE_S
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings

pytestmark = pytest.mark.skipif(not FAKE, reason="the demo model does not do what it is told")


@tool
def get_weather(city: str) -> str:
    """Weather of a city"""
    return f"sunny in {city}"


class Verdict(pydantic.BaseModel):
    ok: bool


@pytest.fixture(params=["chat completions", "responses"])
def model(request):
    return ChatOpenAI(
        model=MODEL,
        base_url=BASE_URL,
        api_key=API_KEY,
        max_retries=0,
        timeout=PATIENCE_S,
        use_responses_api=request.param == "responses",
    )


def test_it_is_asked_whole_and_streamed(model):
    answer = model.invoke("hi")
    assert answer.text.strip() == ANSWER
    assert answer.usage_metadata["output_tokens"] > 0
    assert "".join(piece.text for piece in model.stream("hi")).strip() == ANSWER


def test_its_tools_are_called_and_answered(model):
    question = HumanMessage("Weather in Paris? #tool")
    with_tools = model.bind_tools([get_weather])
    first = with_tools.invoke([question])
    (call,) = first.tool_calls
    assert (call["name"], call["args"]) == ("get_weather", {"city": "Paris"})
    result = ToolMessage(get_weather.invoke(call["args"]), tool_call_id=call["id"])
    second = with_tools.invoke([question, first, result])
    assert second.text == "The tool said: sunny in Paris"


def test_a_structured_answer_is_an_object(model):
    structured = model.with_structured_output(Verdict, method="json_schema")
    assert structured.invoke('#text={"ok":true}') == Verdict(ok=True)


def test_embeddings_are_made_of_text_and_not_of_another_models_tokens():
    options = {"model": "embed", "base_url": BASE_URL, "api_key": API_KEY}
    embeddings = OpenAIEmbeddings(check_embedding_ctx_length=False, **options)
    assert embeddings.embed_query("three") == pytest.approx([0.6, 0.8, 0.0, 5.0])
