"""What every call has: a request id, a deadline, a line in the access log; no stack trace out."""

from __future__ import annotations

import asyncio
import logging
import math
import os
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass
from time import perf_counter
from typing import Any, NoReturn, cast

import grpc
from google.protobuf.message import Message
from google.rpc import code_pb2, status_pb2

from tamis_server.domain.context import Deadline
from tamis_server.domain.errors import DeadlineExceeded, Overloaded
from tamis_server.protection.admission import Admission
from tamis_server.transport.status import status_of

REQUEST_ID = "x-request-id"
WORKER = "x-tamis-worker"  # which of how many, where there are several
_MAX_REQUEST_ID = 128
_ASKING = "/tamis.v1.RecommendService/"
_CODES = {value: name for name, value in code_pb2.Code.items()}  # Code.Name() takes a microsecond
log = logging.getLogger(__name__)
access_log = logging.getLogger("tamis.access")

_NEAR_S = 0.01  # to a deadline that passes at the caller first

Handler = Callable[[Any, grpc.aio.ServicerContext[Any, Any]], Awaitable[Message]]


@dataclass(slots=True)
class Call:
    """The call being answered. ``notes`` go to its line in the access log."""

    request_id: str
    deadline: Deadline
    notes: dict[str, str | int]


_current: ContextVar[Call] = ContextVar("call")


def current_call() -> Call:
    """The call that the running task answers."""
    return _current.get()


class CallInterceptor(grpc.aio.ServerInterceptor):
    """Wraps the unary calls of our own services.

    A call without a deadline gets ``default_timeout_s``; one with less than ``min_timeout_s`` left
    is refused before any work is done for it.
    """

    def __init__(
        self,
        *,
        default_timeout_s: float,
        min_timeout_s: float,
        log_calls: bool,
        observe: Callable[[str, str, float], None],
        admission: Admission,
        worker: str = "",
    ) -> None:
        """observe: told method, status code and seconds of every call; admission: of the calls
        that ask for items, since events have queues of their own; worker: which of how many."""
        self._admission = admission
        self._trailers = ((WORKER, worker),) if worker else ()
        self._default_timeout_s = default_timeout_s
        self._min_timeout_s = min_timeout_s
        self._log_calls = log_calls
        self._observe = observe
        self._wrapped: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}

    async def intercept_service(
        self,
        continuation: Callable[
            [grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]
        ],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        method = handler_call_details.method
        wrapped = self._wrapped.get(method)
        if wrapped is not None:
            return wrapped
        handler = await continuation(handler_call_details)
        if not method.startswith("/tamis.") or handler is None:
            return handler
        codecs = (handler.request_deserializer, handler.response_serializer)
        if handler.unary_unary:
            answer = self._wrap(
                method, cast("Handler", handler.unary_unary), self._default_timeout_s
            )
            wrapped = grpc.unary_unary_rpc_method_handler(answer, *codecs)
        else:  # a stream lasts as long as its caller likes
            whole = _uncut(cast("Handler", handler.stream_unary))
            answer = self._wrap(method, whole, math.inf)
            wrapped = grpc.stream_unary_rpc_method_handler(answer, *codecs)
        self._wrapped[method] = wrapped
        return wrapped

    def _wrap(self, method: str, handler: Handler, default_timeout_s: float) -> Handler:
        handle = self._admitted(handler) if method.startswith(_ASKING) else handler

        async def answer(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Message:
            start = perf_counter()
            remaining = context.time_remaining()
            if remaining is None:
                remaining = default_timeout_s
            call = Call(_request_id(context), Deadline.after(remaining), {})
            _current.set(call)
            context.set_trailing_metadata(((REQUEST_ID, call.request_id), *self._trailers))
            code: int = code_pb2.CANCELLED  # unless we get to say another
            try:
                if remaining < self._min_timeout_s:
                    least = f"{self._min_timeout_s * 1e3:g} ms"
                    raise DeadlineExceeded(f"{remaining * 1e3:.3f} ms left, {least} needed")
                response = await handle(request, context)
                code = code_pb2.OK
                return response
            except asyncio.CancelledError:
                if call.deadline.remaining() < _NEAR_S:  # looks here like a caller who hangs up
                    code = code_pb2.DEADLINE_EXCEEDED
                raise
            except Exception as error:
                status = refusal(error, call.request_id)
                code = status.code
            finally:
                seconds = perf_counter() - start
                self._observe(method, _CODES[code], seconds)
                if self._log_calls:
                    _log_access(method, call, _CODES[code], seconds)
            return await _abort(context, status, call, self._trailers)

        return answer

    def _admitted(self, handler: Handler) -> Handler:
        admission = self._admission

        async def handle(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Message:
            if not admission.admit(current_call().deadline.remaining()):
                raise Overloaded("the server", admission.retry_after_s)
            started = perf_counter()
            try:
                return await handler(request, context)
            finally:
                admission.released(perf_counter() - started)

        return handle


def _uncut(handler: Handler) -> Handler:
    """A stream that was cut (by its caller, or by its connection's age) looks to ``handler`` like
    one that has ended. Its cancellation is on the way by then: when something was sent it is here.
    """

    async def handle(requests: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Message:
        response = await handler(requests, context)
        await context.send_initial_metadata(())
        return response

    return handle


def refusal(error: Exception, request_id: str) -> status_pb2.Status:
    """What the caller is told of ``error``; what it is not told, being our own fault, is logged."""
    status = status_of(error, request_id)
    if status.code == code_pb2.INTERNAL:
        log.error("request failed", exc_info=error, extra={"request_id": request_id})
    return status


async def _abort(
    context: grpc.aio.ServicerContext[Any, Any],
    status: status_pb2.Status,
    call: Call,
    trailers: tuple[tuple[str, str], ...],
) -> NoReturn:
    code = next(code for code in grpc.StatusCode if code.value[0] == status.code)
    details = ("grpc-status-details-bin", status.SerializeToString())
    await context.abort(code, status.message, (details, (REQUEST_ID, call.request_id), *trailers))


def _request_id(context: grpc.aio.ServicerContext[Any, Any]) -> str:
    for key, value in context.invocation_metadata() or ():
        if key == REQUEST_ID and isinstance(value, str) and 0 < len(value) <= _MAX_REQUEST_ID:
            return value
    return os.urandom(16).hex()


def _log_access(method: str, call: Call, code: str, seconds: float) -> None:
    access_log.info(
        "%s %s",
        method,
        code,
        extra={
            "method": method,
            "status": code,
            "request_id": call.request_id,
            "ms": round(seconds * 1e3, 3),
            **call.notes,
        },
    )
