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
    code = Code.unknown_tool


class InvalidArguments(OpsError):
    code = Code.invalid_arguments


class Unauthenticated(OpsError):
    code = Code.unauthenticated


class NotPermitted(OpsError):
    code = Code.not_permitted


class OverBudget(OpsError):
    code = Code.over_budget
    retryable = True


class RateLimited(OpsError):
    code = Code.rate_limited
    retryable = True


class ApprovalNeeded(OpsError):
    code = Code.needs_approval


class Frozen(OpsError):
    code = Code.frozen


class GuardBlocked(OpsError):
    code = Code.guard_blocked
    retryable = True


class Conflict(OpsError):
    code = Code.conflict


class InProgress(OpsError):
    code = Code.in_progress
    retryable = True


class NotFound(OpsError):
    code = Code.not_found


class NotConfigured(OpsError):
    code = Code.not_configured


class Unsupported(OpsError):
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
    code = Code.timeout
    retryable = True


class Unavailable(OpsError):
    code = Code.unavailable
    retryable = True
