"""One command from its text to its exit status.  Source: brief CLI-PROTOCOL 4.2."""

import logging
import traceback
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure

from xapi_py.api.call import Caller
from xapi_py.api.dispatch import Dispatcher, internal_error
from xapi_py.api.inside import InsideCaller
from xapi_py.api.toolstack import Toolstack
from xapi_py.base.errors import ApiError
from xapi_py.base.names import Ref
from xapi_py.cli import errors, field_commands, plain_commands
from xapi_py.cli.context import Context
from xapi_py.cli.conversation import Conversation
from xapi_py.cli.forms import FORMS, FormPrinter, make_printer
from xapi_py.cli.help_command import show_help
from xapi_py.cli.problems import (
    ClientGone,
    CliError,
    CommandFailed,
    ExitWith,
    LoginFailed,
    MissingParameter,
    UnknownCommand,
)
from xapi_py.cli.registry import load_commands
from xapi_py.cli.suggestions import closest
from xapi_py.cli.table import CommandSpec, load_tables
from xapi_py.cli.words import STANDARD, Words, parse

log = logging.getLogger(__name__)

_LIKE = 0.86
_LARGE = 5000
"""So many values take longer to write as json or yaml than others can wait."""


class CommandLine:
    """Runs the commands of all clients of one server.

    ``in_thread`` runs a function beside the others and gives a Deferred of its result.
    """

    def __init__(
        self,
        toolstack: Toolstack,
        dispatcher: Dispatcher,
        in_thread: Callable[[Callable[[], str]], Deferred[str]] = deferToThread,
    ) -> None:
        self._in_thread = in_thread
        self._toolstack = toolstack
        self._dispatcher = dispatcher
        self._tables = load_tables(toolstack.model.profile)

    async def run(self, body: str, caller: Caller, client: Conversation, terminal: int = 0) -> int:
        """Run one command and give the exit status.

        ``terminal`` is the width of the user's terminal, 0 for none.  Errors: ClientGone.
        """
        words: Words | None = None
        try:
            words = parse(body)
            return await self._run(words, caller, client, terminal)
        except ExitWith as problem:
            return problem.code
        except CliError as problem:
            errors.explain(client, problem, self._tables, words)
            if words is not None and words.has("trace"):
                _trace(client, problem)
            return 1

    async def _run(self, words: Words, caller: Caller, client: Conversation, terminal: int) -> int:
        if words.output not in ("", *FORMS):
            raise CommandFailed(f"--output is one of {', '.join(FORMS)}, not '{words.output}'")
        printer = make_printer(client.say, client.say_error, words.output, words.flag("minimal"))
        if words.command == "help":
            show_help(printer, words, self._tables, terminal)
            printer.flush()
            return 0
        command = self._tables.commands.get(words.command)
        if command is None:
            raise UnknownCommand(words.command)
        check_parameters(command, words)
        try:
            session = await self._login(words, command, caller)
        except ApiError as error:
            errors.explain_api(client, error, None, words.output)
            return 1
        api = self._caller(session, caller)
        context = Context(words, command, self._tables, api, printer, client)
        try:
            await self._execute(context)
            await self._flush(context)
            return 0
        except ApiError as error:
            errors.explain_api(client, error, context, words.output)
            if words.flag("trace"):
                _trace(client, error)
            return 1
        except CancelledError:
            raise ClientGone from None
        finally:
            if not words.session:
                await self._logout(api, command)

    def _caller(self, session: Ref, caller: Caller) -> InsideCaller:
        return InsideCaller(self._toolstack, self._dispatcher, session, caller)

    async def _execute(self, context: Context) -> None:
        command = context.command
        code = load_commands().get(command.name)
        try:
            if code is not None:
                await code(context)
            elif command.do is not None:
                await plain_commands.run(context)
            elif command.record is not None:
                await field_commands.run(context)
            else:
                await context.api.call(f"xe.{command.name}")
        except (ApiError, CliError, ClientGone, CancelledError):
            raise
        except Exception:
            raise internal_error(f"xe {command.name}", Failure()) from None

    async def _flush(self, context: Context) -> None:
        """Print what was kept; much of it is put into its form in another thread."""
        printer = context.printer
        if isinstance(printer, FormPrinter) and printer.size > _LARGE:
            context.client.say(await self._in_thread(printer.render))
        else:
            printer.flush()

    async def _login(self, words: Words, command: CommandSpec, caller: Caller) -> Ref:
        if words.session:
            return Ref(words.session)
        user, password = words.get("username"), words.get("password")
        nobody = self._caller(Ref(""), caller)
        try:
            if command.local_session:
                method = "session.slave_local_login_with_password"
                return Ref(await nobody.call(method, user, password))
            method = "session.login_with_password"
            return Ref(await nobody.call(method, user, password, "2.6", "cli"))
        except ApiError as error:
            if error.code != "SESSION_AUTHENTICATION_FAILED":
                raise
            wanted = "Please supply a user name and a password (-u and -pw)"
            raise LoginFailed("Authentication failed" if user else wanted) from error

    async def _logout(self, api: InsideCaller, command: CommandSpec) -> None:
        local = command.local_session
        try:
            await api.call("session.local_logout" if local else "session.logout")
        except ApiError as error:
            log.info("logging out of xe failed: %s", error)


def check_parameters(command: CommandSpec, words: Words) -> None:
    """Refuse a command without a required parameter, or with a misspelt one.

    The original ignores what it does not know; here a word that is almost a
    parameter of the command, and stands where that is missing, is an error.
    Errors: MissingParameter, CommandFailed.
    """
    for name in command.required:
        if not words.has(name):
            raise MissingParameter(name)
    takes_fields = command.verb or any(f.endswith("-selectors") for f in command.flags)
    if takes_fields:
        return
    known = {n for n in (*command.required, *command.optional, *command.also)}
    given = {key for key, _ in words.pairs}
    for key in given - known - STANDARD:
        base, mark, _ = key.partition(":")
        word = f"{base}:" if mark else key
        if word in known or any(n[-1] in ":-" and key.startswith(n[:-1]) for n in known):
            continue
        likely = closest(word, known - given, _LIKE)
        if likely:
            raise CommandFailed(f"Unknown parameter '{key}' (did you mean '{likely}'?)")


def _trace(client: Any, problem: Exception) -> None:
    client.say_error(f"Raised {type(problem).__name__}{problem.args!r}\n")
    client.say_error("Backtrace:\n")
    client.say_error("".join(traceback.format_tb(problem.__traceback__)) + "\n")
