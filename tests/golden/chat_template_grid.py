"""The conversations that every template is rendered with."""

WEATHER = {"type": "function", "function": {
    "name": "get_weather", "description": "Get the weather of a city.",
    "parameters": {"type": "object", "properties": {
        "city": {"type": "string", "description": "Name, e.g. \"Zürich\" <b>&</b>"},
        "unit": {"type": "string", "enum": ["c", "f"], "default": "c"},
        "days": {"type": ["integer", "null"], "minimum": 1, "maximum": 1.5e20},
        "nested": {"type": "object", "properties": {"items": {"type": "array", "items": {"type": "string"}}},
                   "required": []}},
        "required": ["city"], "additionalProperties": False}}}
TIME = {"type": "function", "function": {
    "name": "time", "description": "Multi\nline\tdescription 'quoted' \u2028 \U0001f600",
    "parameters": {"type": "object", "properties": {}, "items": 1},
    "return": {"type": "string", "format": None}}}
ARGUMENTS = {"city": "Zürich", "days": 3, "exact": 1.0, "tags": ["a", {"b": None}], "ok": True}


def call(name, arguments, id="abcdefghi"):
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


def say(role, content, **more):
    return {"role": role, "content": content, **more}


LONG = "A line.\n\n  An indented one,\twith a tab.\r\nAnd {{ braces }} {% tags %}, <|im_end|> & \"quotes\" 'too'."
PARTS = [{"type": "text", "text": "What is"}, {"type": "text", "text": " this?"}]
IMAGE = [{"type": "image"}, {"type": "text", "text": "Look."}, {"type": "image_url", "image_url": {"url": "x"}}]

CONVERSATIONS = {
    "user": [say("user", "Hello!")],
    "system_user": [say("system", "Be brief."), say("user", "Hello!")],
    "turns": [say("user", "Hi"), say("assistant", "Hello."), say("user", "Bye")],
    "system_turns": [say("system", " You are  kind. \n"), say("user", "Hi\n"), say("assistant", "  Hello.  "),
                     say("user", "More"), say("assistant", "Enough."), say("user", "Bye")],
    "ends_with_assistant": [say("user", "Hi"), say("assistant", "Hello.")],
    "two_users": [say("user", "one"), say("user", "two")],
    "assistant_first": [say("assistant", "Hm."), say("user", "two")],
    "system_only": [say("system", "S")],
    "late_system": [say("user", "Hi"), say("system", "Now be loud."), say("user", "Bye")],
    "developer": [say("developer", "D"), say("user", "Hi")],
    "odd_role": [say("user", "Hi"), say("critic", "Bad.")],
    "empty": [],
    "empty_content": [say("system", ""), say("user", ""), say("assistant", ""), say("user", " ")],
    "null_content": [say("user", "Hi"), say("assistant", None), say("user", "Bye")],
    "no_content": [say("user", "Hi"), {"role": "assistant"}, say("user", "Bye")],
    "no_role": [{"content": "Hi"}],
    "parts": [say("user", PARTS)],
    "parts_system": [say("system", [{"type": "text", "text": "Sys"}]), say("user", PARTS),
                     say("assistant", [{"type": "text", "text": "An answer"}]), say("user", "ok")],
    "image": [say("user", IMAGE)],
    "unicode": [say("system", "Grüße, 世界! 🌍 e\u0301 ẞ"), say("user", "ﬁn \u00a0\u2003 İstanbul ΣΑΣ \U0001f468\u200d\U0001f469"),
                say("assistant", "日本語\u2028 ok"), say("user", "نعم")],
    "long": [say("system", LONG), say("user", LONG * 3), say("assistant", LONG), say("user", "x" * 300)],
    "think": [say("user", "2+2?"), say("assistant", "<think>\nIt is four.\n</think>\n\n4"), say("user", "3+3?"),
              say("assistant", "<think>easy</think>6"), say("user", "4+4?")],
    "reasoning": [say("user", "2+2?"), say("assistant", "4", reasoning_content="\nIt is four.\n"), say("user", "3?"),
                  say("assistant", "6", reasoning_content="six", thinking="six", reasoning="six")],
    "tool_call": [say("user", "Weather?"), say("assistant", None, tool_calls=[call("get_weather", ARGUMENTS)]),
                  say("tool", "{\"t\": 21}", tool_call_id="abcdefghi", name="get_weather"),
                  say("assistant", "21 degrees."), say("user", "Thanks")],
    "tool_call_text": [say("user", "Weather?"),
                       say("assistant", "", tool_calls=[call("get_weather", "{\"city\": \"Zürich\"}")]),
                       say("tool", "21", tool_call_id="abcdefghi", name="get_weather")],
    "tool_calls": [say("system", "Use tools."), say("user", "Both?"),
                   say("assistant", "Let me see.", tool_calls=[call("get_weather", ARGUMENTS, "aaaaaaaaa"),
                                                               call("time", {}, "bbbbbbbbb")]),
                   say("tool", "{\"t\": 21}", tool_call_id="aaaaaaaaa", name="get_weather"),
                   say("tool", [{"type": "text", "text": "noon"}], tool_call_id="bbbbbbbbb", name="time"),
                   say("assistant", "21 at noon.")],
    "tool_calls_twice": [say("user", "A"), say("assistant", "", tool_calls=[call("time", {})]), say("tool", "1"),
                         say("assistant", None, tool_calls=[call("time", {"z": "é"})], reasoning_content="hm"),
                         say("tool", {"a": [1, 2.5, None]}), say("user", "B")],
    "bare_call": [say("user", "Weather?"),
                  say("assistant", None, tool_calls=[{"name": "time", "arguments": {"a": 1}}]), say("tool", "noon")],
    "no_calls": [say("user", "Hi"), say("assistant", "Yes", tool_calls=[]), say("user", "B"),
                 say("assistant", "No", tool_calls=None), say("user", "C")],
    "named": [say("user", "Hi", name="ann"), say("assistant", "Hello", name="bot", refusal=None), say("user", "Bye", name="")],
    "odd_calls": [say("user", "W"), say("assistant", "", tool_calls=[{"function": {"name": "time"}}]), say("tool", ""),
                  say("assistant", None, tool_calls=[call("time", "not json"), call("time", None, None)]), say("tool", None, name="time"),
                  say("user", "B")],
    "result_parts": [say("user", "W"), say("assistant", None, tool_calls=[call("time", {}), call("time", [])], reasoning_content=""),
                     say("tool", [{"type": "text", "text": "a"}, {"type": "text", "text": ""}]), say("tool", [], tool_call_id="abcdefghi")],
    "odd_parts": [say("user", [{"type": "text"}, "bare", {"text": "t"}]), say("assistant", []), say("user", {"text": "an object"})],
    "blank_think": [say("user", "2?"), say("assistant", "<think></think>"), say("user", "3?"), say("assistant", "</think>\n\nthree"), say("user", "4?"),
                    say("assistant", "<think>never closed"), say("user", "5?")],
    "long_id": [say("user", "W"), say("assistant", None, tool_calls=[call("time", {}, "call_1234567890")]),
                say("tool", "x", tool_call_id="call_1234567890")],
}

