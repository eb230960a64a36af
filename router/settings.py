"""The router's settings, from the environment (`ROUTER_...`), read once in `__main__`. Every limit has a unit and
a reason."""

from pathlib import Path

from pydantic import BaseModel, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from infra.runtime.settings import ClockSettings, ListenSettings, RedisSettings


class ControlSettings(BaseModel):
    """The control database: sign-up, login by email, and a source of the map. Known users never wait for it."""

    dsn: str
    code: str | None = None
    """Schema of this release's control routines, which the router calls and does not carry: who starts it says so.
    None: the DSN's own options say it."""
    pool_max: int = Field(default=4, ge=1, le=32)
    """Connections. Sign-ups and logins wait for the cell's password hash; here each takes milliseconds."""
    timeout_s: float = Field(default=2.0, gt=0)
    """For one query, connecting included: a quarter of the request's deadline, the rest is for the cell."""


class UpstreamSettings(BaseModel):
    """How the router treats one cell, so that a sick one costs nobody else anything."""

    in_flight_max: int = Field(default=256, ge=1)
    """Requests inside one cell at once, of each kind (`kinds.py`): its batcher gains nothing from more, and a hung cell
    holds no more than these."""
    user_in_flight_max: int = Field(default=16, ge=1)
    """Of them one customer's, of each kind: many times their rate, as a request takes milliseconds; more would
    only wait in the cell instead of here. It takes sixteen customers who do their utmost to take a cell's permits."""
    queue_max: int = Field(default=512, ge=0)
    """Requests of one kind waiting for a place; beyond that the cell is overloaded and waiting only makes the answer
    late. Customers are served round robin, and when the queue is full the longest of them loses its newest."""
    user_queue_max: int = Field(default=256, ge=0)
    """Of them one customer's: with their share under way about what a cell can do for one in `share_wait_s`."""
    identity_in_flight_max: int = Field(default=64, ge=1)
    """Sign-ups, logins and refreshes inside one cell at once: it hashes two passwords at a time, the others wait."""
    slow_answers_max: int = Field(default=256, ge=0)
    """Large answers of one cell whose readers are slow, which take no permit any more: what they have not taken lies in
    the cell's memory, about a megabyte each at most."""
    queue_wait_s: float = Field(default=0.1, gt=0)
    """For a full cell, when nobody waited for it within that time; then 503. A burst of the size of its permits drains
    in a tenth of a second; and whoever is refused shall know within it."""
    queue_target_s: float = Field(default=0.02, gt=0)
    """For a full cell, when somebody always waited: a standing queue makes every answer late and none sooner. As long
    as a few calls of a batcher take."""
    share_wait_s: float = Field(default=1.0, gt=0)
    """For one's own other requests, which costs the cell nothing; and a login for a password hash, which takes some
    fifty milliseconds and has others before it."""
    connect_timeout_s: float = Field(default=1.0, gt=0)
    """Same machine room: a connection takes a millisecond; the rest is for a busy machine."""
    deadline_s: float = Field(default=8.0, ge=0.2)
    """For all that a request may take from when it was whole, holding and sending again included. Longer than the
    cell's own limit for a command, and below what clients wait."""
    idle_max_s: float = Field(default=60.0, gt=0)
    """Shorter than the cell's keep-alive (75 s), so a connection is rarely closed under a request; long, because who
    comes in a burst after a quiet moment would otherwise pay for opening one, just when the cell is busiest."""
    tunnels_max: int = Field(default=5_000, ge=0)
    """Open WebSockets into one cell, by this router: a file descriptor on either side and about 30 KB each."""
    user_tunnels_max: int = Field(default=32, ge=0)
    """Open WebSockets of one customer, by this router: some windows on some machines."""
    breaker_failures: int = Field(default=5, ge=1)
    """In a row, of one server: fewer could be one restart under a handful of requests."""
    breaker_open_s: float = Field(default=1.0, gt=0)
    """Then one request tries: a server that came back serves again within about a second."""


class AdmissionSettings(BaseModel):
    """How much this router lets into each cell. With n routers each has the n-th part of what a cell is to get."""

    orders_per_s: float | None = Field(default=None, gt=0)
    """Orders and replacements a second into one cell; the rest gets 503 with Retry-After at once. Somewhat below what a
    cell places in time, measured (`python -m loadtests bench orders`); None: as many as its permits allow."""
    others_times: float = Field(default=10.0, ge=1)
    """So many times as many cancels and reads of own orders may come, and as many other reads, and other writes. A read
    costs a cell a part of what an order does, and after each order its customer looks a few times."""


class HoldSettings(BaseModel):
    """Requests of a halted user that wait for the end of the move."""

    wait_s: float = Field(default=2.0, gt=0)
    """Twice the usual lease on a moving user, and a part of the request's deadline."""
    waiting_per_user_max: int = Field(default=32, ge=0)
    """What one customer can have under way in the second that a move may take; beyond it is no customer's hand."""
    waiting_max: int = Field(default=1_024, ge=0)
    """Of all users: with bodies of the largest size 64 MiB."""


