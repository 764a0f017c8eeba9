"""Commands: from what the centre asks to the handler that does it, and its answer, whatever happens.

Every command runs in a thread of its own; what reads a source runs as a job of that source. A handler is named by the
command's kind in `forebay.v1.Command`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError
from typing import TypeAlias

from forebay_agent import journal
from forebay_agent.control.addressing import Workers
from forebay_agent.control.draining import Draining
from forebay_agent.control.reading import Emit, Reading
from forebay_agent.errors import AgentError, CommandUnknown, ConfigurationError
from forebay_agent.outbox import Outbox
from forebay_agent.policy import remedy_of
from forebay_agent.stream_state import Board
from forebay_agent.verifying.reading import Readings
from forebay_wire.v1 import control_pb2

Handler: TypeAlias = Callable[[control_pb2.Command, Emit], control_pb2.CommandResult]
"""Carries a command out and returns the last part of its answer; `effect` says what it did. Parts before it go to `emit`.
Raises AgentError."""


class Commands:
    """more: handlers by kind, beside those that only look at sources and outbox."""

    def __init__(
        self, outbox: Outbox, board: Board, workers: Workers, more: Mapping[str, Handler] | None = None
    ) -> None:
        reading = Reading(outbox, workers, Readings())
        self._handlers: dict[str, Handler] = {
            "drain": Draining(outbox, board, workers),
            "source_digest": reading.digest,
            "source_keys": reading.keys,
            "source_rows": reading.rows,
            **(more or {}),
        }

    def start(self, command: control_pb2.Command, emit: Emit) -> None:
        """Begins a command; `emit` is called, from another thread, with its answer's parts."""
        threading.Thread(target=self.execute, args=(command, emit), name="command", daemon=True).start()

    def execute(self, command: control_pb2.Command, emit: Emit) -> None:
        """Carries a command out to its end. Never raises: what goes wrong is the answer."""
        kind = command.WhichOneof("kind") or ""
        journal.info("command", kind=kind, command=command.command_id)

        def part(answer: control_pb2.CommandResult) -> None:
            answer.command_id = command.command_id
            emit(answer)

        try:
            handler = self._handlers.get(kind)
            if handler is None:
                raise CommandUnknown(f"this agent does not know the command {kind or 'that was sent'}")
            answer = handler(command, part)
        except AgentError as error:
            answer = _failure(error)
        except CancelledError:
            answer = _failure(AgentError("the source's thread ended before it came to this"))
        except Exception as error:
            answer = _failure(journal.unexpected(error))
        if answer.code:
            journal.warning("command failed", command=command.command_id, code=answer.code, reason=answer.reason)
        else:
            journal.info("command done", command=command.command_id, effect=answer.effect)
        answer.done = True
        part(answer)


def _failure(error: AgentError) -> control_pb2.CommandResult:
    problems = error.problems if isinstance(error, ConfigurationError) else (error,)
    reason = "\n".join(str(problem) for problem in problems)
    return control_pb2.CommandResult(code=error.code, reason=reason, effect=f"failed. {remedy_of(error)}")
