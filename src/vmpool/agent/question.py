"""What the agent was asked and has not answered yet."""

from __future__ import annotations

import anyio

from vmpool.agent.codec import Fields, Frame, unpack
from vmpool.agent.messages import Message
from vmpool.errors import AgentRefused, AgentUnreachable, VMPoolError

REPLIES = frozenset(
    {
        Message.LISTED,
        Message.FILE_DATA,
        Message.FILE_STATUS,
        Message.FILE_LISTED,
        Message.FILE_REMOVED,
        Message.DONE,
        Message.STATS_OK,
        Message.PONG,
    }
)
"""Answers to questions, of those that have fields."""


class Request:
    """A question on its way, repeated on a new connection; a `volatile` one then counts as done, one that may
    be sent `once` as failed."""

    __slots__ = ("done", "failure", "frame", "message", "once", "reply", "sent", "volatile")

    def __init__(self, message: Message, frame: bytes, *, volatile: bool, once: bool) -> None:
        self.message = message
        self.frame = frame
        self.volatile = volatile
        self.once = once
        self.sent = False
        self.done = anyio.Event()
        self.reply: Frame | None = None
        self.failure: VMPoolError | None = None

    def fail(self, error: VMPoolError) -> None:
        """Tell whoever waits."""
        self.failure = error
        self.done.set()

    def disconnected(self) -> None:
        """The connection it may have gone over is no more."""
        if self.sent and self.volatile:
            self.done.set()
        elif self.sent and self.once and not self.done.is_set():
            self.fail(AgentUnreachable("the connection broke before the answer", dispatch="outcome_unknown"))


class Question:
    """Something the agent was asked.  Waited for once, or dropped."""

    def __init__(self, requests: dict[int, Request], channel: int, expected: Message) -> None:
        self._requests = requests
        self._channel = channel
        self._request = requests[channel]
        self._expected = expected

    async def wait(self) -> Fields:
        """The answer; AgentRefused for FAILED, AgentUnreachable."""
        request = self._request
        try:
            await request.done.wait()
        finally:
            self.drop()
        if request.failure is not None:
            raise request.failure
        if request.reply is None:  # volatile, and the stream ended with the agent
            return Fields({})
        if request.reply.type != self._expected:
            raise AgentUnreachable(
                f"the agent answered {request.message.name} with message {request.reply.type}"
            )
        return unpack(self._expected, request.reply.payload)

    def drop(self) -> None:
        """Nobody wants to know any more."""
        self._requests.pop(self._channel, None)


def refusal(frame: Frame) -> AgentRefused:
    """What a FAILED says."""
    fields = unpack(Message.FAILED, frame.payload)
    number = fields.u64("errno")
    return AgentRefused(fields.text("reason"), fields.text("message"), number or None)
