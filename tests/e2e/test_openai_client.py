"""The official client against the real server: what it asks, what it gets."""

import concurrent.futures

import openai
import pytest

from server import ask

FRANCE = "What is the capital of France?"


def messages(text):
    return [{"role": "user", "content": text}]


def chat(client, text, **more):
    return client.chat.completions.create(model="ringlet", messages=messages(text), temperature=0, **more)


def stream_text(stream):
    """Content of each choice, and the chunks."""
    texts, chunks = {}, []
    for chunk in stream:
        chunks.append(chunk)
        for choice in chunk.choices:
            texts[choice.index] = texts.get(choice.index, "") + (choice.delta.content or "")
    return texts, chunks


def test_greedy_answer_is_the_capital(client):
    answer = chat(client, FRANCE)
    assert answer.choices[0].message.content == "The capital of France is Paris."
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.prompt_tokens > 5
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert answer.object == "chat.completion"
    assert answer.model == "ringlet"
    assert answer._request_id


def test_stream_equals_the_whole_answer(client):
    texts, chunks = stream_text(chat(client, FRANCE, stream=True, stream_options={"include_usage": True}))
    assert texts == {0: "The capital of France is Paris."}
    assert chunks[0].choices[0].delta.role == "assistant"
    finishing = [c for c in chunks if c.choices and c.choices[0].finish_reason]
    assert [c.choices[0].finish_reason for c in finishing] == ["stop"]
    assert chunks[-1].choices == [] and chunks[-1].usage.completion_tokens > 3
    assert len({c.id for c in chunks}) == 1 and len({c.created for c in chunks}) == 1
    assert all(c.usage is None for c in chunks[:-1])


def test_no_usage_unless_asked(client):
    _, chunks = stream_text(chat(client, FRANCE, stream=True))
    assert all(c.usage is None and c.choices for c in chunks)


def test_two_choices_of_a_prompt(client):
    answer = chat(client, FRANCE, n=2)
    assert [c.index for c in answer.choices] == [0, 1]
    assert {c.message.content for c in answer.choices} == {"The capital of France is Paris."}
    texts, chunks = stream_text(chat(client, FRANCE, n=2, stream=True))
    assert texts == {0: "The capital of France is Paris.", 1: "The capital of France is Paris."}
    assert [c.choices[0].index for c in chunks[:2]] == [0, 1]
    assert all(c.choices[0].delta.role == "assistant" for c in chunks[:2])


def test_seed_repeats_and_choices_differ(client):
    def sample(seed):
        answer = client.chat.completions.create(model="ringlet", messages=messages("Tell me a story."),
                                                temperature=1.0, n=4, seed=seed, max_tokens=40)
        return [c.message.content for c in answer.choices]

    assert sample(7) == sample(7)
    assert sample(7) != sample(8)
    assert len(set(sample(7))) > 1


@pytest.mark.parametrize("stop", ["France", "pital of", " is Par", ["xyz", "l of F"], "."])
def test_stop_strings_are_found_across_tokens(client, stop):
    whole = "The capital of France is Paris."
    first = min(whole.find(s) for s in ([stop] if isinstance(stop, str) else stop) if s in whole)
    answer = chat(client, FRANCE, stop=stop)
    assert answer.choices[0].message.content == whole[:first]
    assert answer.choices[0].finish_reason == "stop"
    texts, _ = stream_text(chat(client, FRANCE, stop=stop, stream=True))
    assert texts.get(0, "") == whole[:first]


@pytest.mark.parametrize("question", ["How do you say cat in Chinese?", "Give me an emoji for cat."])
def test_characters_of_several_tokens_stream_whole(client, question):
    whole = chat(client, question).choices[0].message.content
    assert any(ord(c) > 0x2000 for c in whole) and "\ufffd" not in whole
    pieces = []
    for chunk in chat(client, question, stream=True):
        if chunk.choices and chunk.choices[0].delta.content:
            pieces.append(chunk.choices[0].delta.content)
    assert "".join(pieces) == whole
    assert not any("\ufffd" in p for p in pieces)


