"""How often one customer, and one address, may ask: a token bucket each, refilled steadily (GCRA, one float each).

Kept in each router for itself: sharing the counts would put a network call, and a shared fate, into every request. So
with n routers behind a balancer a customer may get up to n times the rate; the cells have their own limits. A full
table never refuses a stranger for being new: those who find no room share one token bucket.
"""

from collections.abc import Hashable
from ipaddress import IPv6Address, ip_address
from typing import Final

from router.errors import TooManyRequests

_IPV6_PREFIX_BITS: Final = 64
"""What a provider gives to one customer at least, who may pick any address in it."""


class TokenBucket:
    """When it will be full again, in seconds of the monotonic clock. Anything in the past is full."""

    __slots__ = ("forgotten", "full_at_s")

    def __init__(self) -> None:
        self.full_at_s = 0.0
        self.forgotten = False
        """Swept from the table: whoever still holds it must ask for the present one, or one customer has two."""


class Limit:
    """One rule, and a token bucket for everybody it is about."""

    def __init__(self, about: str, *, per_s: float, burst: int, tracked_max: int) -> None:
        self.about = about
        self.burst = burst
        self.refused = 0
        self._interval_s = 1.0 / per_s
        self._window_s = burst / per_s
        self._tracked_max = tracked_max
        self._buckets: dict[Hashable, TokenBucket] = {}
        self._shared = TokenBucket()
        self._line = b"ratelimit-limit: %d\r\nratelimit-remaining: %%d\r\nratelimit-reset: %%d\r\n" % burst

    @property
    def tracked(self) -> int:
        return len(self._buckets)

    def bucket_of(self, whom: Hashable) -> TokenBucket:
        bucket = self._buckets.get(whom)
        if bucket is None:
            if len(self._buckets) >= self._tracked_max:
                return self._shared
            bucket = self._buckets[whom] = TokenBucket()
        return bucket

    def take(self, bucket: TokenBucket, now_s: float) -> bool:
        """One request. False: not now, and nothing was taken."""
        full_at_s = bucket.full_at_s
        if full_at_s < now_s:
            full_at_s = now_s
        full_at_s += self._interval_s
        if full_at_s - now_s > self._window_s + 1e-9:  # a nanosecond: what sums of floats may be too large
            self.refused += 1
            return False
        bucket.full_at_s = full_at_s
        return True

    def headers(self, bucket: TokenBucket, now_s: float) -> bytes:
        """`RateLimit-Limit`, `-Remaining`, and `-Reset`: seconds until everything is there again."""
        owed_s = bucket.full_at_s - now_s
        if owed_s <= 0.0:
            return self._line % (self.burst, 0)
        # a millionth: what divided floats may be short of a whole request
        return self._line % (int((self._window_s - owed_s) / self._interval_s + 1e-6), int(owed_s) + 1)

    def refusal(self, bucket: TokenBucket, now_s: float) -> TooManyRequests:
        wait_s = bucket.full_at_s + self._interval_s - self._window_s - now_s
        refusal = TooManyRequests(f"more requests than one {self.about} may send")
        refusal.retry_after_s = max(1, int(wait_s + 0.999))  # whole seconds, upwards
        refusal.limit_headers = self.headers(bucket, now_s)
        return refusal

    def sweep(self, now_s: float) -> None:
        """Forget whose token bucket is full: it is like that of anybody new."""
        for whom in [whom for whom, bucket in self._buckets.items() if bucket.full_at_s <= now_s]:
            self._buckets.pop(whom).forgotten = True


def address_key(host: str) -> str:
    """Whom an address stands for: an IPv6 customer has a whole /64."""
    if ":" not in host:
        return host
    address = ip_address(host.partition("%")[0])
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return f"{int(address) >> _IPV6_PREFIX_BITS:x}/64"
