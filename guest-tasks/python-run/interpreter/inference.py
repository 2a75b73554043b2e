"""Language models, for scripts: parts of `import omnimind`. Without the grant a call raises `access-denied`."""

import json
from collections.abc import Iterable, Iterator, Mapping

from wit_world.imports import inference as host

from .calls import call, list_of, text, whole


class TokenStream(Iterator[str]):
    """A text that is being written: iterate over its pieces. Dropped, the model stops."""

    def __init__(self, made) -> None:
        self._host = made

    def __next__(self) -> str:
        piece = call(self._host.next)
        if piece is None:
            raise StopIteration
        return piece

    def cancel(self) -> None:
        """The model stops; what it has written is paid for."""
        self._host.cancel()

    def completion(self) -> dict:
        """All of it, as `chat` returns it: after the end, or after `cancel`."""
        return completion(call(self._host.completion))


def generate(prompt: str, **options) -> dict:
    """How a model goes on after the prompt: text, finish (stop, length, budget, cancelled), model, prompt_tokens,
    completion_tokens, duration_ms, cached. `options` are those of `options_of`."""
    return completion(call(host.generate, text(prompt), options_of(**options)))


def chat(messages: Iterable[Mapping], **options) -> dict:
    """What a model answers to `[{"role": "user", "content": "..."}]`, in the same form."""
    return completion(call(host.chat, conversation(messages), options_of(**options)))


def chat_stream(messages: Iterable[Mapping], **options) -> TokenStream:
    """The same piece by piece; it is there before the first of them, so several can be written at one time."""
    return TokenStream(call(host.chat_stream, conversation(messages), options_of(**options)))


def models() -> list[str]:
    """Names that this task may use, of the models that are there."""
    return call(host.models)


def options_of(
    *,
    model: str | None = None,
    temperature: float | None = None,
    top_p: float | None = None,
    seed: int | None = None,
    max_tokens: int | None = None,
    stop: Iterable[str] = (),
    schema: object = None,
    extra: Mapping | None = None,
) -> host.Options:
    """`schema` is a JSON schema that the answer's text satisfies; what is left out is as the runtime is configured."""

    def unless_none(convert, value):
        return None if value is None else convert(value)

    return host.Options(
        unless_none(text, model),
        unless_none(float, temperature),
        unless_none(float, top_p),
        unless_none(lambda seed: whole(seed, 64), seed),
        unless_none(lambda tokens: whole(tokens, 32), max_tokens),
        list_of(stop),
        unless_none(json.dumps, schema),
        unless_none(json.dumps, extra),
    )


def conversation(messages: Iterable[Mapping]) -> list[host.Message]:
    if isinstance(messages, (str, Mapping)):
        raise TypeError('expected a list of messages: [{"role": "user", "content": text}]')
    return [message(**said) for said in messages]


def message(role: str, content: str, **extra) -> host.Message:
    """`extra` are `thinking`, `tool_calls` and their like."""
    if role not in ("system", "user", "assistant"):
        raise ValueError(f"the role of a message is system, user or assistant, not {role!r}")
    return host.Message(host.Role[role.upper()], text(content), json.dumps(extra) if extra else None)


def completion(made: host.Completion) -> dict:
    return {**vars(made), "finish": made.finish.name.lower()}
