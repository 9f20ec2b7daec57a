"""Errors as the API words them."""

from __future__ import annotations


class ApiError(Exception):
    """A request is refused: an HTTP status and Salesforce's code and message for it."""

    def __init__(self, status: int, code: str, message: str) -> None:
        """The reply's body is a list with this one error."""
        super().__init__(f"{status} {code}: {message}")
        self.status = status
        self.code = code
        self.message = message

    @property
    def body(self) -> list[dict[str, str]]:
        """What the reply says."""
        return [{"message": self.message, "errorCode": self.code}]


def not_found() -> ApiError:
    """The path names nothing."""
    return ApiError(404, "NOT_FOUND", "The requested resource does not exist")


def session_expired() -> ApiError:
    """The token is missing, unknown or too old."""
    return ApiError(401, "INVALID_SESSION_ID", "Session expired or invalid")


def limit_reached() -> ApiError:
    """The day's requests are used up."""
    return ApiError(403, "REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.")


def query_timeout() -> ApiError:
    """The query took too long."""
    return ApiError(400, "QUERY_TIMEOUT", "Your query request was running for too long.")


def unsupported(what: str) -> ApiError:
    """Salesforce could do this; this server can't. No client may take it for Salesforce's own answer."""
    return ApiError(501, "NOT_IN_THIS_SERVER", f"the local Salesforce does not know {what}")
