"""Commands about what people should know: `drift` and `tickets`."""

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from streams.cli.root import CONFIG, FLAGS, OUTPUT, group, say
from streams.cli.running import INSTANCE, NOTHING_PUBLISHED

tickets = group("tickets", "Tickets: what the people who look after the model should know.")


drift = group("drift", "How far what models see is from what they were trained on.")


@drift.command("show")
def drift_show(config: CONFIG, flags: FLAGS = None, output: OUTPUT = "table") -> None:
    """Tell of each feature how far its newest window is from training, and what evidence there is that this is no chance.

    A window is judged when event time has passed it. "usual" is what the training set's own blocks of time differ from each
    other, and what so few records differ by chance. A ticket is opened when the evidence reaches what is said there.

    Example: streams drift show -c flights.toml
    """
    from streams.config import load
    from streams.drift import lines, look
    from streams.monitor.drift.telling import as_json, table

    found = look(load(config, flags)).verdicts
    told = lines(found)
    unwatched = [one for one in found if one.why is not None]
    if output == "json":
        missing = [{**one.subject._asdict(), "metric": None, "why": one.why} for one in unwatched]
        say(json.dumps([*map(as_json, told), *missing], indent=2))
        return
    for line in table(told) if told else []:
        say(line)
    for one in unwatched:
        say(f"{one.subject.model} {one.subject.version}: its features are not watched: {one.why}")
    if not found:
        say(NOTHING_PUBLISHED)


@tickets.command("list")
def tickets_list(
    config: CONFIG,
    flags: FLAGS = None,
    output: OUTPUT = "table",
    state: Annotated[Literal["open", "closed", "all"], typer.Option(help="Which of them.")] = "all",
) -> None:
    """List tickets: open ones first, what is worst first. `streams monitor run` opens, updates and closes them.

    Example: streams tickets list -c flights.toml --state open
    """
    from streams.config import load
    from streams.kafka.admin import Admin
    from streams.monitor.drift.telling import ticket_json, tickets_table
    from streams.monitor.tickets import listed
    from streams.parts import read_tickets

    settings = load(config, flags)
    found = listed(read_tickets(settings, Admin(settings.kafka)).values())
    kept = [ticket for ticket in found if state in ("all", ticket.state.value.lower())]
    if output == "json":
        say(json.dumps([ticket_json(ticket) for ticket in kept], indent=2))
        return
    for line in tickets_table(kept) if kept else [f"There are no {'' if state == 'all' else f'{state} '}tickets."]:
        say(line)


@tickets.command("show")
def tickets_show(
    config: CONFIG,
    ticket: Annotated[str, typer.Argument(help="Its id, or the first digits of it.", show_default=False)],
    flags: FLAGS = None,
    output: OUTPUT = "table",
) -> None:
    """Tell everything about one ticket: how the evidence has come about, which values have moved, what became of it.

    Example: streams tickets show -c flights.toml 6f8848ba
    """
    from streams.config import load
    from streams.errors import ConfigError
    from streams.kafka.admin import Admin
    from streams.monitor.drift.telling import ticket_json, ticket_text
    from streams.parts import read_tickets

    settings = load(config, flags)
    found = read_tickets(settings, Admin(settings.kafka))
    mine = [one for name, one in found.items() if name.startswith(ticket)]
    if len(mine) != 1:
        many = "there is none" if not mine else f"there are {len(mine)}"
        raise ConfigError(f"ticket {ticket}: {many} whose id begins so; `streams tickets list` lists them")
    if output == "json":
        say(json.dumps(ticket_json(mine[0]), indent=2))
        return
    for line in ticket_text(mine[0]):
        say(line)


@tickets.command("deliver")
def tickets_deliver(
    config: CONFIG,
    flags: FLAGS = None,
    file: Annotated[Path | None, typer.Option(help="Append them to this file, one line of JSON each.")] = None,
    webhook: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            envvar="STREAMS_TICKETS_WEBHOOK",
            help="POST them to this address, as JSON; 2xx means taken. Who lists processes sees it: where it holds a secret, "
            "give it as the variable.",
        ),
    ] = None,
    instance: INSTANCE = None,
) -> None:
    """Deliver tickets to a file or a webhook, in order, until stopped. Needs faust-streaming.

    At least once: after a crash the last ticket may come again. A receiver knows it by its id and revision, which a webhook
    also gets as a header, Idempotency-Key: <id>:<revision>. What does not answer, or answers 5xx, 408, 425 or 429, is asked
    again for ever; what refuses a ticket otherwise is asked 20 times, in about 14 minutes. Then the ticket is passed over,
    and the log says so.

    Example: streams tickets deliver -c flights.toml --file tickets.jsonl
    """
    import signal
    import threading

    from streams.config import load
    from streams.edge import usable
    from streams.errors import ConfigError
    from streams.logs import to_stderr

    if (file is None) == (webhook is None):
        raise ConfigError(
            "tickets are delivered to --file PATH or to --webhook URL ($STREAMS_TICKETS_WEBHOOK): say one of the two"
        )
    to_stderr()
    settings = load(config, flags)
    usable()
    from streams.edge.delivery import run
    from streams.edge.targets import JsonLines, Webhook

    target = JsonLines(file) if file is not None else Webhook(webhook or "")
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    run(settings, target, stopping, instance=instance)
