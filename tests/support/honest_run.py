"""A cell and a generator with which nothing was wrong, for tests of what is said about a load test."""

from loadtests.load.books import CellBooks
from loadtests.load.honesty import GeneratorFacts

BOOKS = [CellBooks("cell-1", 100, 33, [])]
HONEST = GeneratorFacts(
    process="generator-1",
    cores=[1],
    lag_p50_ms=0.4,
    lag_p99_ms=8.0,
    lag_max_ms=40.0,
    late_p50_ms=0.5,
    late_p99_ms=9.0,
    busiest_share=0.4,
    cpu_share=0.2,
    sent=1_000,
)
