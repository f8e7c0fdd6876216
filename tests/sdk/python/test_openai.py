"""The official Python client, unmodified, over the fake backend and over a real one."""

import asyncio
import base64
import json

import openai
import pytest
from conftest import ANSWER, FAKE, MODEL, PATIENCE_S, WEATHER_TOOL, make_client, record_of, user

QUICK = {"chat_template_kwargs": {"enable_thinking": False}}


def test_an_answer_is_a_whole_completion(client):
    completion = client.chat.completions.create(model=MODEL, messages=user("hi"), extra_body=QUICK)
    assert completion.object == "chat.completion"
    assert completion.model == MODEL
    choice = completion.choices[0]
    assert choice.message.role == "assistant"
    assert choice.message.content.strip() == ANSWER
    assert choice.finish_reason == "stop"
    usage = completion.usage
    assert usage.prompt_tokens > 0 and usage.completion_tokens > 0
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens


def test_a_stream_is_chunks_that_name_the_role_once_and_end_once(client):
    with client.chat.completions.create(
        model=MODEL, messages=user("hi"), stream=True, extra_body=QUICK
    ) as stream:
        chunks = list(stream)
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
    assert {chunk.model for chunk in chunks} == {MODEL}
    assert len({chunk.id for chunk in chunks}) == 1
    deltas = [choice.delta for chunk in chunks for choice in chunk.choices]
    assert [delta.role for delta in deltas if delta.role] == ["assistant"]
    assert "".join(delta.content or "" for delta in deltas).strip() == ANSWER
    assert len([delta for delta in deltas if delta.content]) > 1, "it came in pieces"
    ends = [choice.finish_reason for chunk in chunks for choice in chunk.choices]
    assert [end for end in ends if end] == ["stop"]
    assert all(chunk.usage is None for chunk in chunks), "usage was not asked for"


def test_usage_of_a_stream_comes_last_and_alone_when_it_is_asked_for(client):
    stream = client.chat.completions.create(
        model=MODEL, messages=user("hi"), stream=True, stream_options={"include_usage": True}
    )
    *before, last = list(stream)
    assert last.choices == []
    assert last.usage.completion_tokens > 0
    assert last.usage.total_tokens == last.usage.prompt_tokens + last.usage.completion_tokens
    assert all(chunk.usage is None for chunk in before)
    assert all(chunk.choices for chunk in before)


def test_the_stream_helper_tells_events_and_gathers_the_completion(client):
    with client.chat.completions.stream(
        model=MODEL, messages=user("hi"), stream_options={"include_usage": True}, extra_body=QUICK
    ) as stream:
        deltas = [event.delta for event in stream if event.type == "content.delta"]
        completion = stream.get_final_completion()
    assert "".join(deltas).strip() == ANSWER
    assert completion.choices[0].message.content.strip() == ANSWER
    assert completion.choices[0].message.role == "assistant"
    assert completion.choices[0].finish_reason == "stop"
    assert completion.usage.completion_tokens > 0


def test_the_async_client_runs_many_at_once():
    async def all_of_them():
        async with openai.AsyncOpenAI(**options()) as client:
            return await asyncio.gather(*(one(client, n) for n in range(4)))

    async def one(client, number):
        if number % 2 == 0:
            answer = await client.chat.completions.create(
                model=MODEL, messages=user("hi"), extra_body=QUICK
            )
            return answer.choices[0].message.content
        stream = await client.chat.completions.create(
            model=MODEL, messages=user("hi"), stream=True, extra_body=QUICK
        )
        return "".join(
            [c.choices[0].delta.content or "" async for c in stream if c.choices]
        )

    def options():
        made = make_client()
        return {"base_url": made.base_url, "api_key": made.api_key, "timeout": PATIENCE_S}

    assert {answer.strip() for answer in asyncio.run(all_of_them())} == {ANSWER}


def test_a_call_of_the_clients_own_tool_goes_to_the_client_and_back(client):
    question = user("Weather in Paris? #tool" if FAKE else "Weather in Paris?")
    first = client.chat.completions.create(model=MODEL, messages=question, tools=[WEATHER_TOOL])
    choice = first.choices[0]
    assert choice.finish_reason == "tool_calls"
    (call,) = choice.message.tool_calls
    assert call.type == "function" and call.id
    assert call.function.name == "get_weather"
    assert json.loads(call.function.arguments) == {"city": "Paris"}

    result = {"role": "tool", "tool_call_id": call.id, "content": '{"celsius": 21}'}
    history = [*user("Weather in Paris?"), choice.message.model_dump(exclude_none=True), result]
    second = client.chat.completions.create(model=MODEL, messages=history, tools=[WEATHER_TOOL])
    assert second.choices[0].finish_reason == "stop"
    told = 'The tool said: {"celsius": 21}' if FAKE else ANSWER
    assert second.choices[0].message.content.strip() == told


def test_the_stream_helper_gathers_a_tool_call(client):
    with client.chat.completions.stream(
        model=MODEL,
        messages=user("Weather in Paris? #tool" if FAKE else "Weather in Paris?"),
        tools=[WEATHER_TOOL],
    ) as stream:
        done = [e for e in stream if e.type == "tool_calls.function.arguments.done"]
        completion = stream.get_final_completion()
    assert [(e.index, e.name) for e in done] == [(0, "get_weather")]
    (call,) = completion.choices[0].message.tool_calls
    assert json.loads(call.function.arguments) == {"city": "Paris"}
    assert completion.choices[0].finish_reason == "tool_calls"


