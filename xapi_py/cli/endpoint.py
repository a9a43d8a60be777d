"""POST /cli: where clients of the command line come in."""

from xapi_py.api.dispatch import Dispatcher
from xapi_py.api.toolstack import Toolstack
from xapi_py.cli.conversation import Conversation
from xapi_py.cli.registry import load_commands
from xapi_py.cli.run import CommandLine
from xapi_py.http.messages import NO_HEAD, Request, Takeover
from xapi_py.http.routes import Routes
from xapi_py.http.serve import caller_of

BODY_LIMIT_BYTES = 200 * 1024
TERMINAL_HEADER = "xe-terminal"
"""Our client names the width of its terminal here; the original has no such header."""


class CliEndpoint:
    """Turns a request into a conversation; no HTTP answer is sent."""

    limit_bytes = BODY_LIMIT_BYTES

    def __init__(self, command_line: CommandLine) -> None:
        self._command_line = command_line

    def answer(self, request: Request) -> Takeover:
        """Give the conversation that runs the command of a request."""
        body = request.content.decode("utf-8", "surrogateescape")
        caller = caller_of(request)
        caller.on_disconnect = None
        columns = request.headers.get(TERMINAL_HEADER, "")
        terminal = int(columns) if columns.isdecimal() and len(columns) < 5 else 0

        async def serve(client: Conversation) -> int:
            return await self._command_line.run(body, caller, client, terminal)

        return Takeover(Conversation(serve), status=NO_HEAD)


def add_cli_route(routes: Routes, toolstack: Toolstack, dispatcher: Dispatcher) -> None:
    """Answer clients of the command line."""
    load_commands()
    endpoint = CliEndpoint(CommandLine(toolstack, dispatcher))
    routes.add_content("POST", "/cli", endpoint, name="post_cli")