def test_max_tokens_ends_with_length(client):
    answer = chat(client, FRANCE, max_tokens=3)
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage.completion_tokens == 3
    assert chat(client, FRANCE, max_completion_tokens=2).usage.completion_tokens == 2


def test_max_tokens_beyond_the_context_is_clamped(client):
    raw = client.chat.completions.with_raw_response.create(model="ringlet", messages=messages(FRANCE),
                                                           temperature=0, max_tokens=1000000)
    assert raw.parse().choices[0].message.content == "The capital of France is Paris."
    assert int(raw.headers["x-max-tokens-clamped"]) < 2048


def test_logprobs_of_a_chat(client):
    answer = chat(client, FRANCE, logprobs=True, top_logprobs=3)
    content = answer.choices[0].logprobs.content
    assert b"".join(bytes(t.bytes) for t in content).decode() == answer.choices[0].message.content
    for entry in content:
        assert len(entry.top_logprobs) == 3
        assert entry.logprob == pytest.approx(entry.top_logprobs[0].logprob)
        assert entry.logprob <= 0
    streamed = []
    for chunk in chat(client, FRANCE, logprobs=True, top_logprobs=3, stream=True):
        if chunk.choices and chunk.choices[0].logprobs:
            streamed += chunk.choices[0].logprobs.content
    assert [t.token for t in streamed] == [t.token for t in content]
    assert [t.logprob for t in streamed] == [t.logprob for t in content]


def test_completion_with_echo_scores_the_prompt(client):
    answer = client.completions.create(model="ringlet", prompt="The capital of France is", max_tokens=0,
                                       echo=True, logprobs=1, temperature=0)
    lp = answer.choices[0].logprobs
    assert answer.choices[0].text == "The capital of France is"
    assert lp.token_logprobs[0] is None and all(x <= 0 for x in lp.token_logprobs[1:])
    assert "".join(lp.tokens) == answer.choices[0].text
    assert lp.text_offset[0] == 0 and lp.text_offset == sorted(lp.text_offset)


def test_completions_of_several_prompts_and_ids(client):
    prompts = ["The capital of France is", "The capital of Spain is"]
    both = client.completions.create(model="ringlet", prompt=prompts, max_tokens=5, temperature=0)
    assert [c.index for c in both.choices] == [0, 1]
    alone = client.completions.create(model="ringlet", prompt=prompts[1], max_tokens=5, temperature=0)
    assert both.choices[1].text == alone.choices[0].text
    ids = client.completions.create(model="ringlet", prompt=[39, 40, 41], max_tokens=2, temperature=0)
    assert ids.usage.prompt_tokens == 3


def test_logit_bias_bans_and_forces(client):
    letter_a = 32
    assert chat(client, FRANCE, logit_bias={str(letter_a): 100}, max_tokens=3).choices[0].message.content == "AAA"
    first = client.completions.create(model="ringlet", prompt="The capital of France is", max_tokens=1, temperature=0,
                                      logprobs=1, extra_body={"return_tokens_as_token_ids": True})
    best = first.choices[0].logprobs.tokens[0].removeprefix("token_id:")
    other = client.completions.create(model="ringlet", prompt="The capital of France is", max_tokens=1, temperature=0,
                                      logit_bias={best: -100})
    assert other.choices[0].text != first.choices[0].text


def test_text_parts_and_system_messages(client):
    answer = client.chat.completions.create(
        model="ringlet", temperature=0,
        messages=[{"role": "user", "content": [{"type": "text", "text": FRANCE}]}])
    assert answer.choices[0].message.content == "The capital of France is Paris."


def test_models_are_listed(client):
    assert [m.id for m in client.models.list()] == ["ringlet"]
    assert client.models.retrieve("ringlet").id == "ringlet"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-4")


def test_an_unknown_model_is_not_found(client):
    with pytest.raises(openai.NotFoundError) as e:
        client.chat.completions.create(model="gpt-4", messages=messages(FRANCE))
    assert e.value.code == "model_not_found"


