"""Stop a stack and keep its data."""

from infra.backends.backend import Backend
from shardctl.audit.heads import PUBLISH_AT_DOWN_S, publish_head
from shardctl.audit.queries import open_audit
from shardctl.audit.recording import begin_act
from shardctl.errors import NotReachable
from shardctl.output import print_warning
from shardctl.stack.broker import kafka_of
from shardctl.stack.current import control_dsn


async def stop_stack(backend: Backend, reason: str | None = None) -> None:
    """Stop every process, in order, and what a killed supervisor left behind. Raises BackendError, NotReachable,
    UsageError.

    A running stack records who stops it. The act never gets an outcome, because its database stops too. A stack whose
    control database does not answer must be stoppable, so then a warning is all that is left of it. The head of the
    audit chain goes to Kafka, so that what is written while the stack lies still would show.
    """
    async with backend.lock():
        if await backend.is_running():
            attempt = await begin_act(backend, "stack.down", backend.stack, reason=reason, unrecorded=True)
            if attempt is not None:
                await _publish_head(backend)
        await backend.stop()


async def _publish_head(backend: Backend) -> None:
    try:
        async with open_audit(control_dsn(backend)) as audit:
            head = await audit.head()
        await publish_head(kafka_of(backend), backend.stack, head, within_s=PUBLISH_AT_DOWN_S)
    except NotReachable as error:
        print_warning(f"the head of the audit chain was not published: {error}")
