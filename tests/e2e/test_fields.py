"""Request fields beyond OpenAI's, each through the whole server."""

import json
import time

import pytest

from server import CHAT, wait_until

COMPLETIONS = "/v1/completions"
FRANCE = [{"role": "user", "content": "What is the capital of France?"}]
PARIS = "The capital of France is Paris."


def post(server, path, body, headers=None):
    status, reply_headers, data = server.post(path, body, headers=headers)
    return status, reply_headers, json.loads(data)


def chat(server, **fields):
    status, _, answer = post(server, CHAT, {"messages": FRANCE, "temperature": 0, **fields})
    assert status == 200, answer
    return answer


def complete(server, **fields):
    status, _, answer = post(server, COMPLETIONS, {"prompt": "The capital of France", "temperature": 0, **fields})
    assert status == 200, answer
    return answer


def chunks(server, path, body):
    status, _, data = server.post(path, {"stream": True, **body})
    assert status == 200, data
    events = [e[6:] for e in data.decode().split("\n\n") if e.startswith("data: ")]
    assert events[-1] == "[DONE]"
    return [json.loads(e) for e in events[:-1]]


@pytest.fixture(scope="module")
def ids(server):
    """Token ids of the greedy answer; the last ends the text."""
    choice = chat(server, return_token_ids=True)["choices"][0]
    assert choice["message"]["content"] == PARIS
    return choice["token_ids"]


# --- ids in the answer -----------------------------------------------------------------------


def test_token_ids_are_all_that_was_generated(server, ids):
    answer = chat(server, return_token_ids=True)
    assert len(ids) == answer["usage"]["completion_tokens"]
    assert len(answer["prompt_token_ids"]) == answer["usage"]["prompt_tokens"]
    whole = complete(server, prompt=answer["prompt_token_ids"], max_tokens=40, return_token_ids=True)
    assert whole["choices"][0]["text"] == PARIS
    assert whole["choices"][0]["token_ids"] == ids
    assert whole["choices"][0]["prompt_token_ids"] == answer["prompt_token_ids"]
    plain = chat(server)
    assert "prompt_token_ids" not in plain and "token_ids" not in plain["choices"][0]


def test_token_ids_of_a_stream_are_those_of_the_whole(server, ids):
    got = chunks(server, CHAT, {"messages": FRANCE, "temperature": 0, "return_token_ids": True})
    assert len(got[0]["prompt_token_ids"]) > 5
    assert all("prompt_token_ids" not in c for c in got[1:])
    assert [i for c in got for i in c["choices"][0].get("token_ids", [])] == ids


def test_several_prompts_have_their_own_ids(server):
    answer = complete(server, prompt=[[1, 2, 3], [4, 5]], n=2, max_tokens=2, return_token_ids=True)
    assert [c["prompt_token_ids"] for c in answer["choices"]] == [[1, 2, 3]] * 2 + [[4, 5]] * 2
    assert all(len(c["token_ids"]) == 2 for c in answer["choices"])
    assert "prompt_token_ids" not in answer


# --- stop ids --------------------------------------------------------------------------------


def test_a_stop_id_ends_the_text_before_itself(server, ids):
    choice = chat(server, stop_token_ids=[ids[3]], return_token_ids=True, logprobs=True)["choices"][0]
    first = ids.index(ids[3])
    assert choice["finish_reason"] == "stop" and choice["stop_reason"] == ids[3]
    assert choice["token_ids"] == ids[: first + 1]
    assert len(choice["logprobs"]["content"]) == first
    assert PARIS.startswith(choice["message"]["content"]) and choice["message"]["content"] != PARIS

    shown = chat(server, stop_token_ids=[ids[3]], include_stop_str_in_output=True, logprobs=True)["choices"][0]
    assert len(shown["message"]["content"]) > len(choice["message"]["content"])
    assert len(shown["logprobs"]["content"]) == first + 1
    assert shown["stop_reason"] == ids[3]