def test_a_prompt_beyond_the_context_says_so(client):
    with pytest.raises(openai.BadRequestError) as e:
        chat(client, "word " * 3000)
    assert e.value.code == "context_length_exceeded"
    assert "This model's maximum context length is 2048" in e.value.message


def test_64_streams_at_once_are_whole(client):
    def one(i):
        question, answer = [(FRANCE, "The capital of France is Paris."),
                            ("What is the capital of Spain?", None)][i % 2]
        texts, chunks = stream_text(chat(client, question, stream=True))
        assert any(c.choices[0].finish_reason == "stop" for c in chunks if c.choices)
        return question, texts[0], answer

    with concurrent.futures.ThreadPoolExecutor(64) as pool:
        results = list(pool.map(one, range(64)))
    assert all(text == answer for _, text, answer in results if answer)
    assert len({text for _, text, answer in results if not answer}) == 1


def test_answers_do_not_depend_on_who_else_is_served(client):
    def one(seed):
        return client.chat.completions.create(model="ringlet", messages=messages("Tell me a story."), seed=seed,
                                              temperature=0.9, max_tokens=60).choices[0].message.content

    alone = [one(i) for i in range(6)]
    with concurrent.futures.ThreadPoolExecutor(24) as pool:
        crowd = list(pool.map(lambda i: one(i % 6), range(48)))
    assert crowd == alone * 8


def test_raw_body_of_a_stream(server):
    status, headers, body = server.post("/v1/chat/completions", ask(FRANCE, stream=True))
    assert status == 200 and headers["content-type"] == "text/event-stream; charset=utf-8"
    assert headers["cache-control"] == "no-cache" and headers["x-accel-buffering"] == "no"
    assert body.endswith(b"data: [DONE]\n\n")
    assert b"\r" not in body and b"event:" not in body


LONG = "Please tell me, " * 20 + FRANCE


def test_a_prompt_that_comes_again_is_found_in_the_cache(own_server):
    server = own_server()
    client = openai.OpenAI(base_url=server.url + "/v1", api_key="unused")
    answers = [chat(client, LONG, seed=1) for _ in range(2)]
    first, second = (a.usage.prompt_tokens_details.cached_tokens for a in answers)
    assert first == 0
    assert 0 < answers[1].usage.prompt_tokens - second <= 16
    assert answers[0].choices[0].message.content == answers[1].choices[0].message.content
    metrics = server.get("/metrics")[2].decode()
    assert f'vllm:prefix_cache_hits_total{{model_name="ringlet",engine="0"}} {second}' in metrics
    server.wait_idle()


def test_without_a_prefix_cache_nothing_is_found(own_server):
    server = own_server("--no-prefix-cache")
    client = openai.OpenAI(base_url=server.url + "/v1", api_key="unused")
    for _ in range(2):
        assert chat(client, LONG).usage.prompt_tokens_details.cached_tokens == 0
    assert 'enable_prefix_caching="False"' in server.get("/metrics")[2].decode()


def test_a_salt_keeps_prompts_apart_in_the_cache(own_server):
    client = openai.OpenAI(base_url=own_server().url + "/v1", api_key="unused")
    found = [chat(client, LONG, extra_body={"cache_salt": salt}).usage.prompt_tokens_details.cached_tokens
             for salt in ("a", "a", "b")]
    assert found[0] == found[2] == 0 and found[1] > 0


def test_priorities_are_obeyed_by_the_policy_alone(own_server, client):
    with pytest.raises(openai.BadRequestError, match="scheduling-policy"):
        chat(client, FRANCE, extra_body={"priority": 1})
    server = own_server("--scheduling-policy", "priority")
    obeyed = openai.OpenAI(base_url=server.url + "/v1", api_key="unused")
    answer = chat(obeyed, FRANCE, extra_body={"priority": -1})
    assert answer.choices[0].message.content == "The capital of France is Paris."
