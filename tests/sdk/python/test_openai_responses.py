"""Responses by the official Python client, unmodified and with strict validation, over the fake backend and
over a real one."""

import asyncio
import json
import time

import openai
import pydantic
import pytest
from conftest import ANSWER, API_KEY, BASE_URL, FAKE, MODEL, PATIENCE_S, make_client, record_of

QUICK = {"chat_template_kwargs": {"enable_thinking": False}}
OWN_TOOL = {
    "type": "function",
    "name": "get_weather",
    "description": "Weather of a city",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
    "strict": True,
}
OURS = {
    "type": "mcp",
    "server_label": "mlx-gateway",
    "allowed_tools": ["calculator"],
    "require_approval": "never",
}


@pytest.fixture
def strict():
    with make_client(_strict_response_validation=True) as client:
        yield client


def test_a_response_is_whole_counted_and_kept(strict):
    response = strict.responses.create(
        model=MODEL, input="hi", instructions="Be brief.", metadata={"a": "b"}, extra_body=QUICK
    )
    assert response.output_text.strip() == ANSWER
    assert (response.status, response.error, response.metadata) == ("completed", None, {"a": "b"})
    usage = response.usage
    assert usage.input_tokens > 0 and usage.output_tokens > 0
    assert usage.total_tokens == usage.input_tokens + usage.output_tokens
    assert strict.responses.retrieve(response.id) == response
    record = record_of(response._request_id, "completed")
    assert record["endpoint"] == "/v1/responses"
    assert record["completion_tokens"] == usage.output_tokens

    items = list(strict.responses.input_items.list(response.id))
    assert [item.content[0].text for item in items] == ["hi"]
    with pytest.raises(openai.BadRequestError, match="in the background"):
        strict.responses.cancel(response.id)
    strict.responses.delete(response.id)
    with pytest.raises(openai.NotFoundError):
        strict.responses.retrieve(response.id)


def test_a_stream_is_events_in_order_that_add_up_to_the_response(strict):
    with strict.responses.create(model=MODEL, input="hi", stream=True, extra_body=QUICK) as stream:
        events = list(stream)
    assert [event.sequence_number for event in events] == list(range(len(events)))
    kinds = [event.type for event in events]
    assert kinds[:2] == ["response.created", "response.in_progress"]
    assert kinds[-1] == "response.completed"
    words = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert len(words) > 1 and "".join(words).strip() == ANSWER
    assert events[-1].response.output_text == "".join(words)
    assert strict.responses.retrieve(events[-1].response.id) == events[-1].response


def test_a_response_is_made_in_the_background_and_polled_for(strict):
    begun = strict.responses.create(model=MODEL, input="hi", background=True, extra_body=QUICK)
    assert (begun.status, begun.background, begun.output) == ("queued", True, [])
    until = time.monotonic() + PATIENCE_S
    response = begun
    while response.status in ("queued", "in_progress"):
        assert time.monotonic() < until, response
        response = strict.responses.retrieve(begun.id)
    assert (response.status, response.output_text.strip()) == ("completed", ANSWER)
    assert strict.responses.cancel(begun.id) == response
    record = record_of(begun._request_id, "completed")
    assert record["completion_tokens"] == response.usage.output_tokens


def test_a_background_stream_is_left_and_taken_up_again(strict):
    with strict.responses.create(
        model=MODEL, input="hi", background=True, stream=True, extra_body=QUICK
    ) as stream:
        events = [next(stream) for _ in range(3)]
    assert [event.type for event in events] == ["response.created", "response.queued", "response.in_progress"]
    response = events[0].response
    with strict.responses.retrieve(response.id, stream=True, starting_after=2) as stream:
        events += list(stream)
    assert [event.sequence_number for event in events] == list(range(len(events)))
    words = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert "".join(words).strip() == ANSWER and events[-1].type == "response.completed"
    assert strict.responses.retrieve(response.id) == events[-1].response


def test_a_background_response_is_cancelled(strict):
    prompt = "#chunks=500 #interval-us=20000" if FAKE else "hi #loop"
    response_id = None
    with strict.responses.create(
        model=MODEL, input=prompt, background=True, stream=True, extra_body=QUICK
    ) as stream:
        for event in stream:
            if event.type == "response.output_text.delta":
                break
            if hasattr(event, "response"):
                response_id = event.response.id
    cancelled = strict.responses.cancel(response_id)
    assert cancelled.status == "cancelled" and cancelled.output_text
    assert strict.responses.retrieve(response_id).status == "cancelled"


def test_the_stream_helper_gathers_the_response(client):
    with client.responses.stream(model=MODEL, input="hi", extra_body=QUICK) as stream:
        words = [event.delta for event in stream if event.type == "response.output_text.delta"]
        response = stream.get_final_response()
    assert "".join(words).strip() == response.output_text.strip() == ANSWER


def test_a_conversation_goes_on_from_what_is_kept(strict):
    first = strict.responses.create(model=MODEL, input="hi", extra_body=QUICK)
    second = strict.responses.create(
        model=MODEL, input="And?", previous_response_id=first.id, extra_body=QUICK
    )
    assert second.previous_response_id == first.id
    assert second.usage.input_tokens > first.usage.input_tokens
    by_hand = [{"role": "user", "content": "hi"}, *first.to_dict()["output"], {"role": "user", "content": "And?"}]
    third = strict.responses.create(model=MODEL, input=by_hand, store=False, extra_body=QUICK)
    assert third.usage.input_tokens == second.usage.input_tokens
    with pytest.raises(openai.NotFoundError):
        strict.responses.retrieve(third.id)
    with pytest.raises(openai.BadRequestError) as caught:
        strict.responses.create(model=MODEL, input="hi", previous_response_id="resp_nope")
    assert caught.value.code == "previous_response_not_found"


