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
    """limit with a direction. `span`: how wide an interval may be and still say anything; for a ratio
    whose ideal is 1 that is the distance of the limit from 1."""

    def __init__(self, sign, limit, span=None):
        self.sign, self.limit, self.span = sign, limit, limit if span is None else span

    def text(self):
        return f"{self.sign} {self.limit:,.10g}"

    def verdict(self, value, low, high):
        def good(x):
            return x <= self.limit if self.sign == '≤' else x >= self.limit
        if not good(low) and not good(high):
            return 'missed'
        if high - low > self.span:
            return 'not resolved'
        return 'met' if good(value) else 'missed'


def at_most(limit, span=None):
    return Goal('≤', limit, span)


def at_least(limit, span=None):
    return Goal('≥', limit, span)


class Table:
    def __init__(self):
        self.rows = []

    def add(self, name, values, unit, goal=None, note=''):
        values = list(values)
        value = statistics.median(values)
        low, high = interval(values)
        self.rows.append(dict(name=name, value=value, unit=unit, low=low, high=high, goal=goal, note=note,
                              n=len(values)))
        print('  ' + self.line(self.rows[-1]), flush=True)

    def get(self, name):
        return next((r for r in self.rows if r['name'] == name), None)

    @staticmethod
    def number(x):
        return f'{x:,.0f}' if abs(x) >= 1000 else f'{x:.4g}'

    def line(self, r):
        verdict = r['goal'].verdict(r['value'], r['low'], r['high']) if r['goal'] else ''
        return (f"{r['name']:32} {self.number(r['value']):>12} {r['unit']:6} "
                f"[{self.number(r['low'])} .. {self.number(r['high'])}]".ljust(78) +
                f" {r['goal'].text() if r['goal'] else '':>12}  {verdict:12} {r['note']}").rstrip()

    def text(self):
        head = f"{'name':32} {'median':>12} {'unit':6} {'[95 % interval]':25} {'goal':>12}  verdict"
        return '\n'.join([head, *map(self.line, self.rows)]) + '\n'

    def json(self):
        return [{k: r[k] for k in ('name', 'value', 'unit', 'low', 'high')} for r in self.rows]
