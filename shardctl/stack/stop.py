"""Stop a stack and keep its data."""

from infra.backends.backend import Backend
from shardctl.acts.recording import begin_act


async def stop_stack(backend: Backend, reason: str | None = None) -> None:
    """Stop every process, in order, and what a killed supervisor left behind. Raises BackendError.

    A running stack records who stops it. The act never gets an outcome, because its database stops too. A stack whose
    control database does not answer must be stoppable, so then a warning is all that is left of it.
    """
    async with backend.lock():
        if await backend.is_running():
            await begin_act(backend, "stop_stack", backend.stack, reason=reason, unrecorded=True)
        await backend.stop()
