"""The one error tree. Outside errors are translated into it where they cross into ops-mcp.

OpsError                      carries the one error shape, `Problem`
├── UnknownTool               unknown_tool
├── InvalidArguments          invalid_arguments
├── Unauthenticated           unauthenticated
├── NotPermitted              not_permitted
├── OverBudget                over_budget
├── RateLimited               rate_limited
├── ApprovalNeeded            needs_approval
├── Frozen                    frozen
├── GuardBlocked              guard_blocked
├── Conflict                  conflict
├── InProgress                in_progress
├── NotFound                  not_found
├── NotConfigured             not_configured
├── Unsupported               unsupported
├── ProviderError             provider_error     (`temporary` says whether trying again can help)
├── DeadlineExceeded          timeout
└── Unavailable               unavailable
    └── LeaseLost             unavailable        (this worker's lease has passed to another)
"""

from enum import StrEnum
from typing import ClassVar

from ops_mcp.values import JsonObject, Value


class Code(StrEnum):
    """What kind of refusal or failure it is; closed, and the same in every reply."""

    unknown_tool = "unknown_tool"
    invalid_arguments = "invalid_arguments"
    unauthenticated = "unauthenticated"
    not_permitted = "not_permitted"
    over_budget = "over_budget"
    rate_limited = "rate_limited"
    needs_approval = "needs_approval"
    frozen = "frozen"
    guard_blocked = "guard_blocked"
    conflict = "conflict"
    in_progress = "in_progress"
    not_found = "not_found"
    not_configured = "not_configured"
    unsupported = "unsupported"
    provider_error = "provider_error"
    timeout = "timeout"
    unavailable = "unavailable"


class Problem(Value):
    """The one error shape: what was wrong, and in `hint` what is valid and what to do next."""

    code: Code
    message: str
    hint: str = ""
    retryable: bool = False
    retry_after_seconds: float | None = None
    details: JsonObject = {}


class OpsError(Exception):
    """Base of every expected error. Subclasses fix the code and whether the same call may succeed later."""

    code: ClassVar[Code] = Code.unavailable
    retryable: ClassVar[bool] = False

    def __init__(
        self, message: str, *, hint: str = "", retry_after_seconds: float | None = None, details: JsonObject | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.retry_after_seconds = retry_after_seconds
        self.details: JsonObject = details or {}

    @property
    def problem(self) -> Problem:
        """This error as the value that replies and records carry."""
        return Problem(
            code=self.code,
            message=self.message,
            hint=self.hint,
            retryable=self.may_be_retried,
            retry_after_seconds=self.retry_after_seconds,
            details=self.details,
        )

    @property
    def may_be_retried(self) -> bool:
        return self.retryable


class UnknownTool(OpsError):
    """No tool has this name, or its toolset is not switched on."""

    code = Code.unknown_tool


class InvalidArguments(OpsError):
    """An argument is missing, unknown or of the wrong shape; the message names the field and never repeats its value."""

    code = Code.invalid_arguments


class Unauthenticated(OpsError):
    """A credential was presented and belongs to nobody: wrong, revoked, or a placeholder that was never filled in."""

    code = Code.unauthenticated


class NotPermitted(OpsError):
    """The caller's ceiling, level or policy does not allow it, or the caller is killed."""

    code = Code.not_permitted


class OverBudget(OpsError):
    """A budget of calls, tokens or money would be exceeded; `retry_after_seconds` says when its window ends."""

    code = Code.over_budget
    retryable = True


class RateLimited(OpsError):
    """Too many calls in a short time; `retry_after_seconds` says when the next one fits."""

    code = Code.rate_limited
    retryable = True


class ApprovalNeeded(OpsError):
    """A person must decide first; the approval's id is in `details`."""

    code = Code.needs_approval


class Frozen(OpsError):
    """An operator has stopped changes in this environment."""

    code = Code.frozen


class GuardBlocked(OpsError):
    """The host where the service runs is under too much load, or cannot be read."""

    code = Code.guard_blocked
    retryable = True


class Conflict(OpsError):
    """What was expected is not what is there, or an idempotency key was used with other arguments."""

    code = Code.conflict


class InProgress(OpsError):
    """Another operation holds this service and environment."""

    code = Code.in_progress
    retryable = True


class NotFound(OpsError):
    """There is no such thing, or the caller may not see it."""

    code = Code.not_found


class NotConfigured(OpsError):
    """Something that the operator must set up is missing or cannot be read."""

    code = Code.not_configured


class Unsupported(OpsError):
    """The place where the service runs cannot do this."""

    code = Code.unsupported


class ProviderError(OpsError):
    """A provider, or the code it was given, failed. `temporary` is read by the one place that retries."""

    code = Code.provider_error

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        temporary: bool = False,
        retry_after_seconds: float | None = None,
        details: JsonObject | None = None,
    ) -> None:
        super().__init__(message, hint=hint, retry_after_seconds=retry_after_seconds, details=details)
        self.temporary = temporary

    @property
    def may_be_retried(self) -> bool:
        return self.temporary


class DeadlineExceeded(OpsError):
    """It was not finished in time; what was started goes on unless the message says otherwise."""

    code = Code.timeout
    retryable = True


class Unavailable(OpsError):
    """The ledger, policy or budget cannot be read or written, so nothing that changes anything runs."""

    code = Code.unavailable
    retryable = True


class LeaseLost(Unavailable):
    """This worker no longer holds the lease: what it wanted to write was not written, and it must stop."""

    retryable = False