def test_thinking_is_kept_apart_from_the_answer(client):
    prompt = user("hi #think" if FAKE else "hi")
    completion = client.chat.completions.create(model=MODEL, messages=prompt)
    message = completion.choices[0].message
    assert message.content.strip() == ANSWER
    assert message.reasoning_content.strip()

    stream = client.chat.completions.create(model=MODEL, messages=prompt, stream=True)
    deltas = [c.choices[0].delta for c in stream if c.choices]
    thought = "".join(getattr(d, "reasoning_content", None) or "" for d in deltas)
    assert thought.strip() == message.reasoning_content.strip()
    assert "".join(d.content or "" for d in deltas).strip() == ANSWER


@pytest.mark.parametrize("limit", ["max_tokens", "max_completion_tokens"])
def test_an_answer_that_meets_its_limit_says_length(client, limit):
    completion = client.chat.completions.create(
        model=MODEL, messages=user("hi"), extra_body=QUICK, **{limit: 3}
    )
    assert completion.choices[0].finish_reason == "length"
    assert completion.usage.completion_tokens == 3

    stream = client.chat.completions.create(
        model=MODEL, messages=user("hi"), stream=True, extra_body=QUICK, **{limit: 3}
    )
    ends = [c.choices[0].finish_reason for c in stream if c.choices]
    assert [end for end in ends if end] == ["length"]


def test_stop_may_be_a_string_and_the_first_role_developer(client):
    completion = client.chat.completions.create(
        model=MODEL,
        messages=[{"role": "developer", "content": "Be brief."}, *user("hi")],
        stop="never said",
        extra_body=QUICK,
    )
    assert completion.choices[0].message.content.strip() == ANSWER


def test_raw_responses_carry_the_headers(client):
    raw = client.chat.completions.with_raw_response.create(model=MODEL, messages=user("hi"))
    assert raw.http_response.status_code == 200
    assert raw.headers["x-mlx-gateway-profile"] == MODEL
    assert float(raw.headers["openai-processing-ms"]) >= 0
    assert raw.parse()._request_id == raw.headers["x-request-id"] == raw.request_id

    own = client.chat.completions.with_raw_response.create(
        model=MODEL, messages=user("hi"), extra_headers={"x-request-id": "mine-0123"}
    )
    assert own.headers["x-request-id"] == "mine-0123"


def test_models_are_listed_and_found_by_name(client):
    listed = list(client.models.list())
    assert MODEL in [model.id for model in listed]
    assert {model.object for model in listed} == {"model"}
    one = client.models.retrieve(MODEL)
    assert (one.id, one.object) == (MODEL, "model")


def test_leaving_a_stream_ends_the_request_and_records_what_went_through(client):
    prompt = "hi #chunks=50 #gate-after=3" if FAKE else "hi #loop"
    raw = client.chat.completions.with_raw_response.create(
        model=MODEL, messages=user(prompt), stream=True, max_tokens=2000, extra_body=QUICK
    )
    stream = raw.parse()
    for chunk in stream:
        if chunk.choices and chunk.choices[0].delta.content:
            break
    stream.close()
    record = record_of(raw.request_id, "cancelled")
    assert record["completion_tokens"] > 0


def test_a_client_that_loses_patience_ends_its_request_too(counted):
    client, sent = counted(timeout=2.0)
    prompt = "hi #chunks=50 #gate-after=3" if FAKE else "hi #loop"
    with pytest.raises(openai.APITimeoutError):
        client.chat.completions.create(
            model=MODEL,
            messages=user(prompt),
            max_tokens=4000,
            extra_headers={"x-request-id": "impatient-1"},
        )
    assert len(sent) == 1
    record_of("impatient-1", "cancelled")


@pytest.mark.skipif(not FAKE, reason="the demo model neither hears nor paints")
def test_recordings_and_pictures_are_sent_as_forms(client):
    heard = client.audio.transcriptions.create(model="hears", file=("it.wav", b"RIFF1234"), language="de")
    assert "file=8 bytes" in heard.text and "language=de" in heard.text
    plain = client.audio.transcriptions.create(
        model="hears", file=("it.wav", b"RIFF1234"), response_format="text"
    )
    assert "file=8 bytes" in plain
    stream = client.audio.transcriptions.create(model="hears", file=("it.wav", b"RIFF1234"), stream=True)
    *deltas, done = list(stream)
    assert done.type == "transcript.text.done" and done.text == "".join(event.delta for event in deltas)
    images = [("a.png", b"PNG1"), ("b.png", b"PNG22")]
    edited = client.images.edit(model="paints", image=images, prompt="bluer")
    assert "image=4 bytes, image=5 bytes" in base64.b64decode(edited.data[0].b64_json).decode()
    with pytest.raises(openai.BadRequestError, match="type lm"):
        client.audio.transcriptions.create(model=MODEL, file=("it.wav", b"RIFF"))
