"""`shardctl cells list`: the cells of the shard map."""

from shardctl.commands.options import AsJson
from shardctl.commands.submitting import open_control
from shardctl.output import print_json, print_table


def list_(as_json: AsJson = False) -> None:
    """The cells of the shard map: state, weight, buckets, addresses."""
    rows = open_control().get("/v1/map")["cells"]
    if as_json:
        print_json(rows)
        return
    names = ("cell", "state", "weight", "buckets", "pins")
    print_table(
        ("cell", "state", "weight>", "buckets>", "pinned users>", "api", "operator"),
        [(*(row[name] for name in names), " ".join(row["api_urls"]), " ".join(row["operator_urls"])) for row in rows],
    )
