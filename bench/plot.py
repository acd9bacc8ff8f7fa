# SPDX-License-Identifier: Apache-2.0
"""docs/bench/: the table and two plots as SVG, with no library: lines on logarithmic axes."""
import math

W, H, LEFT, TOP, RIGHT, BOTTOM = 720, 400, 70, 40, 150, 50
COLOURS = ['#0b62a4', '#c0392b', '#7aa8cf', '#e59a90']


def ticks(low, high, base):
    a, b = math.floor(math.log(low, base)), math.ceil(math.log(high, base))
    return [base ** i for i in range(a, b + 1)]


def short(x, unit):
    for factor, sign in ((1 << 20, 'Mi'), (1 << 10, 'Ki')) if unit == 'B' else ((1e6, 'M'), (1e3, 'k')):
        if x >= factor:
            return f'{x / factor:g} {sign}{unit}'.strip()
    return f'{x:g} {unit}'.strip()


def chart(title, xs, series, x_name, y_name, x_unit, x_base):
    ys = [y for line in series.values() for y in line]
    xt, yt = ticks(min(xs), max(xs), x_base), ticks(min(ys), max(ys), 10)

    def px(x):
        return LEFT + (W - LEFT - RIGHT) * math.log(x / xt[0]) / math.log(xt[-1] / xt[0])

    def py(y):
        return H - BOTTOM - (H - TOP - BOTTOM) * math.log(y / yt[0]) / math.log(yt[-1] / yt[0])
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {W} {H}" font-family="sans-serif" font-size="12">',
           f'<rect width="{W}" height="{H}" fill="white"/><text x="{LEFT}" y="22" font-size="15">{title}</text>']
    for x in xt:
        out.append(f'<line x1="{px(x):.1f}" x2="{px(x):.1f}" y1="{TOP}" y2="{H - BOTTOM}" stroke="#ddd"/>'
                   f'<text x="{px(x):.1f}" y="{H - BOTTOM + 16}" text-anchor="middle">{short(x, x_unit)}</text>')
    for y in yt:
        out.append(f'<line x1="{LEFT}" x2="{W - RIGHT}" y1="{py(y):.1f}" y2="{py(y):.1f}" stroke="#ddd"/>'
                   f'<text x="{LEFT - 6}" y="{py(y) + 4:.1f}" text-anchor="end">{short(y, "")}</text>')
    for (name, line), colour in zip(series.items(), COLOURS):
        points = ' '.join(f'{px(x):.1f},{py(y):.1f}' for x, y in zip(xs, line))
        out.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>'
                   f'<text x="{W - RIGHT + 8}" y="{py(line[-1]) + 4:.1f}" fill="{colour}">{name}</text>')
    out.append(f'<text x="{(LEFT + W - RIGHT) / 2}" y="{H - 12}" text-anchor="middle">{x_name}</text>'
               f'<text x="16" y="{H / 2}" text-anchor="middle" transform="rotate(-90 16 {H / 2})">{y_name}</text></svg>')
    return '\n'.join(out) + '\n'


def write(folder, plots, text, when, machine):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / 'table.txt').write_text(text)
    where = f'{when}, {machine.split(" (")[0]}'
    if 'latency' in plots:
        points = plots['latency']
        names = ['remoted, up', 'remoted, down', 'direct, up', 'direct, down']
        series = {n: [p[1 + k] for p in points] for k, n in enumerate(names)}
        (folder / 'latency.svg').write_text(chart(f'One synchronous copy, median ({where})', [p[0] for p in points], series,
                                                  'bytes', 'µs', 'B', 16))
    if 'throughput' in plots:
        points = plots['throughput']
        (folder / 'throughput.svg').write_text(chart(f'Launches of all clients together ({where})', [p[0] for p in points],
                                                     {'remoted': [p[1] for p in points]}, 'clients', 'launches per second',
                                                     '', 2))
