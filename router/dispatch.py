"""Which exchange a request becomes, by its head alone: a page of the router's own, a tunnel, or an answer of a cell.

The one place that knows all kinds. What is refused here is answered when its turn comes, like everything else.
"""

from router.errors import RequestMalformed, RouterRefusal
from router.exchange import Client, Exchange, RefusedExchange
from router.forward import Forwarding, SlowPath
from router.headers import drop_named_by_connection
from router.own_pages import AsgiApp, OwnPage
from router.request import Request
from router.services import Services
from router.target import is_forwarded, is_plain
from router.tasks import TaskRegistry
from router.upgrade import Upgrade, UpgradeServices


class Dispatch:
    """One for a router; its two functions are what a client's connection is given."""

    def __init__(
        self,
        services: Services,
        *,
        slow_path: SlowPath,
        upgrades: UpgradeServices,
        pages: AsgiApp,
        page_tasks: TaskRegistry,
    ) -> None:
        self._services = services
        self._slow_path = slow_path
        self._upgrades = upgrades
        self._pages = pages
        self._page_tasks = page_tasks

    def open_exchange(self, client: Client, request: Request) -> Exchange:
        if not is_forwarded(request.target):
            return OwnPage(client, self._services, request, self._pages, self._page_tasks)
        drop_named_by_connection(request)
        if not is_plain(request.target):
            return self.open_refusal(client, request, RequestMalformed("the path is not spelled plainly"))
        if request.problem:
            return self.open_refusal(client, request, RequestMalformed(request.problem))
        if request.asks_for_websocket:
            return Upgrade(client, self._services, request, self._upgrades)
        return Forwarding(client, self._services, request, self._slow_path)

    def open_refusal(self, client: Client, request: Request, refusal: RouterRefusal) -> Exchange:
        return RefusedExchange(client, self._services, request, refusal)
