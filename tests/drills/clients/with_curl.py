"""A customer with curl and the options given: a process for each request, then one for two hundred of them."""

import asyncio
import json
import subprocess
import sys

from tests.drills.clients.customer import Customer


async def main(base: str, name: str, *options: str) -> None:
    async def carry(
        method: str, url: str, headers: dict[str, str], body: bytes | None
    ) -> tuple[int, dict[str, str], bytes]:
        asked = ["--head"] if method == "HEAD" else ["--request", method]
        for header, value in headers.items():
            asked += ["--header", f"{header}: {value}"]
        if body is not None:
            asked += ["--data-binary", "@-"]
        answer = run([*asked, "--include", "--max-time", "60", *options, url], body)
        *_, head, content = answer.split(b"\r\n\r\n")  # before them what said 100
        first, *lines = head.decode().split("\r\n")
        said = {key.lower(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
        return int(first.split(" ")[1]), said, content

    customer = Customer(base, name, carry)
    seen = await customer.trade(requests=0)
    every: list[str] = []
    for number in range(200):
        every += ["--next"] if every else []
        every += [
            "--silent",
            "--fail",
            "--output",
            "/dev/null",
            "--write-out",
            "%{num_connects} %{http_code}\\n",
            *options,
        ]
        every += ["--header", f"Authorization: Bearer {customer.token}"]
        if number % 4:
            every.append(f"{base}/v1/account")
        else:
            every += [
                "--header",
                f"X-Idempotency-Key: {customer.new_key()}",
                "--header",
                "Content-Type: application/json",
            ]
            every += ["--data", '{"amount": "1"}', f"{base}/v1/deposits"]
    told = [line.split(" ") for line in run(every, None).decode().split("\n") if line]
    if len(told) != 200 or not {status for _, status in told} <= {"200", "201"}:
        raise SystemExit(f"not every request was answered: {told}")
    connections = sum(int(connects) for connects, _ in told)
    print(json.dumps({**seen, "answered": len(told), "cash": await customer.cash(), "connections": connections}))


def run(arguments: list[str], body: bytes | None) -> bytes:
    return subprocess.run(
        ["curl", "--silent", "--show-error", *arguments], input=body, check=True, capture_output=True
    ).stdout


asyncio.run(main(*sys.argv[1:]))
