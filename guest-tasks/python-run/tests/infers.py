from omnimind import Error, chat, chat_stream, generate, models

ask = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hi", "thinking": "?"}]


def stopped():
    stream = chat_stream(ask, max_tokens=5)
    stream.cancel()
    return stream.completion()["finish"]


# Here is no model: what gets as far as that is `unavailable`.
for asked in [
    models,
    lambda: generate("hi", temperature=0, top_p=0.5, seed=7, max_tokens=5, stop=["."], extra={"top_k": 1}),
    lambda: chat(ask, model="m", schema={"type": "object"}),
    lambda: list(chat_stream(iter(ask))),
    stopped,
    lambda: [chat_stream(ask, max_tokens=1) for _ in range(100)],
    lambda: generate(5),
    lambda: chat("hi"),
    lambda: chat([]),
    lambda: chat([{"role": "tool", "content": "hi"}]),
    lambda: chat([{"role": "user"}]),
    lambda: chat([{"role": "user", "content": "hi", "tools": []}]),
    lambda: chat(ask, modle="m"),
    lambda: chat(ask, temperature=9),
    lambda: chat(ask, temperature=1e300),
    lambda: chat(ask, seed=1 << 64),
    lambda: chat(ask, max_tokens=1 << 32),
    lambda: chat(ask, stop="."),
    lambda: chat(ask, schema={"type": 5}),
    lambda: chat(ask, extra={"num_ctx": 9}),
]:
    try:
        print(asked())
    except (Error, TypeError, ValueError) as error:
        print(type(error).__name__, getattr(error, "kind", ""))
for _ in range(100):
    chat_stream(ask)
