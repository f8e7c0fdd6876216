"""What the tests of the Python client share: the gateway under test, as run.py describes it in the
environment, and clients for it."""

import json
import os
import time
import urllib.request

import openai
import pytest

BASE_URL = os.environ["SDK_BASE_URL"]
API_KEY = os.environ["SDK_API_KEY"]
MODEL = os.environ["SDK_MODEL"]
FAKE = os.environ["SDK_BACKEND"] == "fake"
# Far above what an answer takes, so that only a hang meets it.
PATIENCE_S = 120.0

ANSWER = "Hello! This tiny model runs on the real backend and always says exactly these words."
WEATHER_TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Weather of a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}


def make_client(**changes):
    options = {"base_url": BASE_URL, "api_key": API_KEY, "max_retries": 0, "timeout": PATIENCE_S}
    return openai.OpenAI(**(options | changes))


def user(text):
    return [{"role": "user", "content": text}]


@pytest.fixture
def client():
    with make_client() as client:
        yield client


@pytest.fixture
def counted():
    """Makes a client and a list that grows by one entry with every HTTP request it sends."""
    clients = []

    def make(**changes):
        sent = []
        http = openai.DefaultHttpxClient(event_hooks={"request": [sent.append]})
        clients.append(make_client(http_client=http, **changes))
        return clients[-1], sent

    yield make
    for client in clients:
        client.close()


def record_of(request_id, status):
    """The record of that request, once it has that status."""
    admin = BASE_URL.removesuffix("/v1") + "/api/v1/requests?limit=1000"
    request = urllib.request.Request(admin, headers={"Authorization": f"Bearer {API_KEY}"})
    deadline = time.monotonic() + 30
    while True:
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            records = json.load(answer)["requests"]
        mine = [r for r in records if request_id in (r["id"], r.get("client_request_id"))]
        if mine and mine[0]["status"] == status:
            return mine[0]
        assert time.monotonic() < deadline, f"no {status} record of {request_id}: {mine}"
        time.sleep(0.05)
