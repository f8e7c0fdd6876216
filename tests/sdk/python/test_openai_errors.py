"""What goes wrong raises the Python client's own classes, with the documented status and code. Only
over the fake backend: it goes wrong on demand."""

import openai
import pytest
from conftest import BASE_URL, FAKE, MODEL, make_client, record_of, user

pytestmark = pytest.mark.skipif(not FAKE, reason="a real backend does not fail on demand")


def ask(client, prompt="hi", **changes):
    return client.chat.completions.create(
        **({"model": MODEL, "messages": user(prompt)} | changes)
    )


def raised(kind, call):
    with pytest.raises(kind) as caught:
        call()
    return caught.value


def test_a_wrong_or_missing_key_is_an_authentication_error(client):
    other = make_client(api_key="wrong")
    refused = [lambda: ask(other), lambda: other.models.list()]
    without = {"Authorization": openai.Omit()}
    refused.append(lambda: ask(client, extra_headers=without))
    for call in refused:
        error = raised(openai.AuthenticationError, call)
        assert (error.status_code, error.code) == (401, "invalid_api_key")
    other.close()
    assert ask(client)


def test_a_foreign_origin_is_permission_denied():
    with make_client(default_headers={"Origin": "https://elsewhere.example"}) as client:
        error = raised(openai.PermissionDeniedError, lambda: ask(client))
        assert (error.status_code, error.code) == (403, "permission_denied")


def test_an_unknown_model_is_not_found_never_anothers_answer(client):
    for call in [
        lambda: ask(client, model="no-such-model"),
        lambda: ask(client, model="no-such-model", stream=True),
        lambda: client.models.retrieve("no-such-model"),
        lambda: client.models.retrieve("no/such/model"),
    ]:
        error = raised(openai.NotFoundError, call)
        assert (error.status_code, error.code) == (404, "model_not_found")
        assert error.request_id


def test_an_unknown_path_is_not_found(client):
    raised(openai.NotFoundError, lambda: client.files.list())


@pytest.mark.parametrize(
    "changes",
    [
        {"messages": "not a list"},
        {"extra_body": {"temperature": "hot"}},
        {"extra_body": {"model": None}},
        {"extra_body": {"model": 7}},
        {"messages": [{"role": "user", "content": [
            {"type": "image_url", "image_url": {"url": "http://127.0.0.1/secret.png"}}]}]},
        {"messages": [{"role": "user", "content": [
            {"type": "image_url", "image_url": {"url": "file:///etc/hostname"}}]}]},
    ],
    ids=["messages", "temperature", "no-model", "model-type", "http-media", "file-media"],
)  # fmt: skip
def test_what_cannot_be_asked_is_a_bad_request(client, changes):
    error = raised(openai.BadRequestError, lambda: ask(client, **changes))
    assert (error.status_code, error.type) == (400, "invalid_request_error")
    assert error.message


def test_names_with_slashes_and_aliases_lead_to_their_profile(client):
    assert client.models.retrieve("org/tiny-model").id == "org/tiny-model"
    assert ask(client, model="org/tiny-model").model == "org/tiny-model"
    for alias in ["gpt-4o-mini", "claude-anything"]:
        assert ask(client, model=alias).model == MODEL


def test_a_backend_at_capacity_is_a_rate_limit_and_is_tried_again(counted):
    client, sent = counted(max_retries=1)
    error = raised(openai.RateLimitError, lambda: ask(client, "#error=429"))
    assert error.status_code == 429
    assert len(sent) == 2


def test_a_full_queue_is_a_rate_limit_that_says_when_to_come_back(client):
    with ask(client, "#chunks=5 #gate-after=1", model="narrow", stream=True) as held:
        next(iter(held))
        error = raised(openai.RateLimitError, lambda: ask(client, model="narrow"))
        assert (error.status_code, error.code) == (429, "queue_full")
        assert int(error.response.headers["retry-after"]) > 0


@pytest.mark.parametrize("kind", ["500", "500-empty", "500-bare", "500-no-message", "404", "422"])
def test_every_error_shape_of_the_backend_is_one_of_openai(client, kind):
    for stream in [False, True]:
        error = raised(openai.APIStatusError, lambda s=stream: ask(client, f"#error={kind}", stream=s))
        assert {"message", "type", "param", "code"} <= set(error.body)
        assert error.message and error.body["message"]


def test_a_failing_backend_is_an_internal_server_error_and_is_tried_again(counted):
    client, sent = counted(max_retries=2)
    error = raised(openai.InternalServerError, lambda: ask(client, "#error=500-empty"))
    assert (error.status_code, error.code) == (502, "backend_error")
    assert len(sent) == 3


@pytest.mark.parametrize("prompt", ["#http-garbage", "#close"])
def test_a_backend_that_makes_no_sense_is_an_internal_server_error(client, prompt):
    error = raised(openai.InternalServerError, lambda: ask(client, prompt))
    assert (error.status_code, error.code) == (502, "backend_error")


def test_a_backend_that_cannot_start_says_why_and_is_not_tried_again(counted):
    client, sent = counted(max_retries=2)
    error = raised(openai.InternalServerError, lambda: ask(client, model="broken"))
    assert (error.status_code, error.code) == (503, "backend_failed")
    assert error.response.headers["x-should-retry"] == "false"
    assert "RuntimeError: Handler process" in error.message, "the last log lines say why"
    assert len(sent) == 1


def test_a_backend_that_never_answers_is_a_time_out_of_the_gateway(client):
    error = raised(openai.InternalServerError, lambda: ask(client, "#hang", model="hasty"))
    assert error.status_code == 504
    error = raised(openai.APIError, lambda: list(ask(client, "#hang", model="hasty", stream=True)))
    assert error.message


def test_time_outs_and_lost_connections_of_the_client_are_its_own_classes():
    with make_client(timeout=0.5) as client:
        raised(openai.APITimeoutError, lambda: ask(client, "#hang"))
    nobody = "http://127.0.0.1:9/v1"
    with make_client(base_url=nobody) as client:
        raised(openai.APIConnectionError, lambda: ask(client))


@pytest.mark.parametrize(
    "prompt",
    ["#chunks=5 #stream-error=500 #stream-error-after=2", "#chunks=5 #close-after=2",
     "#chunks=5 #garbage=2", "#chunks=5 #hang-after=2"],
    ids=["error", "close", "garbage", "hang"],
)  # fmt: skip
def test_what_fails_in_a_stream_raises_there_and_is_recorded(client, prompt):
    raw = client.chat.completions.with_raw_response.create(
        model="hasty", messages=user(prompt), stream=True
    )
    said = []

    def read():
        for chunk in raw.parse():
            said.extend(c.delta.content for c in chunk.choices if c.delta.content)

    error = raised(openai.APIError, read)
    assert error.message
    assert said == ["w0", " w1"], "what came before went through"
    record_of(raw.request_id, "failed")


def test_errors_carry_the_request_id(client):
    error = raised(openai.NotFoundError, lambda: ask(client, model="no-such-model"))
    assert error.request_id == error.response.headers["x-request-id"]
    assert BASE_URL in str(error.request.url)