def test_the_end_of_text_has_no_stop_reason_unless_it_is_named(server, ids):
    assert chat(server)["choices"][0]["stop_reason"] is None
    named = chat(server, ignore_eos=True, stop_token_ids=[ids[-1]])["choices"][0]
    assert named["message"]["content"] == PARIS
    assert (named["finish_reason"], named["stop_reason"]) == ("stop", ids[-1])


def test_min_tokens_holds_off_every_end(server, ids):
    for fields in ({}, {"stop_token_ids": [ids[2]]}, {"stop": ["capital"]}):
        usage = chat(server, min_tokens=20, max_tokens=30, **fields)["usage"]
        assert 20 <= usage["completion_tokens"] <= 30
    got = chat(server, min_tokens=8, max_tokens=8, stop_token_ids=[ids[2]], return_token_ids=True)
    assert ids[2] not in got["choices"][0]["token_ids"] and ids[-1] not in got["choices"][0]["token_ids"]


def test_ignore_eos_goes_on_to_the_length(server, ids):
    choice = chat(server, ignore_eos=True, max_tokens=30, return_token_ids=True)["choices"][0]
    assert choice["finish_reason"] == "length" and len(choice["token_ids"]) == 30
    assert ids[-1] in choice["token_ids"]


# --- masks -----------------------------------------------------------------------------------


def test_only_allowed_tokens_come(server, ids):
    allowed = sorted({ids[0], ids[1], ids[4]})
    answer = chat(server, allowed_token_ids=allowed, max_tokens=12, temperature=1.5, n=3, return_token_ids=True)
    for choice in answer["choices"]:
        assert set(choice["token_ids"]) <= set(allowed) and choice["finish_reason"] == "length"


@pytest.mark.parametrize("word", ["Paris", " Paris", "capital of", "France is Paris", "The"])
def test_bad_words_do_not_come(server, word):
    for temperature in (0, 1):
        answer = chat(server, bad_words=[word], temperature=temperature, n=4, seed=5, max_tokens=40)
        for choice in answer["choices"]:
            assert word.strip() not in choice["message"]["content"]


def test_a_bad_word_bans_itself_alone(server):
    assert chat(server, bad_words=["Berlin", "zebra crossing"])["choices"][0]["message"]["content"] == PARIS


def test_what_leaves_no_token_is_refused(server, ids):
    status, _, answer = post(server, CHAT, {"messages": FRANCE, "allowed_token_ids": [ids[-1]], "min_tokens": 1})
    assert status == 400 and answer["error"]["param"] == "allowed_token_ids"
    status, _, answer = post(server, CHAT, {"messages": FRANCE, "bad_words": ["x" * 1000]})
    assert status == 400 and answer["error"]["param"] == "bad_words"


@pytest.mark.parametrize("fields", [{"typical_p": 0.2}, {"repetition_penalty": 1.8}, {"presence_penalty": 2},
                                    {"frequency_penalty": 2}, {"min_p": 0.9}, {"top_p": 0.01}, {"top_k": 1}])
def test_samplers_reach_the_engine(server, fields):
    def sample(**more):
        answer = chat(server, messages=[{"role": "user", "content": "Tell me a story."}], temperature=1.6,
                      seed=11, n=4, max_tokens=40, **more)
        return [c["message"]["content"] for c in answer["choices"]]

    assert sample(**fields) != sample()
    assert sample(**fields) == sample(**fields)


# --- log-probabilities -----------------------------------------------------------------------


def test_prompt_logprobs_of_a_chat(server):
    answer = chat(server, prompt_logprobs=2, return_token_ids=True)
    entries, prompt = answer["prompt_logprobs"], answer["prompt_token_ids"]
    assert len(entries) == len(prompt) and entries[0] is None
    for token, entry in zip(prompt[1:], entries[1:]):
        own = entry[str(token)]
        assert own["logprob"] <= 0 and own["rank"] >= 1 and isinstance(own["decoded_token"], str)
        assert len(entry) == (2 if own["rank"] <= 2 else 3)
        assert sorted(e["rank"] for e in entry.values())[:2] == [1, 2]
    assert answer["choices"][0]["message"]["content"] == PARIS