class EdgeSettings(BaseModel):
    """What a client may send."""

    body_bytes_max: int = Field(default=65_536, ge=1)
    """Held whole for each request under way; an order has a few hundred."""
    head_bytes_max: int = Field(default=16_384, ge=1_024)
    """What common servers take; a token has a few hundred."""
    header_count_max: int = Field(default=100, ge=1)
    """What common servers take; a browser sends about twenty."""
    target_bytes_max: int = Field(default=4_096, ge=64)
    """Path and query: the longest of ours, with a page token, has a few hundred."""
    keep_alive_s: float = Field(default=75.0, gt=0)
    """Between two requests, as common servers have it: long enough for a person who reads a page."""
    drain_idle_s: float = Field(default=1.0, gt=0)
    """While draining: a keep-alive connection that was silent for this long is closed; who was about to speak still
    gets an answer."""
    first_byte_s: float = Field(default=15.0, gt=0)
    """A connection that never says anything: longer than a browser opens one ahead of its first request."""
    head_read_s: float = Field(default=5.0, gt=0)
    """From the first byte of a request to the end of its head. A head is one packet or two."""
    request_read_s: float = Field(default=15.0, gt=0)
    """From the first byte of a request to its last: a client that drips bytes is cut off."""
    tunnel_idle_s: float = Field(default=300.0, gt=0)
    """A WebSocket on which nobody says anything; both sides are expected to ping more often."""
    linger_s: float = Field(default=2.0, gt=0)
    """How long a client may take to close after its last answer; what it sends meanwhile is dropped."""
    close_s: float = Field(default=10.0, gt=0)
    """A client that does not take its last answer is cut off that long after we closed."""
    clients_max: int = Field(default=20_000, ge=1)
    """Connections at once: at 8 KB each 160 MB, and below the usual limit of open files."""
    clients_per_address_max: int = Field(default=4_096, ge=1)
    """One address may be an office or a provider's gateway, but not everybody."""


class AccessLogSettings(BaseModel):
    """Requests as JSON lines on standard output."""

    one_in: int = Field(default=100, ge=1)
    """Of all requests; answers of 500 and above are always written. A line costs as much as half a request."""
    lines_per_s_max: int = Field(default=100, ge=0)
    """A cell that fails ten thousand requests a second shall not fill a disk."""


class LimitSettings(BaseModel):
    """How often who may ask, for each router by itself. The rate refills a bucket of `burst`; a stack on one machine,
    where one address plays all customers, has larger ones."""

    user_per_s: float = Field(default=100.0, gt=0)
    """A person with a page that refreshes itself, or a small program; more is a mistake or an attack."""
    user_burst: int = Field(default=500, ge=1)
    """A page that loads, or a program that catches up."""
    address_per_s: float = Field(default=2_000.0, gt=0)
    """A gateway with a few hundred customers behind it; a tenth of what one router can do."""
    address_burst: int = Field(default=10_000, ge=1)
    """Twenty customers' bursts at once behind one gateway."""
    identity_per_s: float = Field(default=10.0, gt=0)
    """Sign-ups and logins of one address: each costs a cell a slow password hash, and guesses come this way."""
    identity_burst: int = Field(default=200, ge=1)
    """An office that comes back from a break, behind one gateway."""
    tracked_max: int = Field(default=200_000, ge=1)
    """Token buckets held per rule, about 200 bytes each; full ones are forgotten."""


class RouterSettings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="ROUTER_", env_nested_delimiter="__", frozen=True)

    name: str = "router-1"
    listen: ListenSettings
    operator: ListenSettings
    control: ControlSettings
    redis: RedisSettings
    clock: ClockSettings = ClockSettings()
    map_file: Path
    keys_dir: Path
    upstream: UpstreamSettings = UpstreamSettings()
    admission: AdmissionSettings = AdmissionSettings()
    edge: EdgeSettings = EdgeSettings()
    hold: HoldSettings = HoldSettings()
    limits: LimitSettings = LimitSettings()
    access_log: AccessLogSettings = AccessLogSettings()
    log_warning_tracebacks: bool = False
    """Warnings carry a traceback too, as errors always do: for who looks for the reason of one."""
    map_poll_s: float = Field(default=5.0, gt=0)
    """Maps and revocations are pushed; this is how late a lost push is noticed."""
    route_token_ttl_s: int = Field(default=300, ge=10, le=300)
    """Half of the age at which an unfinished sign-up is freed: no creation can arrive after that."""
    routes_cached_max: int = Field(default=200_000, ge=1)
    """Verified access tokens held in memory, about 1 KB each."""
    drain_s: float = Field(default=10.0, gt=0)
    """Longer than the deadline of a request, shorter than the supervisor's patience."""
    drain_notice_s: float = Field(default=0.0, ge=0)
    """How long to go on accepting while already not ready. Where a balancer probes readiness: its interval, so that
    it has gone elsewhere before the socket closes."""
    reload_command: str = ""
    """What becomes the next image at SIGHUP, as a shell would write it; empty: the same program with the same settings.
    Whoever started this image may have other settings for the next one."""
    listen_fd: int | None = None
    """The listening socket of the process image before this one (a reload); never set by hand."""
