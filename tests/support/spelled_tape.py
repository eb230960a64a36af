"""A tape as recorders, spreadsheets and other programs write it down: the same rows, each time in another spelling.

What is written is a time within half a nanosecond of the row's own, with up to 18 decimals, so whoever rounds reads the
same tape. Tens of thousands of rows hold every shape: nothing but seconds, zeros at the end, exponents, equal times.
"""

import random
from decimal import Decimal

from loadtests.replay.generated_tape import generate_tape

SHAPES = ("nine", "short", "zeros", "finer", "coarser", "exponent", "bare")


def plain_tape(seed: int, rows: int) -> str:
    """LOBSTER's own spelling, with rows that share one time, and halts and hidden executions as recorded ones have."""
    chance = random.Random(seed)
    lines = generate_tape(seed, rows=rows, partial_cancels=True).splitlines()
    for number in range(1, len(lines)):
        if chance.random() < 0.1:
            before, rest = lines[number - 1].partition(",")[0], lines[number].partition(",")[2]
            lines[number] = f"{before},{rest}"
        elif chance.random() < 0.01:
            time, _, _ = lines[number].partition(",")
            lines[number] += (
                "\n" + time + chance.choice((",7,0,0,-1,-1", ",7,0,0,0,1", ",5,0,0,0,-1", ",6,-1,200,1850000,1"))
            )
    return "\n".join(lines) + "\n"


def spelled(tape: str, seed: int) -> bytes:
    """The same tape with a byte order mark, carriage returns, empty lines at its end and times in every spelling."""
    chance = random.Random(seed)
    rows = [line.split(",", 1) for line in tape.splitlines()]
    lines = [f"{spell_time(Decimal(time), chance)},{rest}" for time, rest in rows]
    return b"\xef\xbb\xbf" + "\r\n".join(lines).encode() + b"\r\n\r\n\n"


def spell_time(seconds: Decimal, chance: random.Random) -> str:
    """`seconds` has whole nanoseconds."""
    shape = chance.choice(SHAPES)
    match shape:
        case "short":
            text = f"{seconds:f}".rstrip("0")
            return text + chance.choice(("", "0")) if text[-1] != "." else text.rstrip(".")
        case "zeros":
            return f"{seconds:.9f}" + "0" * chance.randint(1, 9)
        case "finer":  # less than half a nanosecond more
            return (
                f"{seconds:.9f}"
                + str(chance.randint(0, 4))
                + "".join(chance.choices("0123456789", k=chance.randint(0, 8)))
            )
        case "coarser":  # less than half a nanosecond less
            less = Decimal(chance.randint(1, 499_999_999)) / Decimal(10**18)
            return f"{seconds - less:.18f}"
        case "exponent":
            digits, exponent = f"{seconds:.13e}".split("e")
            return f"{digits}{chance.choice('eE')}{chance.choice(('', '+', '+0'))}{int(exponent)}"
        case "bare":
            return f"{seconds:.9f}".removesuffix(".000000000")
    return f"{seconds:.9f}"
