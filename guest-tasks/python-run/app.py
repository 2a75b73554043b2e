"""Runs a Python script that arrives as the task's input; README.md says how.

Everything is imported here, while the component is built: the interpreter is frozen with these imports done, and
at run time there is no disk to import from.
"""

import linecache
import random
import sys
import traceback
import types

import wit_world
from componentize_py_types import Err

import omnimind
from interpreter import event_loop, standard_library
from interpreter.output import Output, to_bytes
from interpreter.request import Request

standard_library.load()
event_loop.install()

MAX_ERROR_BYTES = 4096


class WitWorld(wit_world.WitWorld):
    def run(self, input: bytes) -> bytes:
        # The state frozen with the interpreter would be the same in every task.
        random.seed()
        try:
            request = Request.parse(input)
        except ValueError as error:
            raise Err(str(error)) from None
        output = Output()
        try:
            return execute(request, output)
        except SystemExit as exit:
            if exit.code is None or exit.code == 0:
                return output.take()
            raise Err(exit_text(exit.code)) from None
        except BaseException as error:
            raise Err(shorten(uncaught(error, request.name))) from None
        finally:
            # An error, or a `run` that ended the program: what was printed is not the output, so it is log.
            output.to_log()


def execute(request: Request, output: Output) -> bytes:
    linecache.cache[request.name] = (len(request.source), None, request.source.splitlines(True), request.name)
    sys.argv = [request.name]
    sys.stdin = request.stdin()
    sys.stdout = output
    omnimind.input = request.input
    main = types.ModuleType("__main__")
    main.__file__ = request.name
    sys.modules["__main__"] = main
    exec(compile(request.source, request.name, "exec", dont_inherit=True), main.__dict__)
    run = getattr(main, "run", None)
    if not callable(run):
        printed = output.take()
        if not printed:
            print("the script defines no run(input) and printed nothing", file=sys.__stderr__)
        return printed
    output.to_log()
    return to_bytes(event_loop.finish(run(request.input)))


def uncaught(error: BaseException, script: str) -> str:
    """What Python prints for it, from the script's own frames on."""
    frames = error.__traceback__
    while frames and frames.tb_frame.f_code.co_filename != script:
        frames = frames.tb_next
    if isinstance(error, ModuleNotFoundError):
        error.add_note("This interpreter has most of the standard library, and no packages; there is no pip.")
    return "".join(traceback.format_exception(type(error), error, frames)).rstrip()


def exit_text(code: object) -> str:
    return f"exit code {int(code)}" if isinstance(code, int) else shorten(str(code))


def shorten(text: str) -> str:
    """At most MAX_ERROR_BYTES of valid UTF-8; of a longer text the beginning and, more of it, the end."""
    data = text.encode(errors="backslashreplace")
    if len(data) > MAX_ERROR_BYTES:
        head, tail = data[:1000], data[1000 - MAX_ERROR_BYTES + 100 :]
        data = head + b"\n... %d bytes left out ...\n" % (len(data) - len(head) - len(tail)) + tail
    return data.decode(errors="ignore")