def test_prompt_logprobs_are_those_of_echo(server):
    echoed = complete(server, echo=True, logprobs=1, max_tokens=1)["choices"][0]["logprobs"]
    for _ in range(2):  # the second prompt was computed before
        answer = complete(server, prompt_logprobs=0, max_tokens=1, return_token_ids=True)
        own = [e[str(t)]["logprob"] for t, e in zip(answer["prompt_token_ids"][1:], answer["prompt_logprobs"][1:])]
        assert own == echoed["token_logprobs"][1:-1]
        assert answer["choices"][0]["prompt_logprobs"] == answer["prompt_logprobs"]
        assert "France" not in answer["choices"][0]["text"]


def test_prompt_logprobs_of_several_prompts_stand_in_the_choices(server):
    answer = complete(server, prompt=["one two", "three four five"], prompt_logprobs=1, max_tokens=1, echo=True)
    lengths = [len(c["prompt_logprobs"]) for c in answer["choices"]]
    assert lengths[0] >= 2 and lengths[1] >= 3 and sum(lengths) == answer["usage"]["prompt_tokens"]
    assert answer["choices"][1]["text"].startswith("three four five")


def test_prompt_logprobs_do_not_stream(server):
    status, _, answer = post(server, CHAT, {"messages": FRANCE, "prompt_logprobs": 1, "stream": True})
    assert status == 400 and answer["error"]["param"] == "prompt_logprobs"


def test_logprobs_stay_raw_under_masks(server, ids):
    raw = chat(server, logprobs=True, top_logprobs=20)["choices"][0]["logprobs"]["content"][0]
    masked = chat(server, logprobs=True, top_logprobs=20, temperature=0.3, bad_words=["The"], max_tokens=1,
                  logit_bias={str(ids[0]): -100})["choices"][0]["logprobs"]["content"][0]
    assert masked["top_logprobs"] == raw["top_logprobs"]
    assert masked["token"] != raw["token"]


# --- the prompt ------------------------------------------------------------------------------


def test_truncation_keeps_the_side_that_was_asked_for(server):
    prompt = list(range(20, 60))

    def run(**fields):
        return complete(server, prompt=prompt, max_tokens=1, return_token_ids=True, **fields)

    left = run(truncate_prompt_tokens=7)
    assert left["prompt_token_ids"] == prompt[-7:] and left["usage"]["prompt_tokens"] == 7
    assert run(truncate_prompt_tokens=7, truncation_side="right")["prompt_token_ids"] == prompt[:7]
    assert run(truncate_prompt_tokens=100)["prompt_token_ids"] == prompt
    assert run(truncate_prompt_tokens=-1)["prompt_token_ids"] == prompt


def test_truncation_to_what_fits(server):
    prompt = [20 + i % 900 for i in range(3000)]
    status, _, answer = post(server, COMPLETIONS, {"prompt": prompt, "max_tokens": 5})
    assert status == 400 and answer["error"]["code"] == "context_length_exceeded"
    answer = complete(server, prompt=prompt, max_tokens=5, truncate_prompt_tokens=-1, ignore_eos=True)
    assert answer["usage"]["prompt_tokens"] == 2048 - 5 and answer["usage"]["completion_tokens"] == 5


def test_a_message_is_continued(server):
    begun = FRANCE + [{"role": "assistant", "content": "The capital of"}]
    status, _, answer = post(server, CHAT, {"messages": begun, "temperature": 0, "continue_final_message": True,
                                            "add_generation_prompt": False})
    assert status == 200
    assert answer["choices"][0]["message"]["content"] == PARIS[len("The capital of"):]
    status, _, answer = post(server, CHAT, {"messages": begun, "continue_final_message": True,
                                            "add_generation_prompt": True})
    assert status == 400 and answer["error"]["param"] == "continue_final_message"