def test_a_call_of_the_clients_own_tool_goes_to_the_client_and_back(strict):
    question = "Weather in Paris? #tool" if FAKE else "Weather in Paris?"
    first = strict.responses.create(model=MODEL, input=question, tools=[OWN_TOOL])
    (call,) = [item for item in first.output if item.type == "function_call"]
    assert (call.name, json.loads(call.arguments)) == ("get_weather", {"city": "Paris"})
    result = {"type": "function_call_output", "call_id": call.call_id, "output": '{"celsius": 21}'}
    second = strict.responses.create(
        model=MODEL, input=[result], tools=[OWN_TOOL], previous_response_id=first.id
    )
    told = 'The tool said: {"celsius": 21}' if FAKE else ANSWER
    assert second.output_text.strip() == told


def test_a_streamed_call_comes_with_its_arguments(strict):
    question = "Weather in Paris? #tool" if FAKE else "Weather in Paris?"
    with strict.responses.create(model=MODEL, input=question, tools=[OWN_TOOL], stream=True) as stream:
        events = list(stream)
    (done,) = [e for e in events if e.type == "response.function_call_arguments.done"]
    assert json.loads(done.arguments) == {"city": "Paris"}
    deltas = [e.delta for e in events if e.type == "response.function_call_arguments.delta"]
    assert "".join(deltas) == done.arguments


@pytest.mark.skipif(not FAKE, reason="the demo model cannot be told to think")
@pytest.mark.parametrize("stream", [False, True])
def test_thinking_is_an_item_of_its_own(strict, stream):
    response = strict.responses.create(model=MODEL, input="hi #think=3", stream=stream)
    if stream:
        events = list(response)
        thoughts = [e.delta for e in events if e.type == "response.reasoning_text.delta"]
        assert "".join(thoughts) == "t0 t1 t2"
        response = events[-1].response
    assert [item.type for item in response.output] == ["reasoning", "message"]
    assert response.output[0].content[0].text == "t0 t1 t2"
    summed = strict.responses.create(
        model=MODEL, input="hi #think=3", reasoning={"effort": "low", "summary": "auto"}
    )
    assert summed.output[0].summary[0].text == "t0 t1 t2"


@pytest.mark.skipif(not FAKE, reason="the demo model calls no tools of the gateway")
@pytest.mark.parametrize("stream", [False, True])
def test_the_gateways_tools_run_within_the_response(strict, stream):
    prompt = '#tool #args={"expression":"6*7"}'
    response = strict.responses.create(model=MODEL, input=prompt, tools=[OURS], stream=stream)
    if stream:
        events = list(response)
        kinds = [event.type for event in events]
        begun = kinds.index("response.mcp_call.in_progress")
        assert begun < kinds.index("response.mcp_call_arguments.done") < kinds.index("response.mcp_call.completed")
        response = events[-1].response
    assert [item.type for item in response.output] == ["mcp_list_tools", "mcp_call", "message"]
    assert (response.output[1].name, response.output[1].output) == ("calculator", "42")
    assert response.output_text == "The tool said: 42"


@pytest.mark.skipif(not FAKE, reason="the demo model writes no JSON")
def test_structured_answers_are_parsed(client):
    class Verdict(pydantic.BaseModel):
        ok: bool

    response = client.responses.parse(model=MODEL, input='#text={"ok":true}', text_format=Verdict)
    assert response.output_parsed == Verdict(ok=True)
    with client.responses.stream(model=MODEL, input='#text={"ok":true}', text_format=Verdict) as stream:
        assert stream.get_final_response().output_parsed == Verdict(ok=True)


def test_an_answer_that_meets_its_limit_is_incomplete(strict):
    response = strict.responses.create(model=MODEL, input="hi", max_output_tokens=3, extra_body=QUICK)
    assert (response.status, response.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    with strict.responses.create(
        model=MODEL, input="hi", max_output_tokens=3, stream=True, extra_body=QUICK
    ) as stream:
        assert list(stream)[-1].type == "response.incomplete"


def test_what_is_wrong_is_raised_as_the_clients_own_errors(client):
    with pytest.raises(openai.NotFoundError):
        client.responses.create(model="no-such-model", input="hi")
    with pytest.raises(openai.BadRequestError) as caught:
        client.responses.create(model=MODEL, input="hi", extra_body={"colour": "red"})
    assert (caught.value.param, caught.value.code) == ("colour", "unknown_parameter")
    with pytest.raises(openai.BadRequestError, match="background"):
        client.responses.create(model=MODEL, input="hi", background=True, store=False)


@pytest.mark.skipif(not FAKE, reason="a real backend does not fail on demand")
def test_a_failure_within_a_stream_ends_it_as_failed(strict):
    prompt = "hi #chunks=5 #stream-error=500 #stream-error-after=2"
    with strict.responses.create(model=MODEL, input=prompt, stream=True) as stream:
        last = list(stream)[-1]
    assert (last.type, last.response.error.code) == ("response.failed", "server_error")


def test_tokens_are_counted(strict):
    counted = strict.responses.input_tokens.count(model=MODEL, input="hi")
    assert counted.object == "response.input_tokens" and counted.input_tokens > 0


def test_the_async_client_streams_too():
    async def words():
        async with openai.AsyncOpenAI(
            base_url=BASE_URL, api_key=API_KEY, timeout=PATIENCE_S, _strict_response_validation=True
        ) as client:
            stream = await client.responses.create(model=MODEL, input="hi", stream=True, extra_body=QUICK)
            return [e.delta async for e in stream if e.type == "response.output_text.delta"]

    assert "".join(asyncio.run(words())).strip() == ANSWER
