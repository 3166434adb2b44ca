"""An application that is built with jarviscore-framework, driven from outside.

    NEXUS_GATEWAY_URL=… NEXUS_GATEWAY_API_KEY=… python application.py

Each line of standard input is a call: {"call": "get_token", "with": {…}}, and perhaps "for": {"person": …, "agent": …,
"operation": …}, on whose behalf it is made. Each is answered by one line of standard output: {"returned": …} or {"raised": …},
where an HTTP error has its status and body and an error of validation the places that do not fit. While an account is being
connected, {"open": …} is where the user is sent.
"""

import asyncio
import contextvars
import json
import logging
import os
import sys

import httpx
from pydantic import BaseModel, ValidationError

from jarviscore.auth.manager import AuthenticationManager
from jarviscore.auth.oauth_flow import HostedFlowHandler
from jarviscore.auth.principal import acting_for, operation
from jarviscore.control.effects import scope
from jarviscore.nexus import NexusClient

GATEWAY = os.environ["NEXUS_GATEWAY_URL"]


# The framework notes its progress on standard output, which is the answers'.
answers, sys.stdout = sys.stdout, open(os.devnull, "w")


def say(line):
    print(json.dumps(line), file=answers, flush=True)


async def send(strategy, method, url):
    """What the API answers to a request that the strategy was applied to."""
    request = NexusClient.apply_strategy_to_request(strategy, method, url)
    async with httpx.AsyncClient() as api:
        answer = await api.request(**request)
    return {"status": answer.status_code, "body": answer.json()}


class Application:
    """The client by itself, and the part of the framework that connects accounts with it."""

    def __init__(self):
        self.client = NexusClient(GATEWAY)
        # It polls every two seconds otherwise, and looks after connections once a minute.
        self.accounts = AuthenticationManager({"nexus_gateway_url": GATEWAY, "auth_poll_interval": 0.05})
        self.accounts.lifecycle_monitor.check_interval = 0.1

        async def present(auth_url, *_):
            say({"open": auth_url})

        self.accounts.flow_handler = HostedFlowHandler(present)

    async def use(self, connection_id, url, method="GET"):
        return await send(await self.client.resolve_strategy(connection_id), method, url)

    async def connect(self, **wanted):
        return await self.accounts.authenticate(**wanted)

    async def discover(self, provider):
        return await self.accounts.discover(provider)

    async def use_account(self, handle, url, method="GET"):
        return await send(await self.accounts.resolve_strategy(handle), method, url)

    async def attention(self):
        while not (providers := self.accounts.providers_needing_attention()):
            await asyncio.sleep(0.02)
        return providers


def plain(value):
    return value.model_dump() if isinstance(value, BaseModel) else value


async def answer(function, arguments):
    try:
        return {"returned": plain(await function(**arguments))}
    except httpx.HTTPStatusError as error:
        return {"raised": "HTTPStatusError", "status": error.response.status_code, "body": error.response.json()}
    except ValidationError as error:
        # Its text repeats the input, which is a credential.
        return {"raised": "ValidationError", "at": ["/".join(map(str, one["loc"])) for one in error.errors()]}
    except (RuntimeError, ValueError) as error:
        return {"raised": type(error).__name__}


def on_behalf_of(who):
    context = contextvars.copy_context()
    context.run(acting_for.set, who.get("person"))
    context.run(operation.set, who.get("operation"))
    context.run(scope.set, {"agent": who["agent"]} if "agent" in who else None)
    return context


async def main():
    logging.disable()
    application = Application()
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        asked = json.loads(line)
        function = getattr(application, asked["call"], None) or getattr(application.client, asked["call"])
        coroutine = answer(function, asked.get("with", {}))
        say(await loop.create_task(coroutine, context=on_behalf_of(asked.get("for", {}))))
    await application.accounts.close()
    await application.client.close()


asyncio.run(main())