def test_a_salt_keeps_prompts_apart(server):
    long = [{"role": "user", "content": "Please count from one to ten. " * 8}]

    def cached(**fields):
        answer = chat(server, messages=long, max_tokens=1, **fields)
        return answer["usage"]["prompt_tokens_details"]["cached_tokens"]

    def warm(**fields):  # prompts may go to either frontend, but there is one engine
        cached(**fields)
        return cached(**fields)

    assert warm() > 0
    assert cached(cache_salt="tenant-a-%d" % time.monotonic_ns()) == 0
    salt = "tenant-b-%d" % time.monotonic_ns()
    assert cached(cache_salt=salt) == 0 and cached(cache_salt=salt) > 0


# --- names and time --------------------------------------------------------------------------


def test_a_request_names_itself(server):
    body = {"messages": FRANCE, "max_tokens": 1, "request_id": "mine-7"}
    assert post(server, CHAT, body)[1]["x-request-id"] == "mine-7"
    headers = post(server, CHAT, body, headers={"x-request-id": "header-8"})[1]
    assert headers.get_all("x-request-id") == ["header-8"]
    for bad in ("two words", "", "x" * 129, "é"):
        assert post(server, CHAT, {**body, "request_id": bad})[1]["x-request-id"].startswith("req-")


LONG = {"prompt": "Tell", "max_tokens": 2000, "ignore_eos": True, "n": 8}


def test_a_deadline_ends_an_answer(server):
    for body, headers in (({**LONG, "timeout": 0.2}, None), (LONG, {"x-request-timeout-ms": "200"})):
        status, _, answer = post(server, COMPLETIONS, body, headers=headers)
        assert (status, answer["error"]["code"]) == (504, "deadline_exceeded")


def test_a_deadline_ends_a_stream_in_words(server):
    for timeout in (0.3, 2, 10):  # until one leaves time for a first token, on a machine however busy
        status, _, data = server.post(COMPLETIONS, {**LONG, "stream": True, "timeout": timeout})
        assert b'"code":"deadline_exceeded"' in data
        if status == 200 and data.count(b"data: ") > 2:
            assert data.endswith(b"data: [DONE]\n\n")
            return
    raise AssertionError("no token within 10 s")


def test_the_server_has_a_deadline_of_its_own(own_server):
    server = own_server("--request-timeout", "0.3")
    for more in ({}, {"timeout": 100}):
        status, _, answer = post(server, COMPLETIONS, {**LONG, **more})
        assert (status, answer["error"]["code"]) == (504, "deadline_exceeded")
    answers = []

    def is_in_time():
        answers.append(post(server, CHAT, {"messages": FRANCE, "temperature": 0}))
        return answers[-1][0] == 200

    wait_until(is_in_time)
    assert answers[-1][2]["choices"][0]["message"]["content"] == PARIS


def test_a_choice_that_stopped_is_not_computed_on(own_server):
    server = own_server("--frontends", "1")

    def computed():
        for line in server.get("/metrics")[2].decode().splitlines():
            if line.startswith("vllm:iteration_tokens_total_sum"):
                return float(line.split()[-1])
        raise AssertionError("no sum of computed tokens")

    body = {"messages": [{"role": "user", "content": "Tell me a story."}], "temperature": 1.3, "seed": 4, "n": 8,
            "max_tokens": 300, "ignore_eos": True, "stop": ["dog", "fox"]}
    status, _, answer = post(server, CHAT, body)
    assert status == 200
    ends = [c["finish_reason"] for c in answer["choices"]]
    assert "stop" in ends and "length" in ends
    usage = answer["usage"]
    assert usage["completion_tokens"] < 0.8 * 8 * 300
    server.wait_idle()
    assert computed() <= usage["total_tokens"] + 8 * 16