MARKS = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
MORE = {
    "date": {"date_string": "26 Jul 2024", "tools_in_user_message": False, "builtin_tools": ["code_interpreter", "x"]},
    "documents": {"documents": [{"title": "T", "text": "Text", "n": 1}, {"title": "U", "contents": "V"}]},
    "effort": {"reasoning_effort": "high", "model_identity": "You are M.", "thinking": True, "keep_tool_result": True,
               "clear_thinking": False, "add_vision_id": True, "custom_tools": [TIME],
               "functions": "[{\"name\": \"f\"}]", "datetime": "Monday", "response_format": "json",
               "xml_tools": [TIME], "python_tools": ["p"], "system_message": "SM",
               "controls": [{"type": "c", "content": "d"}]},
}


EDGES = {
    "no_tools": {"tools": []}, "one_tool": {"tools": [TIME]}, "bare_tool": {"tools": [TIME["function"]]}, "no_documents": {"documents": []},
    "null_documents": {"documents": None}, "null_thinking": {"enable_thinking": None, "thinking": None}, "thinking_false": {"thinking": False},
    "low_effort": {"reasoning_effort": "low"}, "null_effort": {"reasoning_effort": None}, "no_effort": {"reasoning_effort": "none"},
    "null_marks": {"bos_token": None, "eos_token": None}, "choice": {"tool_choice": "required", "parallel_tool_calls": False},
    "continued": {"continue_final_message": True, "add_generation_prompt": False},
}


def contexts():
    """(name, context) for every combination that is worth it."""
    for name, messages in CONVERSATIONS.items():
        for tools_name, tools in (("", "absent"), ("/none", None), ("/tools", [WEATHER, TIME])):
            for prompt in (False, True):
                for thinking in ("absent", True, False):
                    if thinking != "absent" and tools_name == "":
                        continue
                    context = {"messages": messages, "add_generation_prompt": prompt, **MARKS}
                    if tools != "absent":
                        context["tools"] = tools
                    if thinking != "absent":
                        context["enable_thinking"] = thinking
                    yield f"{name}{tools_name}/{prompt}/{thinking}", context
    for name in ("user", "system_turns", "tool_calls", "tool_call_text", "parts_system"):
        for more_name, more in MORE.items():
            for tools in (None, [WEATHER, TIME]):
                yield (f"{name}/{more_name}/{tools is not None}",
                       {"messages": CONVERSATIONS[name], "add_generation_prompt": True, "tools": tools, **MARKS, **more})
        yield f"{name}/bare", {"messages": CONVERSATIONS[name]}
    for name in ("user", "reasoning", "tool_calls", "odd_calls"):
        for edge_name, edge in EDGES.items():
            yield f"{name}/{edge_name}", {"messages": CONVERSATIONS[name], "add_generation_prompt": True, "tools": None, **MARKS, **edge}
