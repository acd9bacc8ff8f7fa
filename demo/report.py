# SPDX-License-Identifier: Apache-2.0
"""The demo's table as text, and the picture: device time per VM over time, one self-contained page."""
import html

COLOURS = ('#1b6ca8', '#e08e2b', '#5b9a5b')
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 960, 360, 56, 16, 30, 40
BUCKET_S = 0.5


def verdict(ok):
    return 'ok' if ok else 'FAILED'


def shares_text(rows):
    lines = ['Shares (percent of the device)',
             f'{"VM":9} {"priority":9} {"asked":>7} {"broker":>7} {"guests":>7} {"units":>8} {"device s":>9} '
             f'{"queue full":>10}  verdict']
    for r in rows:
        lines.append(f'{r["vm"]:9} {r["priority"]:9} {r["asked"]:7.1f} {r["broker"]:7.1f} {r["guests"]:7.1f} '
                     f'{r["units"]:8d} {r["device_s"]:9.2f} {r["nonempty"]:9.1f}%  {verdict(r["ok"])}')
    return '\n'.join(lines)


def films_text(rows):
    lines = ["Real programs (Debian's ffmpeg: scale_cuda, overlay_cuda)",
             f'{"VM":9} {"frames":>7} {"seconds":>8} {"= direct":>9} {"up/down = input":>16}  verdict']
    for r in rows:
        lines.append(f'{r["vm"]:9} {r["frames"]:7d} {r["seconds"]:8.1f} {"yes" if r["identical"] else "NO":>9} '
                     f'{"yes" if r["up_down"] else "NO":>16}  {verdict(r["ok"])}')
    return '\n'.join(lines)


def steps(timeline, names):
    """The broker's buckets joined to steps of BUCKET_S: (begin, end, [percent per VM]), monotonic seconds."""
    width = timeline['bucket_ms'] / 1000
    join = max(1, round(BUCKET_S / width))
    first, used = timeline['first_bucket'], timeline['device_us']
    length = min(len(used[n]) for n in names)
    out = []
    for i in range(0, length - join + 1, join):
        begin = (first + i) * width
        out.append((begin, begin + join * width,
                    [100.0 * sum(used[n][i:i + join]) / (join * width * 1e6) for n in names]))
    return out


class Plot:
    def __init__(self, t0, t1, top):
        self.t0, self.t1, self.top = t0, max(t1, t0 + 1), top

    def x(self, t):
        return LEFT + (t - self.t0) / (self.t1 - self.t0) * (WIDTH - LEFT - RIGHT)

    def y(self, v):
        return HEIGHT - BOTTOM - v / self.top * (HEIGHT - TOP - BOTTOM)

    def axes(self):
        out = []
        for v in range(0, int(self.top) + 1, 25):
            out.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{self.y(v):.1f}" y2="{self.y(v):.1f}" class="grid"/>'
                       f'<text x="{LEFT - 6}" y="{self.y(v) + 4:.1f}" class="tick" text-anchor="end">{v} %</text>')
        step = 5 if self.t1 - self.t0 <= 90 else 20
        t = 0
        while t <= self.t1 - self.t0:
            out.append(f'<text x="{self.x(self.t0 + t):.1f}" y="{HEIGHT - BOTTOM + 18}" class="tick" '
                       f'text-anchor="middle">{t} s</text>')
            t += step
        return out

    def bands(self, rows, count):
        """Stacked, as steps: what was charged within a bucket, no smoothing."""
        out = []
        for i in range(count):
            upper, lower = [], []
            for a, b, v in rows:
                low, high = sum(v[:i]), sum(v[:i + 1])
                for t in (a, b):
                    upper.append(f'{self.x(t):.1f},{self.y(min(high, self.top)):.1f}')
                    lower.append(f'{self.x(t):.1f},{self.y(min(low, self.top)):.1f}')
            points = ' '.join(upper + lower[::-1])
            out.append(f'<polygon points="{points}" fill="{COLOURS[i % 3]}"/>')
        return out


def marks_at(plot, marks):
    out = []
    for t, text in marks:
        if plot.t0 <= t <= plot.t1:
            out.append(f'<line x1="{plot.x(t):.1f}" x2="{plot.x(t):.1f}" y1="{TOP - 12}" y2="{HEIGHT - BOTTOM}" '
                       f'class="mark"/><text x="{plot.x(t) + 4:.1f}" y="{TOP - 4}" class="tick">{html.escape(text)}</text>')
    return out


def svg(timeline, marks, names, labels):
    rows = steps(timeline, names)
    used = [r for r in rows if sum(r[2]) > 1]
    if not used:
        return '<p>No device time was charged.</p>'
    plot = Plot(used[0][0], used[-1][1], 100.0)
    rows = [r for r in rows if plot.t0 <= r[0] and r[1] <= plot.t1]
    parts = plot.bands(rows, len(names)) + plot.axes() + marks_at(plot, marks)
    for i, label in enumerate(labels):
        x = LEFT + 10 + i * 170
        parts.append(f'<rect x="{x}" y="{HEIGHT - 14}" width="12" height="12" fill="{COLOURS[i % 3]}"/>'
                     f'<text x="{x + 18}" y="{HEIGHT - 4}" class="tick">{html.escape(label)}</text>')
    style = ('<style>text{font:13px sans-serif;fill:#222}.tick{font-size:12px}.grid{stroke:#0003;stroke-width:1}'
             '.mark{stroke:#222;stroke-dasharray:4 3}</style>')
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT + 6}" width="{WIDTH}" '
            f'role="img" aria-label="device time per VM over time">{style}{"".join(parts)}</svg>')


PAGE = '''<!doctype html>
<html lang="en"><meta charset="utf-8"><title>OpenVGPU demo</title>
<style>body{{font:15px sans-serif;max-width:62rem;margin:2rem auto;color:#222}}pre{{background:#f4f4f4;padding:1rem;overflow-x:auto}}</style>
<h1>Three virtual machines, one device</h1>
<p>Device time charged to each VM by the broker's clock, in steps of {bucket} s, stacked; 100 % is the device busy all the time.</p>
{picture}
<pre>{text}</pre>
<p>{note}</p>
</html>
'''


def page(path, picture, text, note):
    with open(path, 'w') as f:
        f.write(PAGE.format(bucket=BUCKET_S, picture=picture, text=html.escape(text),
                            note=html.escape(note)))
