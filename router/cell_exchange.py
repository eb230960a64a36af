"""What every request for a cell goes through first: how often its address and its customer may ask, and where the
customer lives. Whatever that leads to (an answer, a tunnel) has one deadline from here on.
"""

from time import monotonic

from router.budget import budget_s
from router.errors import RouterRefusal
from router.exchange import Exchange
from router.identify import Route


class CellExchange(Exchange):
    """Subclasses say in `forward` what becomes of a request that was admitted."""

    route: Route
    """Where it goes now. `found_route` is where it went first: a 421 or a hold ends with another."""
    deadline_s = 0.0

    def begin(self) -> None:
        """The address first, because it costs nothing to ask; then the token; then the customer whom it names.

        Token buckets are kept with connection and route, so that a known customer costs no look-up; one that was swept
        from its table meanwhile is looked up again. Whoever is refused on the way has cost no cell anything.
        """
        services, request, client = self.services, self.request, self.client
        if not request.request_id or not request.trace:
            services.ids.complete(request)
        now_s = monotonic()
        request.received_s = now_s
        limits = services.limits
        bucket = client.token_bucket
        if bucket is None or bucket.forgotten:
            bucket = client.token_bucket = limits.address.bucket_of(client.address)
        if not limits.address.take(bucket, now_s):
            self.refuse(limits.address.refusal(bucket, now_s))
            return
        try:
            self.found_route = self.route = route = services.routes.of_request(request.authorization)
        except RouterRefusal as refusal:
            self.refuse(refusal)
            return
        bucket = route.token_bucket
        if bucket is None or bucket.forgotten:
            bucket = route.token_bucket = limits.user.bucket_of(route.user_id)
        if not limits.user.take(bucket, now_s):
            self.refuse(limits.user.refusal(bucket, now_s))
            return
        self.deadline_s = now_s + services.deadline_s
        self.forward(now_s)

    def forward(self, now_s: float) -> None:
        """To the cell of `route`."""
        raise NotImplementedError

    @property
    def budget_s(self) -> float:
        """What is left to give to a cell; not above zero: nothing may be sent any more."""
        return budget_s(self.deadline_s, monotonic())
