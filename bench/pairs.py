# SPDX-License-Identifier: Apache-2.0
"""Medians with their intervals, goals and verdicts."""
import math
import statistics

PAIRS = 15


def interval(values):
    """The median's 95 % interval, free of any assumption on the distribution: order statistics."""
    v, n = sorted(values), len(values)
    tail, k = 0.0, 0
    while k < n // 2:
        tail += math.comb(n, k) * 0.5 ** n
        if tail > 0.025:
            break
        k += 1
    k = max(k - 1, 0)
    return v[k], v[n - 1 - k]


class Goal:
    """A limit with a direction. `span`: an interval wider than this resolves nothing; for a ratio whose
    ideal is 1 that is the distance of the limit from 1, else the limit itself."""

    def __init__(self, sign, limit, span=None):
        self.sign, self.limit, self.span = sign, limit, limit if span is None else span

    def text(self):
        return f"{self.sign} {self.limit:,.10g}"

    def verdict(self, value, low, high):
        if high - low > self.span:
            return 'not resolved'
        return 'met' if (value <= self.limit if self.sign == '≤' else value >= self.limit) else 'missed'


def at_most(limit, span=None):
    return Goal('≤', limit, span)


def at_least(limit, span=None):
    return Goal('≥', limit, span)


def row(name, values, unit, goal=None, note='', between=None):
    """One line of the table: median, interval, verdict. between: the interval, of what is no median."""
    values = list(values)
    value = statistics.median(values)
    low, high = between or interval(values)
    return dict(name=name, value=value, unit=unit, low=low, high=high, note=note,
                goal=goal.text() if goal else '', verdict=goal.verdict(value, low, high) if goal else '')


def number(x):
    return f'{x:,.0f}' if abs(x) >= 1000 else f'{x:.4g}'


def line(r):
    return (f"{r['name']:32} {number(r['value']):>12} {r['unit']:6} "
            f"[{number(r['low'])} .. {number(r['high'])}]".ljust(78) +
            f" {r['goal']:>12}  {r['verdict']:12} {r['note']}").rstrip()


HEAD = f"{'name':32} {'median':>12} {'unit':6} {'[95 % interval]':25} {'goal':>12}  verdict"
