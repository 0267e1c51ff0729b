"""Errors that no retry heals: Kafka, the registry or stored state says no, and will say so again.

What can heal (``retriable``) is tried again by whoever asked, and shown in ``/ready`` meanwhile. The rest ends the
process with one line, so that whoever runs it hears of it.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import NoReturn

from aiokafka import errors as kafka

from anomaly_app.errors import AnomalyError, BrokerRefusal

STATUS = 2
"""Of a process that ends because of a refusal."""

log = logging.getLogger(__name__)

RIGHTS = (
    kafka.TopicAuthorizationFailedError,
    kafka.GroupAuthorizationFailedError,
    kafka.ClusterAuthorizationFailedError,
    kafka.TransactionalIdAuthorizationFailed,
    kafka.DelegationTokenAuthorizationFailed,
    kafka.DelegationTokenExpired,
    kafka.AuthenticationFailedError,
    kafka.AuthenticationMethodNotSupported,
    kafka.SaslAuthenticationFailed,
    kafka.UnsupportedSaslMechanismError,
    kafka.IllegalSaslStateError,
    kafka.SecurityDisabled,
)
"""The user is not let in, or may not do what is asked."""
OTHERS = (
    kafka.InvalidConfigurationError,
    kafka.InvalidGroupIdError,
    kafka.InvalidReplicationFactorError,
    kafka.InvalidRequiredAcksError,
    kafka.InvalidSessionTimeoutError,
    kafka.InvalidTimestampError,
    kafka.InvalidTopicError,
    kafka.MessageSizeTooLargeError,
    kafka.PolicyViolationError,
    kafka.RecordListTooLargeError,
    kafka.UnsupportedCodecError,
    kafka.UnsupportedForMessageFormatError,
    kafka.UnsupportedVersionError,
)
"""The broker's configuration does not allow what is asked."""


def refusal(error: BaseException, user: str = "") -> AnomalyError | None:
    """What an error means if it, or what caused it, cannot heal; None if it can, or if it is a fault of this program.

    Args:
        error: as caught.
        user: who asked, for the message.

    Example:
        >>> print(refusal(kafka.TopicAuthorizationFailedError("sales"), "ann"))
        Kafka does not allow user 'ann' what the job needs: [Error 29] TopicAuthorizationFailedError: sales
        >>> refusal(kafka.NotLeaderForPartitionError())
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, AnomalyError):
            return None if cause.retriable else cause
        if isinstance(cause, RIGHTS):
            who = f"user {user!r}" if user else "a user without login"
            return BrokerRefusal(f"Kafka does not allow {who} what the job needs: {cause}")
        if isinstance(cause, OTHERS):
            return BrokerRefusal(f"Kafka refuses what the job needs: {cause}")
        cause = cause.__cause__
    return None


def end(error: AnomalyError) -> NoReturn:
    """Print one line and end the process as it is: what is not written is read again after the next start.

    An orderly stop would ask once more for what was refused, and wait for it.
    """
    log.debug("the process ends", exc_info=error)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    # Not sys.stderr: that of faust worker is a log by now.
    print(f"anomaly: {error}", file=sys.__stderr__, flush=True)
    os._exit(STATUS)
